"""What Ollama is asked. Whole conversations are in transcripts/ollama/."""

from __future__ import annotations

import json
import unittest
from dataclasses import replace
from typing import Any, ClassVar

import ccrelay_providers.ollama as ollama
from ccrelay_providers.wire import history
from ccrelay_providers.wire.errors import ContextOverflow, InvalidRequest
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.messages import MessagesRequest
from ccrelay_providers.wire.provider import Model, Report, Target

Json = dict[str, Any]

QWEN = Target(
    "ollama",
    "ollama",
    "http://127.0.0.1:11434",
    Model("qwen3:8b", context=40960, vision=True, tools=True, thinking=True),
    num_ctx=32768,
    keep_alive="30m",
)
BASH = {"name": "Bash", "description": "Run", "input_schema": {"type": "object", "properties": {}}}
READ = {"name": "Read", "input_schema": {}}
HI = {"type": "text", "text": "hi"}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}


def request(**fields: Any) -> MessagesRequest:
    body = {"model": "ollama/qwen3:8b", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}], **fields}
    return MessagesRequest(json.dumps(body).encode(), Headers(), "req_1")


def model(**facts: Any) -> Target:
    return replace(QWEN, model=replace(QWEN.model, **facts))


def sent(target: Target = QWEN, report: Report | None = None, **fields: Any) -> Json:
    """The body of the upstream request."""
    body: Json = json.loads(ollama.prepare(request(**fields), target, report or Report()).body)
    return body


class Requests(unittest.TestCase):
    def test_headers_are_built_by_name(self) -> None:
        raw = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'
        client = Headers([("Authorization", "Bearer sk-ant"), ("Cookie", "c"), ("anthropic-beta", "a,b")])
        report = Report()
        upstream = ollama.prepare(MessagesRequest(raw, client, "req_1"), QWEN, report)
        self.assertEqual(upstream.headers, (("content-type", "application/json"), ("accept-encoding", "identity")))
        self.assertEqual((upstream.method, upstream.path), ("POST", "/api/chat"))
        self.assertEqual(report.dropped_header(), "beta=2")

    def test_a_configured_key_is_sent(self) -> None:
        upstream = ollama.prepare(request(), replace(QWEN, api_key="k"), Report())
        self.assertIn(("authorization", "Bearer k"), upstream.headers)

    def test_nothing_may_be_cut_in_silence(self) -> None:
        body = sent(stream=False)
        self.assertEqual((body["stream"], body["shift"], body["truncate"]), (True, False, False))
        self.assertEqual(body["keep_alive"], "30m")

    def test_how_long_it_stays_loaded(self) -> None:
        for keep_alive in ("30m", -1, 0):
            self.assertEqual(sent(replace(QWEN, keep_alive=keep_alive))["keep_alive"], keep_alive)
        self.assertNotIn("keep_alive", sent(replace(QWEN, keep_alive=None)))

    def test_options(self) -> None:
        options = sent(temperature=0.5, top_p=0.9, top_k=3, stop_sequences=["X"])["options"]
        wanted = {"num_ctx": 32768, "num_predict": 100, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "stop": ["X"]}
        self.assertEqual(options, wanted)

    def test_an_answer_of_no_tokens_is_not_one_without_end(self) -> None:
        self.assertEqual(sent(max_tokens=0)["options"]["num_predict"], 1)

    def test_max_tokens_is_cut_to_what_is_known(self) -> None:
        report = Report()
        self.assertEqual(sent(model(max_output=50), report)["options"]["num_predict"], 50)
        self.assertEqual(report.dropped_header(), "max_tokens=1")

    def test_cloud_models_have_their_own_window(self) -> None:
        self.assertNotIn("num_ctx", sent(model(id="gpt-oss:120b-cloud"))["options"])
        self.assertNotIn("num_ctx", sent(replace(QWEN, base_url="https://ollama.com"))["options"])

    def test_unknown_fields_are_counted(self) -> None:
        report = Report()
        sent(report=report, context_management={}, metadata={"user_id": "u"}, betas=["a"], service_tier="auto")
        self.assertEqual(report.dropped_header(), "beta=1, context_management=1, service_tier=1")

    def test_the_name_of_a_field_cannot_break_a_header(self) -> None:
        report = Report()
        sent(QWEN, report, **{"a\r\nb": 1})
        self.assertEqual(report.dropped_header(), "field=1")

    def test_no_messages_is_an_error_and_not_a_loaded_model(self) -> None:
        with self.assertRaises(InvalidRequest):
            sent(messages=[])

    def test_nobody_counts_tokens(self) -> None:
        self.assertIsNone(ollama.count_tokens(request(), QWEN))


class Windows(unittest.TestCase):
    LONG = ({"role": "user", "content": "word " * 40_000},)  # 55,560 tokens by estimate

    def test_what_surely_does_not_fit_is_refused(self) -> None:
        report = Report()
        with self.assertRaises(ContextOverflow) as caught:
            sent(report=report, messages=self.LONG)
        self.assertEqual(caught.exception.message, f"prompt is too long: {report.estimate} tokens > 32768 maximum")

    def test_what_may_fit_is_sent(self) -> None:
        report = Report()
        sent(replace(QWEN, num_ctx=50_000), report, messages=self.LONG)
        self.assertGreater(report.estimate or 0, 50_000)

    def test_calibration_counts(self) -> None:
        sent(replace(QWEN, calibration=0.5), messages=self.LONG)

    def test_tools_that_are_not_sent_do_not_count(self) -> None:
        hidden = [{"name": f"t{n}", "description": "word " * 20_000, "defer_loading": True} for n in range(9)]
        self.assertNotIn("tools", sent(tools=hidden))


class Thinking(unittest.TestCase):
    ADAPTIVE: ClassVar[Json] = {"type": "adaptive"}

    def test_a_model_that_thinks(self) -> None:
        self.assertIs(sent(thinking=self.ADAPTIVE)["think"], True)
        self.assertIs(sent(thinking={"type": "enabled", "budget_tokens": 1024})["think"], True)
        self.assertIs(sent(thinking={"type": "disabled"})["think"], False)
        self.assertIs(sent()["think"], False)

    def test_a_model_that_does_not(self) -> None:
        report = Report()
        self.assertNotIn("think", sent(model(thinking=False), report, thinking=self.ADAPTIVE))
        self.assertEqual(report.dropped_header(), "thinking_mode=1")

    def test_a_model_nobody_knows(self) -> None:
        self.assertNotIn("think", sent(model(thinking=None), thinking=self.ADAPTIVE))
        self.assertIs(sent(model(thinking=None))["think"], False)

    def test_levels(self) -> None:
        levels = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max", "odd": True}
        for effort, think in levels.items():
            with self.subTest(effort):
                body = sent(model(id="gpt-oss:20b"), thinking=self.ADAPTIVE, output_config={"effort": effort})
                self.assertEqual(body["think"], think)

    def test_levels_that_a_version_knows(self) -> None:
        for version, think in (((0, 9, 0), True), ((0, 14, 0), "high"), ((0, 22, 0), "max"), ((), "max")):
            target = replace(model(id="gpt-oss:20b"), version=version)
            body = sent(target, thinking=self.ADAPTIVE, output_config={"effort": "max"})
            self.assertEqual(body["think"], think, version)

    def test_effort_that_has_no_place_is_reported(self) -> None:
        report = Report()
        sent(report=report, thinking=self.ADAPTIVE, output_config={"effort": "high", "task_budget": {}})
        self.assertEqual(report.dropped_header(), "effort=1, task_budget=1")


class Tools(unittest.TestCase):
    TOOLS: ClassVar[list[Json]] = [BASH, READ]

    def test_none_takes_them_away(self) -> None:
        self.assertNotIn("tools", sent(tools=self.TOOLS, tool_choice={"type": "none"}))

    def test_a_wanted_tool_is_the_only_one(self) -> None:
        body = sent(tools=self.TOOLS, tool_choice={"type": "tool", "name": "Read"}, system="Be brief.")
        self.assertEqual([tool["function"]["name"] for tool in body["tools"]], ["Read"])
        system = "Be brief.\n\nAnswer by calling the tool Read, not with text alone."
        self.assertEqual(body["messages"][0], {"role": "system", "content": system})

    def test_a_wanted_tool_that_is_not_there_changes_nothing(self) -> None:
        report = Report()
        body = sent(report=report, tools=self.TOOLS, tool_choice={"type": "tool", "name": "web_search"})
        self.assertEqual((len(body["tools"]), report.dropped_header()), (2, "tool_choice=1"))

    def test_any_is_an_instruction(self) -> None:
        body = sent(tools=self.TOOLS, tool_choice={"type": "any"})
        self.assertEqual((len(body["tools"]), body["messages"][0]["role"]), (2, "system"))

    def test_a_tool_without_a_schema_has_one(self) -> None:
        function = sent(tools=[READ])["tools"][0]["function"]
        empty = {"type": "object", "properties": {}}
        self.assertEqual(function, {"name": "Read", "description": "", "parameters": empty})

    def test_odd_names_pass(self) -> None:
        for name in ("a" * 90, "mcp.server/x:1", "größe"):
            self.assertEqual(sent(tools=[{**BASH, "name": name}])["tools"][0]["function"]["name"], name)

    def test_a_model_without_tools_reads_calls_and_results_as_text(self) -> None:
        report = Report()
        body = sent(model(tools=False), report, tools=self.TOOLS, messages=LOOP)
        self.assertEqual(report.dropped_header(), "tools=2")
        self.assertNotIn("tools", body)
        contents = [message["content"] for message in body["messages"]]
        call, result = '[Bash was called with {"command":"ls"}]', "[Bash returned]\n\nError: no\n\nand"
        self.assertEqual(contents, ["go", call, result])

    def test_results_come_before_what_the_user_says(self) -> None:
        body = sent(tools=self.TOOLS, messages=LOOP)
        self.assertEqual([message["role"] for message in body["messages"]], ["user", "assistant", "tool", "user"])
        result = {"role": "tool", "tool_name": "Bash", "tool_call_id": "toolu_1", "content": "Error: no"}
        self.assertEqual(body["messages"][2], result)


LS = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}
LOOP: list[Json] = [
    {"role": "user", "content": "go"},
    {"role": "assistant", "content": [LS]},
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "no", "is_error": True},
            {"type": "text", "text": "and"},
        ],
    },
]


class Histories(unittest.TestCase):
    def test_every_kind_of_block_is_there_or_named(self) -> None:
        pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
        words = {"type": "document", "title": "Notes", "source": {"type": "text", "data": "written down"}}
        found = {"type": "search_result", "title": "Page", "source": "https://x", "content": [{**HI, "text": "found"}]}
        searched = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "ollama"}}
        for block, wanted in (
            (HI, "hi"),
            (words, "written down"),
            (words, "Notes"),
            (pdf, "document omitted: application/pdf"),
            (found, "found"),
            (found, "https://x"),
            (searched, "web_search"),
            ({"type": "future", "data": "unheard"}, "future omitted"),
        ):
            role = "assistant" if block is searched else "user"
            [turn, *_] = sent(messages=[{"role": role, "content": [block]}, {"role": "user", "content": "x"}])[
                "messages"
            ]
            self.assertIn(wanted, turn["content"], block["type"])

    def test_several_thoughts_are_all_sent(self) -> None:
        own = [{"type": "thinking", "thinking": t, "signature": history.mark("ollama", "")} for t in ("one", "two")]
        turn = {"role": "assistant", "content": [own[0], HI, own[1]]}
        body = sent(messages=[turn, {"role": "user", "content": "and?"}])
        self.assertEqual(body["messages"][0]["thinking"], "one\n\ntwo")

    def test_system_text(self) -> None:
        """Blocks stay apart, the attribution that changes with every turn goes, later system turns stay in place."""
        system = [
            {**HI, "text": text} for text in ("x-anthropic-billing-header: cc_version=2", "Be brief.", "Be kind.")
        ]
        turns = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("system", "c"))]
        body = sent(system=system, messages=[*turns, {"role": "user", "content": "d"}])
        self.assertEqual(body["messages"][0], {"role": "system", "content": "Be brief.\n\nBe kind."})
        self.assertEqual([turn["role"] for turn in body["messages"]], ["system", "user", "assistant", "user"])
        self.assertRegex(body["messages"][3]["content"], r"^<system-reminder>\nc\n</system-reminder>\n\nd$")

    def test_an_error_is_marked_once(self) -> None:
        failed = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Error: no", "is_error": True}
        body = sent(tools=[BASH], messages=[*LOOP[:2], {"role": "user", "content": [failed]}])
        self.assertEqual(body["messages"][2]["content"], "Error: no")

    def test_own_thinking_comes_back(self) -> None:
        own = {"type": "thinking", "thinking": "mine", "signature": history.mark("ollama", "")}
        other = {"type": "thinking", "thinking": "theirs", "signature": "EqQB"}
        report = Report()
        turn = {"role": "assistant", "content": [own, other, {"type": "text", "text": "yes"}]}
        body = sent(report=report, messages=[turn, {"role": "user", "content": "and?"}])
        self.assertEqual(body["messages"][0], {"role": "assistant", "content": "yes", "thinking": "mine"})
        self.assertEqual(report.dropped_header(), "thinking=1")

    def test_images(self) -> None:
        gif = {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "aGk="}}
        content = [PNG, {"type": "text", "text": "what?"}, gif]
        body = sent(messages=[{"role": "user", "content": content}])
        self.assertEqual(body["messages"][0]["images"], ["aGk="])
        self.assertIn("[image omitted: image/gif", body["messages"][0]["content"])

    def test_a_blind_model_is_told_of_images(self) -> None:
        report = Report()
        body = sent(model(vision=False), report, messages=[{"role": "user", "content": [PNG]}])
        self.assertNotIn("images", body["messages"][0])
        self.assertEqual(report.dropped_header(), "image=1")

    def test_the_same_conversation_gives_the_same_bytes(self) -> None:
        first, second = (ollama.prepare(request(messages=LOOP, tools=[BASH]), QWEN, Report()) for _ in range(2))
        self.assertEqual(first.body, second.body)


if __name__ == "__main__":
    unittest.main()
