"""Calls that a model wrote as text, whole and a character at a time; and words that only look like one."""

from __future__ import annotations

import unittest

from ccrelay_providers.wire.text_tools import Part, TextCall, TextTools

BASH = {
    "name": "Bash",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}, "timeout": {"type": "integer"}}},
}
LS = TextCall("Bash", {"command": "ls"})
OBJECT = '{"name": "Bash", "arguments": {"command": "ls"}}'


def read(text: str, step: int = 0) -> list[Part]:
    """The parts, neighbouring texts joined."""
    reader, parts = TextTools([BASH]), []
    for start in range(0, len(text), step or len(text)):
        parts += reader.feed(text[start : start + (step or len(text))])
    joined: list[Part] = []
    for part in [*parts, *reader.end()]:
        if joined and isinstance(part, str) and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


class TextToolsTests(unittest.TestCase):
    def check(self, text: str, *wanted: Part) -> None:
        for step in (0, 1, 2, 3, 7):
            self.assertEqual(read(text, step), list(wanted), f"in steps of {step}")

    def calls(self, text: str, *wanted: TextCall) -> None:
        """The calls found, whatever white space is left."""
        for step in (0, 1, 2, 3, 7):
            parts = [part for part in read(text, step) if not isinstance(part, str) or part.strip()]
            self.assertEqual(parts, list(wanted), f"in steps of {step}")

    def test_words_stay_words(self) -> None:
        texts = ("hi", "a\nb\n\nc", "  x <tool_call> y", "<b>", "``", "{", '{"port": 80}', "a { b }\n{}\n", "<", "\n")
        for text in texts:
            self.check(text, text)

    def test_words_pass_at_once(self) -> None:
        reader = TextTools([BASH])
        self.assertEqual(reader.feed("One "), ["One "])
        self.assertEqual(reader.feed("two\n"), ["two\n"])
        self.assertEqual(reader.feed("<to"), [])
        self.assertEqual(reader.feed("p> "), ["<top> "])

    def test_glm(self) -> None:
        one = "<arg_key>command</arg_key>\n<arg_value>ls</arg_value>"
        two = f"{one}\n<arg_key>timeout</arg_key>\n<arg_value>5</arg_value>\n"
        self.calls(f"<tool_call>Bash\n{one}\n</tool_call>", LS)
        self.calls(f"<tool_call>Bash{two}</tool_call>", TextCall("Bash", {"command": "ls", "timeout": 5}))
        self.calls("<tool_call>Bash\n</tool_call>", TextCall("Bash", {}))
        for text in (f"<tool_call>Nobody\n{one}\n</tool_call>", f"<tool_call>Bash now {one}</tool_call>"):
            self.check(text, text)

    def test_a_stray_mark_behind_a_bare_call_goes_with_it(self) -> None:
        call = "<function=Bash>\n<parameter=command>\nls\n</parameter>\n</function>"
        for text in (f"{call}\n</tool_call>", f"{call}</tool_call>\n", f"{call}\n\n</tool_call>"):
            self.calls(text, LS)
        self.calls(f"{call}\n</tool_call>\n{call}\n</tool_call>", LS, LS)
        self.calls(f"{call}\n</tool_call>\n<tool_call>\n{call}\n</tool_call>", LS, LS)

    def test_a_stray_mark_anywhere_else_is_text(self) -> None:
        call = f"<tool_call>{OBJECT}</tool_call>"
        for text, *wanted in (
            ("</tool_call>\nso", "</tool_call>\nso"),
            (f"{call}\n</tool_call>", LS, "\n</tool_call>"),
            ("<function=Bash>{}</function>\nso\n</tool_call>", TextCall("Bash", {}), "\nso\n</tool_call>"),
        ):
            self.check(text, *wanted)

    def test_tagged(self) -> None:
        for text in (
            f"<tool_call>{OBJECT}</tool_call>",
            f"<tool_call>\n{OBJECT}\n</tool_call>",
            f"\n<tool_call>\n{OBJECT}",  # it stopped before the mark
            '<function=Bash>{"command": "ls"}</function>',
            "<tool_call>\n<function=Bash>\n<parameter=command>\nls\n</parameter>\n</function>\n</tool_call>",
            "<function=Bash>\n<parameter=command>ls</parameter>\n</function>",
        ):
            self.calls(text, LS)

    def test_two_calls_behind_words(self) -> None:
        one = f"<tool_call>\n{OBJECT}\n</tool_call>"
        parts = read(f"Let me look.\n{one}\n{one}", 3)
        self.assertEqual([part for part in parts if part != "\n"], ["Let me look.\n", LS, LS])

    def test_types_of_parameters(self) -> None:
        text = "<function=Bash><parameter=command>1</parameter><parameter=timeout>5</parameter></function>"
        self.calls(text, TextCall("Bash", {"command": "1", "timeout": 5}))

    def test_other_spellings(self) -> None:
        for text in (
            '{"name": "Bash", "parameters": {"command": "ls"}}',
            '{"type": "function", "function": {"name": "Bash", "arguments": "{\\"command\\": \\"ls\\"}"}}',
            f"```json\n{OBJECT}\n```",
            f"```\n{OBJECT}\n```\n",
            f"```json\n[{OBJECT}]\n```",
        ):
            self.calls(text, LS)

    def test_a_fence_with_words_behind_it_is_an_example(self) -> None:
        text = f"So:\n```json\n{OBJECT}\n```\nThat would list the files."
        self.check(text, text)

    def test_nothing_is_looked_for_in_a_fence(self) -> None:
        for fence, info in (("```", "xml"), ("~~~", ""), ("````", "text")):
            text = f"{fence}{info}\nQwen writes\n<tool_call>{OBJECT}</tool_call>\n{fence}\n"
            self.check(text, text)

    def test_after_a_fence_it_is_looked_for_again(self) -> None:
        self.check(f"```sh\nls\n```\n<tool_call>{OBJECT}</tool_call>", "```sh\nls\n```\n", LS)

    def test_only_tools_that_were_offered(self) -> None:
        other = OBJECT.replace("Bash", "Launch")
        tagged = (f"<tool_call>{other}</tool_call>", "<function=Launch>{}</function>")
        for text in (other, *tagged, f"```json\n{other}\n```"):
            self.check(text, text)

    def test_what_is_not_quite_a_call(self) -> None:
        for text in (
            '{"name": "Bash"}',
            '{"name": ["Bash"], "arguments": {}}',
            '{"name": "Bash", "arguments": "ls"}',
            '{"name": "Bash", "arguments": {}',
            "<tool_call>soon</tool_call>",
            "<function=Bash>{</function>",
        ):
            self.check(text, text)


if __name__ == "__main__":
    unittest.main()
