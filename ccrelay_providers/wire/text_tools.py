"""Tool calls that a model wrote as text: found, and taken out of it.

Small models often miss the form that their template expects, and Ollama then passes their words on as an answer.

    <tool_call>{"name": "Bash", "arguments": {…}}</tool_call>       Qwen, Hermes; with <function=…> inside: Qwen3-Coder
    <tool_call>Bash<arg_key>command</arg_key><arg_value>ls</arg_value></tool_call>      GLM
    <function=Bash>{…}</function>                                   Llama; or <parameter=command>ls</parameter>
    {"name": "Bash", "parameters": {…}}                             Llama, Qwen2.5-Coder; alone or in a fence of its own

A call begins a line and names a tool that was offered; everything else stays text. In a fence nothing is looked for,
except that the fence as a whole may be a call, if no words follow it: else it is an example.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .messages import Json, loads

_TAGS = {"<tool_call>": "</tool_call>", "<function=": "</function>"}
_STRAY = "</tool_call>"  # Qwen3-Coder's, when it forgot the opening one
_OPENERS = (*_TAGS, _STRAY, "```", "~~~", "{")
_FENCE = re.compile(r"(```+|~~~+)[ \t]*(\w*)[ \t]*\n")
_FENCED_CALLS = ("", "json", "tool_call", "tool_code", "tool")
_MAY_BE_CALL = re.compile(r'\s*(\[\s*)?(\{\s*("?\w*|"(name|type|id|function|tool|arguments|parameters)"[\s\S]*))?\Z')
_FUNCTION = re.compile(r"\s*<function=([^>\s]+)>([\s\S]*?)(?:</function>|\Z)\s*")
_GLM = re.compile(r"\s*([^\s<{]+)\s*((?:<arg_key>[\s\S]*?</arg_key>\s*<arg_value>[\s\S]*?</arg_value>\s*)*)")
_GLM_ARGUMENT = re.compile(r"<arg_key>\s*([\s\S]*?)\s*</arg_key>\s*<arg_value>([\s\S]*?)</arg_value>")
_PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?([\s\S]*?)\n?(?:</parameter>|(?=<parameter=)|\Z)")


class TextCall(NamedTuple):
    name: str
    arguments: Json


Part = str | TextCall


class TextTools:
    """Reads text piece by piece. What may become a call is held back; `end` gives the rest.

    tools: those that were offered, as the Messages API describes them.
    """

    def __init__(self, tools: Iterable[Json]) -> None:
        self._tools = {str(tool.get("name")): tool for tool in tools}
        self._held = ""  # begins at the start of a line
        self._line_goes_on = False  # in words: until its end, everything passes
        self._fence = ""  # the mark of the fence we are in
        self._stray_may_follow = False  # behind a bare <function=…>
        self._pending: list[Part] = []  # calls in fences, each behind its text: calls only if no words follow

    @property
    def holds_nothing(self) -> bool:
        return not self._held and not self._pending

    def passes(self, escaped: bytes) -> bool:
        """Whether `feed` would give text back as it is. escaped: JSON that holds it."""
        return self._line_goes_on and b"\\n" not in escaped and b"\\u000" not in escaped

    def feed(self, text: str) -> list[Part]:
        if self._line_goes_on and "\n" not in text:
            return [text]
        self._held += text
        parts = list(self._parts(ended=False))
        words = [part for part in parts if isinstance(part, str)]
        return ["".join(words)] if len(words) == len(parts) > 1 else parts

    def end(self) -> list[Part]:
        """What is left; a call that lacks its closing mark counts."""
        parts = [*self._parts(ended=True), self._held]
        self._held = ""
        calls = [part for part in self._pending if isinstance(part, TextCall)]
        self._pending.clear()
        return [part for part in (*parts, *calls) if part]

    def _parts(self, ended: bool) -> Iterator[Part]:
        while self._held:
            step = self._rest_of_line() if self._line_goes_on or self._fence else self._line_start(ended)
            if step is None:
                return
            yield from step

    def _words(self, length: int) -> list[Part]:
        """So much of what is held is text, and then so was every fence before it."""
        text, self._held = self._held[:length], self._held[length:]
        self._stray_may_follow = False
        before = [part for part in self._pending if isinstance(part, str)] if text.strip() else []
        if before:
            self._pending.clear()
        return [*before, text]

    # ---- in words ----

    def _rest_of_line(self) -> list[Part] | None:
        """Up to the end of the line. Inside a fence a line may close it, so a short one waits until it is whole."""
        length = self._held.find("\n") + 1
        start = self._held.lstrip(" \t")
        if self._fence and not self._line_goes_on:
            if not length and (self._fence.startswith(start[:3]) or start.startswith(self._fence)):
                return None
            if start.startswith(self._fence):
                self._fence = ""
        self._line_goes_on = not length
        return self._words(length or len(self._held))

    # ---- at the start of a line ----

    def _line_start(self, ended: bool) -> list[Part] | None:
        """None: what comes next must be seen first."""
        start = self._held.lstrip()
        if not ended and (not start or any(opener.startswith(start) for opener in _OPENERS)):
            return None
        if self._stray_may_follow and start.startswith(_STRAY):
            self._held, self._stray_may_follow = start.removeprefix(_STRAY), False
            return []
        for opener, closer in _TAGS.items():
            if start.startswith(opener):
                return self._tagged(closer, ended)
        if start.startswith(("```", "~~~")):
            return self._fenced(start, ended)
        if start.startswith("{"):
            return self._bare(start, ended)
        return self._begin_words()

    def _begin_words(self) -> list[Part]:
        """White space before the line's words, and the words; the line may go on."""
        blank = len(self._held) - len(self._held.lstrip())
        end = self._held.find("\n", blank) + 1
        self._line_goes_on = not end
        return self._words(end or len(self._held))

    def _tagged(self, closer: str, ended: bool) -> list[Part] | None:
        end = self._held.find(closer)
        if end < 0 and not ended:
            return None
        body = self._held[: end if end >= 0 else len(self._held)]
        calls = self._calls(body.lstrip().removeprefix("<tool_call>"))
        if not calls:
            return self._begin_words()
        self._held = self._held[end + len(closer) :] if end >= 0 else ""
        self._stray_may_follow = closer == "</function>"
        return [*calls]

    def _fenced(self, start: str, ended: bool) -> list[Part] | None:
        """A fence: a call as a whole, or words with everything in it."""
        opening = _FENCE.match(start)
        if opening is None:
            return self._begin_words() if ended or "\n" in start else None
        mark, info = opening.groups()
        body, closing, _ = start[opening.end() :].partition(f"\n{mark}")
        calls: list[Part] = []
        if info.lower() in _FENCED_CALLS and _MAY_BE_CALL.match(body):
            if not closing and not ended:
                return None
            calls = self._calls(body)
        if not calls:
            self._fence = mark
            return self._words(len(self._held) - len(start) + opening.end())
        length = len(self._held) - len(start) + opening.end() + len(body) + len(closing)
        self._pending += [self._held[:length], *calls]
        self._held = self._held[length:]
        return []

    def _bare(self, start: str, ended: bool) -> list[Part] | None:
        """An object that is the rest of the answer."""
        if not ended:
            return None if _MAY_BE_CALL.match(start) else self._begin_words()
        calls = self._calls(start)
        if not calls:
            return self._begin_words()
        self._held = ""
        return [*calls]

    # ---- what a call says ----

    def _calls(self, body: str) -> list[Part]:
        """The calls that a text consists of: empty if it is anything else, or names a tool that was not offered."""
        if match := _FUNCTION.fullmatch(body):
            found = [self._tagged_call(match[1], match[2])]
        elif (match := _GLM.fullmatch(body)) and match[1] in self._tools:
            found = [self._typed_call(match[1], _GLM_ARGUMENT.findall(match[2]))]
        else:
            try:
                value = loads(body.strip())
            except ValueError:
                return []
            found = [self._object_call(each) for each in (value if isinstance(value, list) else [value])]
        calls = [call for call in found if call is not None]
        return [*calls] if len(calls) == len(found) else []

    def _object_call(self, value: Any) -> TextCall | None:
        if not isinstance(value, dict):
            return None
        inner = value.get("function")
        call = inner if isinstance(inner, dict) else value
        name = call.get("name") or call.get("tool") or (inner if isinstance(inner, str) else None)
        keys = ("arguments", "parameters", "args", "input")
        arguments = next((call[key] for key in keys if key in call), None)
        if isinstance(arguments, str):
            try:
                arguments = loads(arguments)
            except ValueError:
                return None
        if not isinstance(name, str) or name not in self._tools or not isinstance(arguments, dict):
            return None
        return TextCall(name, arguments)

    def _tagged_call(self, name: str, body: str) -> TextCall | None:
        if name not in self._tools:
            return None
        if "<parameter=" in body:
            return self._typed_call(name, _PARAMETER.findall(body))
        try:
            arguments = loads(body.strip() or "{}")
        except ValueError:
            return None
        return TextCall(name, arguments) if isinstance(arguments, dict) else None

    def _typed_call(self, name: str, parameters: list[tuple[str, str]]) -> TextCall:
        return TextCall(name, {key: self._typed(name, key, value) for key, value in parameters})

    def _typed(self, name: str, key: str, value: str) -> Any:
        """A parameter's text as what the schema wants: text stays text."""
        schema = self._tools[name].get("input_schema")
        wanted = ((schema.get("properties") or {}).get(key) or {}) if isinstance(schema, dict) else {}
        if not isinstance(wanted, dict) or wanted.get("type", "string") == "string":
            return value
        try:
            return loads(value.lower() if value in ("True", "False") else value)
        except ValueError:
            return value
