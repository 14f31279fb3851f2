"""ccrelay_providers/wire/plain.py: a conversation in the blocks that everyone knows."""

from __future__ import annotations

import json
import unittest
from collections import Counter
from typing import Any

from ccrelay_providers.wire.errors import ContextOverflow
from ccrelay_providers.wire.plain import BILLING, for_other, measure
from ccrelay_providers.wire.provider import Model, Report, Target
from tests.turns import CLAUDES, GLMS, UNSIGNED, assistant, call, result, text, user

Json = dict[str, Any]

PNG = frozenset({"image/png"})


class PlainTests(unittest.TestCase):
    def plain(self, *messages: Json, images: frozenset[str] = PNG, **fields: Any) -> tuple[Json, Counter[str]]:
        dropped: Counter[str] = Counter()
        return for_other({"messages": list(messages), **fields}, "zai", images, dropped), dropped

    def contents(self, *messages: Json) -> list[Any]:
        return [message["content"] for message in self.plain(*messages)[0]["messages"]]

    def test_its_own_thinking_returns_as_it_was_and_others_goes(self) -> None:
        body, dropped = self.plain(user(text("a")), assistant(CLAUDES, GLMS, UNSIGNED, text("b")))
        self.assertEqual([{**GLMS, "signature": "6a1f"}, text("b")], body["messages"][1]["content"])
        self.assertEqual({"thinking": 2}, dropped)

    def test_a_system_turn_becomes_a_users_in_place(self) -> None:
        turns = [user(text("a")), {"role": "system", "content": "Mind the gap."}, assistant(text("b"))]
        reminder = text("<system-reminder>\nMind the gap.\n</system-reminder>")
        self.assertEqual([[text("a"), reminder], [text("b")]], self.contents(*turns))

    def test_a_system_turn_that_only_sets_the_effort_says_nothing(self) -> None:
        effort = {"role": "system", "content": [], "output_config": {"effort": "high"}}
        self.assertEqual([[text("a")], [text("b")]], self.contents(user(text("a")), effort, assistant(text("b"))))

    def test_results_come_first_and_a_missing_one_is_stated(self) -> None:
        turns = [assistant(call("1"), call("2")), user(text("meanwhile"), result("2"))]
        answered = self.contents(*turns)[1]
        self.assertEqual([("tool_result", "1"), ("tool_result", "2"), ("text", None)],
                         [(block["type"], block.get("tool_use_id")) for block in answered])  # fmt: skip
        self.assertEqual("[tool result missing]", answered[0]["content"])

    def test_a_call_at_the_end_gets_its_result(self) -> None:
        self.assertEqual("1", self.contents(user(text("a")), assistant(call("1")))[2][0]["tool_use_id"])

    def test_a_result_without_a_call_becomes_text(self) -> None:
        self.assertEqual([[text("[result of an earlier tool call]\n\ndone")]], self.contents(user(result("gone"))))

    def test_no_text_and_no_turn_is_empty(self) -> None:
        turns = [user(text(" \n")), assistant(CLAUDES), user(result("1", [text("")]))]
        for content in self.contents(*turns):
            self.assertTrue(content)
            self.assertTrue(all(block["text"].strip() for block in content if block["type"] == "text"))

    def test_images_are_kept_or_stated_in_results_too(self) -> None:
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
        turns = [assistant(call("1")), user(result("1", [image]), image)]
        self.assertEqual({}, self.plain(*turns)[1])
        blind, dropped = self.plain(*turns, images=frozenset())
        self.assertNotIn('"image"', json.dumps(blind))
        self.assertEqual({"image": 2}, dropped)

    def test_server_tools_and_the_unknown_become_text(self) -> None:
        used = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
        found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1",
                 "content": [{"type": "web_search_result", "url": "u", "encrypted_content": "e"}]}  # fmt: skip
        body, dropped = self.plain(assistant(used, found, {"type": "container_upload"}))
        said = " ".join(block["text"] for block in body["messages"][0]["content"])
        self.assertIn('web_search was called with {"query":"q"}', said)
        self.assertIn('"url":"u"', said)
        self.assertNotIn("encrypted", said)
        self.assertEqual({"server_tool": 3}, dropped)

    def test_the_billing_block_goes(self) -> None:
        body, _ = self.plain(user(text("a")), system=[text(BILLING + " cch=1"), {**text("s"), "cache_control": {}}])
        self.assertEqual([text("s")], body["system"])

    def test_deferred_tools_wait_for_a_reference(self) -> None:
        tools = [
            {"name": "a", "strict": True},
            {"name": "b", "defer_loading": True},
            {"type": "bash_20250124", "name": "c"},
        ]
        body, dropped = self.plain(user(text("a")), tools=tools)
        self.assertEqual([{"name": "a"}], body["tools"])
        self.assertEqual({"server_tool": 1}, dropped)
        found = user(result("1", [{"type": "tool_reference", "tool_name": "b"}]))
        body, _ = self.plain(assistant(call("1")), found, tools=tools)
        self.assertEqual(["a", "b"], [tool["name"] for tool in body["tools"]])

    def test_without_anthropics_search_deferred_tools_do_not_wait(self) -> None:
        search = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
        body, _ = self.plain(user(text("a")), tools=[search, {"name": "b", "defer_loading": True}])
        self.assertEqual([{"name": "b"}], body["tools"])

    def test_a_tool_that_was_found_or_called_is_offered(self) -> None:
        references = [{"type": "tool_reference", "tool_name": "b"}]
        content = {"type": "tool_search_tool_search_result", "tool_references": references}
        found = {"type": "tool_search_tool_result", "tool_use_id": "srvtoolu_1", "content": content}
        for turns in ([assistant(found)], [assistant({**call("1"), "name": "b"}), user(result("1"))]):
            body, _ = self.plain(
                *turns, tools=[{"name": "b", "defer_loading": True}, {"name": "c", "defer_loading": 1}]
            )
            self.assertEqual([{"name": "b"}], body["tools"])

    def test_a_system_turn_adds_and_removes_tools(self) -> None:
        defined = {"type": "tool_definition", "definition": {"name": "new", "input_schema": {}}}
        added = [{"type": "tool_addition", "tool": tool} for tool in ({"type": "tool_reference", "name": "b"}, defined)]
        removed = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "a"}}
        turns = [user(text("hi")), {"role": "system", "content": [*added, removed]}]
        body, dropped = self.plain(*turns, tools=[{"name": "a"}, {"name": "b", "defer_loading": True}])
        self.assertEqual([{"name": "b"}, {"name": "new", "input_schema": {}}], body["tools"])
        said = body["messages"][0]["content"][1]["text"]
        for words in ("b can be used now", "new can be used now", "a can no longer be used"):
            self.assertIn(f"[the tool {words}]", said)
        self.assertEqual({"system_turn": 1}, dropped)

    def test_a_tool_that_was_taken_away_may_come_back(self) -> None:
        a = {"type": "tool_reference", "name": "a"}
        news = [{"type": kind, "tool": a} for kind in ("tool_removal", "tool_addition", "tool_removal")]
        for said, offered in ((news[:2], [{"name": "a"}]), (news, [])):
            body, _ = self.plain(user(text("hi")), {"role": "system", "content": said}, tools=[{"name": "a"}])
            self.assertEqual(offered, body["tools"])

    def test_a_summary_tells_which_tools_there_are_too(self) -> None:
        changes = [{"type": "tool_removal", "tool": {"type": "tool_reference", "name": "a"}}]
        summary = {"type": "compaction", "content": "They spoke of tea.", "tool_changes": changes}
        self.assertEqual([], self.plain(assistant(summary), user(text("hi")), tools=[{"name": "a"}])[0]["tools"])

    def test_a_failed_result_stays_one(self) -> None:
        failed = {**result("1", [text("no"), text("")]), "is_error": True}
        said = self.contents(assistant(call("1")), user(failed))
        self.assertEqual([{**result("1", [text("no")]), "is_error": True}], said[1])

    def test_calls_of_one_id_keep_their_results_also_over_neighbouring_turns(self) -> None:
        """Anthropic takes an id once; some models count theirs anew in every turn."""
        before = [assistant(call("a")), user(result("a"))]
        turns = [assistant(call("a"), call("a")), assistant(text("and")), user(result("a", "1"), result("a", "2"))]
        said = self.contents(*before, *turns)
        ids = [block["id"] for block in said[2] if block["type"] == "tool_use"]
        self.assertEqual(3, len({"a", *ids}))
        self.assertEqual([(ids[0], "1"), (ids[1], "2")], [(each["tool_use_id"], each["content"]) for each in said[3]])

    def test_no_id_ends_with_a_line_feed(self) -> None:
        said = self.contents(assistant(call("a\n")), user(result("a\n")))
        self.assertRegex(said[0][0]["id"], r"^toolu_[a-f0-9]{24}\Z")
        self.assertEqual(said[0][0]["id"], said[1][0]["tool_use_id"])

    def test_a_second_result_of_a_call_becomes_text(self) -> None:
        turns = [assistant(call("1")), user(result("1", "first"), result("1", "again"))]
        self.assertEqual(
            [result("1", "first"), text("[result of an earlier tool call]\n\nagain")], self.contents(*turns)[1]
        )

    def test_a_documents_images_and_context_are_kept(self) -> None:
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
        source = {"type": "content", "content": [text("read me"), image]}
        document = {"type": "document", "source": source, "context": "from the web"}
        self.assertEqual([[text("document:\n\nfrom the web\n\nread me"), image]], self.contents(user(document)))

    def test_a_summary_is_kept_in_words(self) -> None:
        summary = {"type": "compaction", "content": "They spoke of tea.", "encrypted_content": "e"}
        body, dropped = self.plain(assistant(summary))
        self.assertIn("They spoke of tea.", body["messages"][0]["content"][0]["text"])
        self.assertEqual({}, dropped)

    def test_a_fetched_file_is_no_text(self) -> None:
        file = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}
        fetched = {"type": "web_fetch_result", "url": "u", "content": file}
        [[said]] = self.contents(assistant({"type": "web_fetch_tool_result", "tool_use_id": "s", "content": fetched}))
        self.assertIn('"source":"[application/pdf omitted]"', said["text"])

    def test_a_message_that_changes_nothing_is_the_object_that_came(self) -> None:
        turns = [user(text("a")), assistant(text("b"), call("1")), user(result("1", [text("c")]), text("d"))]
        body, _ = self.plain(*turns)
        for given, sent in zip(turns, body["messages"], strict=True):
            self.assertIs(given, sent)

    def test_what_does_not_surely_fit_is_left_to_the_upstream(self) -> None:
        body, report = {"messages": [user(text("word " * 8000))]}, Report()  # about 10,000 tokens
        target = Target("zai", "zai", "http://x", Model("m"))
        measure(body, 9000, target, report)
        self.assertAlmostEqual(10000, report.estimate or 0, delta=100)
        with self.assertRaisesRegex(ContextOverflow, r"\Aprompt is too long: 100\d\d tokens > 7000 maximum\Z"):
            measure(body, 7000, target, Report())

    def test_the_original_is_not_edited(self) -> None:
        turns = [user(text("a")), user(text("b")), assistant(GLMS, call("x.1")), user(text("c"), result("x.1"))]
        before = json.dumps(turns)
        self.plain(*turns)
        self.assertEqual(before, json.dumps(turns))


if __name__ == "__main__":
    unittest.main()
