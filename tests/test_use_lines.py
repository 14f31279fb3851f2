"""`/use` lines: where one is, where none is, and the conversation without them."""

from __future__ import annotations

import unittest
from typing import Any

from ccrelay_providers.wire.use_lines import REFUSES, SAYS, UseLines, find

Json = dict[str, Any]
REMINDER = {"type": "text", "text": "<system-reminder>\nlorem\n</system-reminder>\n"}
NO_COMMAND = "<system-reminder>\nThe user's message starts with the slash command /use, but no command with that name …"
COMMAND = (
    "<command-message>use</command-message>\n<command-name>/use</command-name>\n<command-args>a/b</command-args>\n"
)
SYSTEM = {"role": "system", "content": "# Environment"}


def user(*content: str | Json) -> Json:
    return {"role": "user", "content": [block if isinstance(block, dict) else text(block) for block in content]}


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def assistant(words: str) -> Json:
    return {"role": "assistant", "content": [text(words)]}


def lines(*messages: Json) -> UseLines:
    found = find({"model": "m", "messages": list(messages)})
    assert found is not None
    return found


class TestLine(unittest.TestCase):
    def test_a_line_of_its_own_is_one(self) -> None:
        for words, rest in {
            "/use zai/glm-5.2": "", " /use zai/glm-5.2\n": "", "\n\t/use\tzai/glm-5.2  \r\nhello": "hello",
            "/use a\n/use zai/glm-5.2\n\nhello\n/use b": "\nhello\n/use b",
        }.items():  # fmt: skip
            with self.subTest(words):
                self.assertEqual(lines(user(words)).latest[-1], "zai/glm-5.2")
                self.assertEqual(lines({"role": "user", "content": words}).latest[-1], "zai/glm-5.2")
                expected = [user(rest)] if rest else [{"role": "user", "content": "(nothing)"}]
                self.assertEqual(lines(user(words)).body["messages"], expected)

    def test_without_a_name_it_is_one_if_nothing_follows(self) -> None:
        self.assertEqual((lines(user("/use")).latest, lines(user("/use \n")).names), (("",), ()))
        self.assertIsNone(find({"messages": [user("/use\nhello")]}))

    def test_what_only_looks_like_one(self) -> None:
        for words in ("/use the force", "/user a", "/users", "use a", "so /use a", "`/use a`", "hello\n/use a",
                      "<session>\n/use a\n</session>"):  # fmt: skip
            with self.subTest(words):
                self.assertIsNone(find({"messages": [user(words)]}))

    def test_only_the_user_s_own_text_has_lines(self) -> None:
        result = {"type": "tool_result", "tool_use_id": "t", "content": [text("/use a")]}
        for message in (assistant("/use a"), {"role": "system", "content": "/use a"}, user(result)):
            self.assertIsNone(find({"messages": [message]}))


class TestConversation(unittest.TestCase):
    def test_the_last_name_counts_and_the_lines_are_gone_from_every_turn(self) -> None:
        found = lines(
            user("/use a\none"), assistant("1"), user(REMINDER, " /use b\ntwo"), assistant("2"), user("three")
        )
        self.assertEqual((found.names, found.latest, found.alone), (("a", "b"), (), False))
        expected = [user("one"), assistant("1"), user(REMINDER, "two"), assistant("2"), user("three")]
        self.assertEqual(found.body["messages"], expected)

    def test_what_the_relay_answered_is_gone_too(self) -> None:
        before = [user("one"), assistant("1")]
        exchange = [user("/use a"), assistant(SAYS + "a from here on")]
        found = lines(*before, *exchange, user("two"))
        self.assertEqual((found.names, found.body["messages"]), (("a",), [*before, user("two")]))

    def test_a_refused_name_does_not_count_and_what_was_said_with_it_stays(self) -> None:
        found = lines(user("/use a"), assistant(SAYS + "yes"), user("/use x\none"), assistant(REFUSES), user("two"))
        self.assertEqual((found.names, found.body["messages"]), (("a",), [user("one"), user("two")]))

    def test_a_system_turn_finds_its_place_before_the_answer(self) -> None:
        first = [user(REMINDER, " /use a"), SYSTEM, assistant(SAYS + "yes"), user("one")]
        self.assertEqual(lines(*first).body["messages"], [user(REMINDER), user("one"), SYSTEM])
        later = lines(*first, assistant("1"), user("two")).body["messages"]
        self.assertEqual(later, [user(REMINDER), user("one"), SYSTEM, assistant("1"), user("two")])

    def test_what_a_model_answered_stays_and_so_does_its_question_s_place(self) -> None:
        found = lines(user("/use a"), assistant("What is /use?"), user("one"))
        nothing = {"role": "user", "content": "(nothing)"}
        self.assertEqual(found.body["messages"], [nothing, assistant("What is /use?"), user("one")])

    def test_the_same_prefix_every_time(self) -> None:
        said = [user(REMINDER, "/use a"), SYSTEM, assistant(SAYS), user("one"), assistant("1"), user("/use b\ntwo")]
        shorter = lines(*said).body["messages"]
        longer = lines(*said, assistant("2"), user("three")).body["messages"]
        self.assertEqual(longer[: len(shorter) - 1], shorter[:-1])

    def test_nothing_else_is_touched(self) -> None:
        body = {"model": "m", "messages": [user("/use a\none")], "tools": [], "stream": True}
        found = find(body)
        assert found is not None
        self.assertEqual(list(found.body), list(body))
        self.assertEqual(body["messages"], [user("/use a\none")])
        mark = {"cache_control": {"type": "ephemeral"}}
        self.assertEqual(lines(user({**text("/use a\none"), **mark})).body["messages"], [user({**text("one"), **mark})])


class TestAlone(unittest.TestCase):
    def test_beside_what_the_client_puts_there(self) -> None:
        local = "<command-name>/model</command-name>\n<local-command-stdout>Set model</local-command-stdout>"
        for content in (("/use a",), (REMINDER, " /use a"), (NO_COMMAND, REMINDER, "/use a"), (COMMAND, "/use a\n"),
                        (local, "/use a", REMINDER)):  # fmt: skip
            self.assertTrue(lines(user("one"), assistant("1"), user(*content), SYSTEM).alone, content)

    def test_not_with_anything_else(self) -> None:
        result = {"type": "tool_result", "tool_use_id": "t", "content": "done"}
        for content in (("/use a\none",), ("/use a", "one"), (result, "/use a"), ("/use a", {"type": "image"})):
            self.assertFalse(lines(user(*content)).alone, content)
        self.assertFalse(lines(user(result), user("/use a")).alone)
        self.assertFalse(lines(user("/use a"), user("one")).alone)
        self.assertFalse(lines(user("/use a"), assistant("1"), user("one")).alone)

    def test_behind_words_that_nobody_could_answer(self) -> None:
        """Claude Code keeps a message whose answer failed: as one before the line's, or as a block in front of it."""
        for turn in ([user("failed"), user(" /use a")], [user("failed", "/use a", REMINDER)]):
            found = lines(user("one"), assistant("1"), *turn)
            self.assertTrue(found.alone, turn)
            self.assertIn("failed", str(found.body["messages"]))
        self.assertFalse(lines(user("failed", "/use a\ngo on")).alone)
        self.assertFalse(lines(user("failed"), user("/use a\ngo on")).alone)

    def test_what_is_said_about_the_command_goes_with_the_line(self) -> None:
        for beside in (COMMAND, COMMAND.replace(">use<", ">relay:use<"), NO_COMMAND):
            self.assertEqual(lines(user(beside, "/use a\none")).body["messages"], [user("one")])


if __name__ == "__main__":
    unittest.main()
