"""ccrelay_providers/wire/history.py: one provider's conversation for another."""

from __future__ import annotations

import unittest
from collections import Counter
from typing import Any

from ccrelay_providers.wire import history
from tests.turns import CLAUDES, GLMS, UNSIGNED, assistant, call, result, text, user

Json = dict[str, Any]

PNG = frozenset({"image/png"})
SEARCH: Json = {"type": "server_tool_use", "id": "zai_1", "name": "analyze_image", "input": {"of": "x.png"}}
FOUND: Json = {"type": "web_search_tool_result", "tool_use_id": "zai_1", "content": [{"type": "web_search_result"}]}


class MarkTests(unittest.TestCase):
    def test_a_mark_is_read_back(self) -> None:
        for own in ("6a1f", "", "with:colons:", "ccrelay:zai:x"):
            self.assertEqual(("zai", own), history.provenance(history.mark("zai", own)))

    def test_an_unmarked_signature_is_anthropics(self) -> None:
        self.assertEqual(("anthropic", "EqQB"), history.provenance("EqQB"))

    def test_no_signature_is_nobodys(self) -> None:
        for nothing in ("", None, 5):
            self.assertEqual((None, ""), history.provenance(nothing))


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

    def test_what_anthropic_never_takes_is_repaired(self) -> None:
        odd = {**call("toolu_1"), "name": "functions.Bash", "input": "ls"}
        turns = [assistant(text("\n"), odd), user(result("toolu_1", [text("")]), text(" ")), assistant(text(""))]
        called, answered, empty = self.repaired(*turns)[0]["messages"]
        self.assertEqual([{**odd, "name": "functions_Bash", "input": {"input": "ls"}}], called["content"])
        self.assertEqual([result("toolu_1", history.NO_OUTPUT)], answered["content"])
        self.assertEqual([text(history.NOTHING)], empty["content"])

    def test_another_providers_server_tools_become_text(self) -> None:
        body, dropped = self.repaired(assistant(SEARCH, FOUND))
        self.assertEqual(["text", "text"], [block["type"] for block in body["messages"][0]["content"]])
        self.assertEqual({"server_tool": 2}, dropped)

    def test_a_turn_of_anothers_in_its_own_loop_switches_thinking_off(self) -> None:
        own = [assistant(CLAUDES, call("toolu_1")), user(result("toolu_1"))]
        for foreign in (assistant(GLMS, call("toolu_2")), assistant(call("call_2"))):
            loop = [*own, foreign, user(result(foreign["content"][-1]["id"]))]
            self.assertNotIn("thinking", self.repaired(*loop, thinking={"type": "enabled"})[0])
        loop = [*own, assistant(call("toolu_2")), user(result("toolu_2"))]
        self.assertIn("thinking", self.repaired(*loop, thinking={"type": "enabled"})[0])

    def test_thinking_stays_off_in_a_loop_in_which_it_was_switched_off(self) -> None:
        own = [assistant(CLAUDES, call("toolu_1")), user(result("toolu_1"))]
        foreign = [assistant(call("call_2")), user(result("call_2"))]
        loop = [*own, *foreign, assistant(call("toolu_3")), user(result("toolu_3"))]
        self.assertNotIn("thinking", self.repaired(*loop, thinking={"type": "enabled"})[0])

    def test_a_text_behind_the_results_does_not_end_the_loop(self) -> None:
        loop = [user(text("a")), assistant(call("call_1")), user(result("call_1")), user(text("and hurry"))]
        self.assertNotIn("thinking", self.repaired(*loop, thinking={"type": "enabled"})[0])

    def test_nor_does_one_before_them(self) -> None:
        loop = [user(text("a")), assistant(call("call_1")), user(text("and hurry")), user(result("call_1"))]
        self.assertNotIn("thinking", self.repaired(*loop, thinking={"type": "enabled"})[0])

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


if __name__ == "__main__":
    unittest.main()
