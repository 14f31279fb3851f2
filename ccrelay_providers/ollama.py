"""Ollama: the native /api/chat, both ways. Its own /v1/messages can neither set num_ctx nor report an overflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .wire import history, sse
from .wire.errors import RelayError, UpstreamDisconnected
from .wire.http1 import Headers
from .wire.messages import Json, MessagesRequest, MessageWriter, dumps, dumps_ascii, fold, loads
from .wire.ollama_chat import TYPE, chat, headers
from .wire.ollama_chat import window as window  # part of the contract
from .wire.ollama_errors import error as error  # part of the contract
from .wire.ollama_lines import blocks, plain
from .wire.ollama_models import listing, writes_calls
from .wire.ollama_models import loaded_window as loaded_window  # part of the contract
from .wire.provider import Ask, Listing, Report, Target, UpstreamRequest, UpstreamResponse
from .wire.text_tools import Part, TextCall, TextTools

LABEL = "Ollama"
ABILITIES: dict[str, bool] = {}

_EDGE = 8  # a generation that hits the window ends some tokens before it


# ---- towards Ollama ----


def prepare(request: MessagesRequest, target: Target, report: Report) -> UpstreamRequest:
    """Always a stream: for `stream: false` it is folded, since Ollama is silent until such an answer is whole."""
    betas = ",".join(request.headers.all("anthropic-beta")).split(",")
    report.dropped.update("beta" for beta in betas if beta.strip())
    return UpstreamRequest("POST", "/api/chat", headers(target), dumps_ascii(chat(request.body, target, report)))


def count_tokens(request: MessagesRequest, target: Target) -> UpstreamRequest | None:
    return None


# ---- towards the client ----


def stream(response: UpstreamResponse, request: MessagesRequest, target: Target, report: Report) -> Iterator[bytes]:
    """What came before an error in the same read is sent, unless nothing was yet: then another candidate may answer."""
    answer = _Answer(request, target, report)
    started = False
    for block in blocks(response.pieces()):
        if events := answer.more(block):
            yield events
            continue
        events, failure = answer.events(block)
        if events and (started or failure is None):
            yield events
            started = True
        if failure is not None:
            raise failure
        if report.ended:
            return
    if rest := answer.rest():
        yield rest
    # killed, cut off, or Ollama's guard against thirty equal tokens in a row, which ends without a word
    raise UpstreamDisconnected(f"{target.provider}: the answer ended without its last line")


def message(response: UpstreamResponse, request: MessagesRequest, target: Target, report: Report) -> bytes:
    return dumps(fold(sse.decode(stream(response, request, target, report))))


class _Answer:
    """One answer, line by line."""

    def __init__(self, request: MessagesRequest, target: Target, report: Report) -> None:
        self._target, self._report = target, report
        self._writer = MessageWriter(request.model, request.id, report, history.mark(TYPE, ""))
        choice = request.body.get("tool_choice") or {}
        self._one_call = bool(choice.get("disable_parallel_tool_use"))
        self._call_wanted = choice.get("type") in ("any", "tool")
        self._reader = _reader(request.body, target)
        self._in_text = False
        self._space = ""  # what a text began with, if only white space so far: no API takes a text of nothing else
        self._empty = True

    def more(self, block: bytes) -> bytes:
        """The common case: nothing but more of the open text or thinking. Empty if it is anything else."""
        kind, reader = self._writer.open, self._reader
        if kind is None or self._space:
            return b""
        if reader is not None and not (reader.passes(block) if kind == "text" else reader.holds_nothing):
            return b""
        values = plain(block, kind)
        return self._writer.more(values) if values else b""

    def events(self, block: bytes) -> tuple[bytes, RelayError | None]:
        """What the lines make, up to the one that cannot be."""
        events: list[bytes] = []
        try:
            for part in _ends_apart(block):
                if more := self.more(part):
                    events.append(more)
                    continue
                for line in part.split(b"\n"):
                    events.append(self.more(line) or self._line(line))  # noqa: PERF401  # what came before an error counts
        except RelayError as failure:
            return b"".join(events), failure
        return b"".join(events), None

    def _line(self, line: bytes) -> bytes:
        if self._report.ended or not line.strip():
            return b""
        event = self._parsed(line)
        if "error" in event:
            raise error(500, Headers(), line, self._target, self._report.estimate or 0)
        said = event.get("message")
        events = self._content(said) if isinstance(said, dict) else b""
        if event.get("done"):
            events += self.rest()
        if events:
            self._empty = False
        return events + self._end(event) if event.get("done") else events

    def _parsed(self, line: bytes) -> Json:
        try:
            event = loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            provider = self._target.provider
            raise UpstreamDisconnected(f"{provider}: a line of the answer is not an object; is base_url right?")
        return event

    def _content(self, said: Json) -> bytes:
        """Thinking stands before text, and text before calls, where one line holds them all."""
        events = b""
        if isinstance(thinking := said.get("thinking"), str) and thinking:
            events = self.rest()
            self._in_text, self._space = False, ""
            events += self._writer.thinking(thinking)
        if isinstance(text := said.get("content"), str) and text:
            events += self._text(text) if self._reader is None else self._parts(self._reader.feed(text))
        if isinstance(calls := said.get("tool_calls"), list):
            events += self.rest() + b"".join([self._call(call) for call in calls])
        return events

    def rest(self) -> bytes:
        """What was held back because it might have become a call."""
        return self._parts(self._reader.end()) if self._reader else b""

    def _parts(self, parts: list[Part]) -> bytes:
        return b"".join([self._text(part) if isinstance(part, str) else self._text_call(part) for part in parts])

    def _text_call(self, call: TextCall) -> bytes:
        self._report.notes.append(f"a call of {call.name} was written as text")
        return self._tool_use(*call)

    def _text(self, text: str) -> bytes:
        if not self._in_text:
            text = self._space + text
            self._in_text = not text.isspace()
            self._space = "" if self._in_text else text
        return self._writer.text(text) if self._in_text else b""

    def _call(self, call: Any) -> bytes:
        """Whole calls only. The client knows a call by an id of the relay: Ollama's may repeat, or be missing."""
        function = call.get("function") if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or not name:
            raise UpstreamDisconnected(f"{self._target.provider}: answered with a tool call that has no name")
        return self._tool_use(name, self._arguments(function.get("arguments"), name))

    def _tool_use(self, name: str, arguments: Json) -> bytes:
        if self._one_call and self._writer.tool_uses:
            self._report.dropped["tool_call"] += 1
            return b""
        self._in_text, self._space = False, ""
        return self._writer.tool_use(name, arguments)

    def _arguments(self, arguments: Any, name: str) -> Json:
        """An object; from servers that speak OpenAI's dialect inside a string."""
        try:
            found = loads(arguments or "{}") if isinstance(arguments, str) else arguments or {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise UpstreamDisconnected(f"{self._target.provider}: the arguments of a call of {name} are not an object")
        return found

    # ---- the last line ----

    def _end(self, event: Json) -> bytes:
        self._report.input_tokens = _count(event, "prompt_eval_count")
        self._report.output_tokens = _count(event, "eval_count")
        reason = self._stop_reason(event.get("done_reason"))
        self._take_notes()
        return self._writer.end(reason)

    def _stop_reason(self, reason: Any) -> str:
        """A matched stop sequence is not told from any other stop."""
        if self._writer.tool_uses:
            return "tool_use"
        if reason == "length":
            limit, report = window(self._target), self._report
            used = (report.input_tokens or report.estimate or 0) + (report.output_tokens or 0)
            return "model_context_window_exceeded" if limit and used >= limit - _EDGE else "max_tokens"
        if reason not in ("stop", None, ""):  # none: old versions
            self._report.notes.append(f"done_reason {str(reason)[:40]} became end_turn")
        return "end_turn"

    def _take_notes(self) -> None:
        report = self._report
        if self._empty:
            report.notes.append("the answer is empty")
        if self._call_wanted and not self._writer.tool_uses:
            report.notes.append("tool_choice was not obeyed")
        if report.input_tokens is None:
            report.notes.append("input_tokens is an estimate")
        elif (limit := window(self._target)) and limit / 2 < (report.estimate or 0) > 2 * report.input_tokens:
            # a version that knows neither truncate nor shift cuts the prompt to half the window, behind a 200
            sent, read = report.estimate, report.input_tokens
            report.notes.append(f"the prompt may have been cut: about {sent} tokens sent, {read} read")


def _ends_apart(block: bytes) -> list[bytes]:
    """The first line, all between, the last line: what is not plain is mostly where an answer begins and ends."""
    first, _, rest = block.partition(b"\n")
    middle, _, last = rest.rpartition(b"\n")
    return [part for part in (first, middle, last) if part]


def _reader(body: Json, target: Target) -> TextTools | None:
    """For a model of which it is known that it writes calls as text, if it was offered tools."""
    offered = [tool for tool in body.get("tools") or [] if tool.get("name")]
    none = target.model.tools is False or (body.get("tool_choice") or {}).get("type") == "none"
    return TextTools(offered) if offered and not none and writes_calls(target.model) else None


def _count(event: Json, key: str) -> int | None:
    """None for the zero of old versions, which count no cached prompt and leave a zero out."""
    count = event.get(key)
    return count if isinstance(count, int) and count > 0 else None


# ---- what is installed ----


def probe(target: Target) -> UpstreamRequest | None:
    """None: what it has is asked for anyway."""
    return None


def models(ask: Ask, target: Target, before: Listing) -> Listing:
    return listing(ask, target, before)
