"""ccrelay_providers/wire/history.py: one provider's conversation for another."""

from __future__ import annotations

import json
import unittest
from collections import Counter
from typing import Any

from ccrelay_providers.wire import history

Json = dict[str, Any]

PNG = frozenset({"image/png"})
CLAUDES: Json = {"type": "thinking", "thinking": "By Claude.", "signature": "EqQB"}
GLMS: Json = {"type": "thinking", "thinking": "By GLM.", "signature": history.mark("zai", "6a1f")}
UNSIGNED: Json = {"type": "thinking", "thinking": "By nobody.", "signature": ""}


def user(*content: Json) -> Json:
    return {"role": "user", "content": list(content)}


def assistant(*content: Json) -> Json:
    return {"role": "assistant", "content": list(content)}


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def call(tool_id: str) -> Json:
    return {"type": "tool_use", "id": tool_id, "name": "Bash", "input": {}}


def result(tool_id: str, content: Any = "done") -> Json:
    return {"type": "tool_result", "tool_use_id": tool_id, "content": content}


class MarkTests(unittest.TestCase):
    def test_a_mark_is_read_back(self) -> None:
        for own in ("6a1f", "", "with:colons:", "ccrelay:zai:x"):
            self.assertEqual(("zai", own), history.provenance(history.mark("zai", own)))

    def test_an_unmarked_signature_is_anthropics(self) -> None:
        self.assertEqual(("anthropic", "EqQB"), history.provenance("EqQB"))

    def test_no_signature_is_nobodys(self) -> None:
        for nothing in ("", None, 5):
            self.assertEqual((None, ""), history.provenance(nothing))


class GlanceTests(unittest.TestCase):
    def test_what_needs_repair_is_never_overlooked(self) -> None:
        for content in (
            [GLMS], [UNSIGNED], [{"type": "thinking", "thinking": "x"}], [{**UNSIGNED, "signature": None}],
            [CLAUDES, {"type": "thinking", "thinking": "x"}], [result("functions.Bash:0")], [result("call_1")],
        ):  # fmt: skip
            for separators in ((",", ":"), (", ", ": ")):
                with self.subTest(content=content, separators=separators):
                    raw = json.dumps({"messages": [user(*content)]}, separators=separators).encode()
                    self.assertTrue(history.may_need_repair(raw))

    def test_a_conversation_of_anthropics_is_not_parsed(self) -> None:
        body = {"messages": [assistant(CLAUDES, call("toolu_01")), user(result("toolu_01"), text("a:b"))]}
        self.assertFalse(history.may_need_repair(json.dumps(body).encode()))


class TowardsAnthropicTests(unittest.TestCase):
    def repaired(self, *messages: Json, **fields: Any) -> tuple[Json, Counter[str]]:
        dropped: Counter[str] = Counter()
        return history.for_anthropic({"messages": list(messages), **fields}, dropped), dropped

    def test_its_own_messages_are_the_same_objects(self) -> None:
        own = assistant(CLAUDES, {"type": "future", "x": 1}, call("toolu_01"))
        body, dropped = self.repaired(user(text("a")), own, user(result("toolu_01")))
        self.assertIs(own, body["messages"][1])
        self.assertFalse(dropped)

    def test_foreign_thinking_goes_and_the_rest_stays_in_place(self) -> None:
        redacted = {"type": "redacted_thinking", "data": history.mark("zai", "x")}
        body, dropped = self.repaired(assistant(GLMS, CLAUDES, UNSIGNED, redacted, text("a")))
        self.assertEqual([CLAUDES, text("a")], body["messages"][0]["content"])
        self.assertEqual({"thinking": 3}, dropped)

    def test_a_turn_of_foreign_thinking_only_keeps_its_place(self) -> None:
        body, _ = self.repaired(user(text("a")), assistant(GLMS), user(text("b")))
        self.assertEqual([text(history.OMITTED)], body["messages"][1]["content"])

    def test_ids_become_sound_and_single_on_both_sides(self) -> None:
        turns = [assistant(call("a.b:0")), user(result("a.b:0")), assistant(call("a.b:0")), user(result("a.b:0"))]
        messages = self.repaired(*turns)[0]["messages"]
        ids = [message["content"][0].get("id") or message["content"][0]["tool_use_id"] for message in messages]
        self.assertEqual((ids[0], ids[2]), (ids[1], ids[3]))
        self.assertNotEqual(ids[0], ids[2])
        for tool_id in ids:
            self.assertRegex(tool_id, r"\A[a-zA-Z0-9_-]+\Z")

    def test_a_loop_that_lost_its_thinking_is_continued_without(self) -> None:
        loop = [user(text("a")), assistant(GLMS, call("toolu_1")), user(result("toolu_1"))]
        edits = [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]
        fields = {"thinking": {"type": "enabled"}, "context_management": {"edits": edits}}
        body, dropped = self.repaired(*loop, **fields)
        self.assertNotIn("thinking", body)
        self.assertEqual(edits[1:], body["context_management"]["edits"])
        self.assertEqual(1, dropped["thinking_mode"])

    def test_adaptive_thinking_stays(self) -> None:
        loop = [assistant(GLMS, call("toolu_1")), user(result("toolu_1"))]
        self.assertIn("thinking", self.repaired(*loop, thinking={"type": "adaptive"})[0])

    def test_a_new_turn_may_think_again(self) -> None:
        loop = [assistant(GLMS, call("toolu_1")), user(result("toolu_1")), assistant(text("b")), user(text("c"))]
        self.assertIn("thinking", self.repaired(*loop, thinking={"type": "enabled"})[0])

    def test_a_longer_history_keeps_the_same_beginning(self) -> None:
        turns = [
            user(text("a")),
            assistant(GLMS, call("x.1")),
            user(result("x.1")),
            assistant(UNSIGNED),
            user(text("b")),
        ]
        whole = self.repaired(*turns)[0]["messages"]
        for length in range(1, len(turns)):
            self.assertEqual(whole[:length], self.repaired(*turns[:length])[0]["messages"])


class TowardsOthersTests(unittest.TestCase):
    def plain(self, *messages: Json, images: frozenset[str] = PNG, **fields: Any) -> tuple[Json, Counter[str]]:
        dropped: Counter[str] = Counter()
        return history.for_other({"messages": list(messages), **fields}, "zai", images, dropped), dropped

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
        body, _ = self.plain(
            user(text("a")), system=[text(history.BILLING + " cch=1"), {**text("s"), "cache_control": {}}]
        )
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

    def test_the_original_is_not_edited(self) -> None:
        turns = [user(text("a")), user(text("b")), assistant(GLMS, call("x.1")), user(text("c"), result("x.1"))]
        before = json.dumps(turns)
        self.plain(*turns)
        self.assertEqual(before, json.dumps(turns))


if __name__ == "__main__":
    unittest.main()
