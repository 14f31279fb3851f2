"""Ollama: the native /api/chat, both ways. Its own /v1/messages can neither set num_ctx nor report an overflow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from .wire import history, sse
from .wire.errors import RelayError, UpstreamDisconnected
from .wire.http1 import Headers
from .wire.messages import Json, MessagesRequest, MessageWriter, dumps, fold, loads
from .wire.ollama_chat import TYPE, chat
from .wire.ollama_chat import window as window  # part of the contract
from .wire.ollama_errors import error as error  # part of the contract
from .wire.provider import Model, Report, Target, UpstreamRequest, UpstreamResponse

LABEL = "Ollama"
ABILITIES: dict[str, bool] = {}

Fetch = Callable[[UpstreamRequest], UpstreamResponse]

_EDGE = 8  # a generation that hits the window ends some tokens before it
_LISTING = 5.0  # seconds for one question about the models


# ---- towards Ollama ----


def prepare(request: MessagesRequest, target: Target, report: Report) -> UpstreamRequest:
    """Always a stream: for `stream: false` it is folded, since Ollama is silent until such an answer is whole."""
    betas = ",".join(request.headers.all("anthropic-beta")).split(",")
    report.dropped.update("beta" for beta in betas if beta.strip())
    return UpstreamRequest("POST", "/api/chat", _headers(target), dumps(chat(request.body, target, report)))


def _headers(target: Target) -> tuple[tuple[str, str], ...]:
    headers = (("content-type", "application/json"), ("accept-encoding", "identity"))
    return (*headers, ("authorization", f"Bearer {target.api_key}")) if target.api_key else headers


def count_tokens(request: MessagesRequest, target: Target) -> UpstreamRequest | None:
    return None


# ---- towards the client ----


def stream(response: UpstreamResponse, request: MessagesRequest, target: Target, report: Report) -> Iterator[bytes]:
    """What came before an error in the same read is sent, unless nothing was yet: then another candidate may answer."""
    answer = _Answer(request, target, report)
    started = False
    for lines in _lines(response.pieces()):
        events, failure = answer.events(lines)
        if events and (started or failure is None):
            yield events
            started = True
        if failure is not None:
            raise failure
        if report.ended:
            return
    # killed, cut off, or Ollama's guard against thirty equal tokens in a row, which ends without a word
    raise UpstreamDisconnected(f"{target.provider}: the answer ended without its last line")


def message(response: UpstreamResponse, request: MessagesRequest, target: Target, report: Report) -> bytes:
    return dumps(fold(sse.decode(stream(response, request, target, report))))


def _lines(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The lines that each piece completes. A long line may come in many pieces; the last may lack its end."""
    held: list[bytes] = []
    for piece in pieces:
        whole, newline, rest = piece.rpartition(b"\n")
        if newline:
            yield (b"".join([*held, whole]) if held else whole).split(b"\n")
            held = []
        if rest:
            held.append(rest)
    if held:
        yield [b"".join(held)]


class _Answer:
    """One answer, line by line."""

    def __init__(self, request: MessagesRequest, target: Target, report: Report) -> None:
        self._target, self._report = target, report
        self._writer = MessageWriter(request.model, request.id, report, history.mark(TYPE, ""))
        choice = request.body.get("tool_choice") or {}
        self._one_call = bool(choice.get("disable_parallel_tool_use"))
        self._call_wanted = choice.get("type") in ("any", "tool")
        self._in_text = False
        self._space = ""  # what a text began with, if only white space so far: no API takes a text of nothing else
        self._empty = True

    def events(self, lines: list[bytes]) -> tuple[bytes, RelayError | None]:
        """What the lines make, up to the one that cannot be."""
        events: list[bytes] = []
        try:
            for line in lines:
                events.append(self._line(line))  # noqa: PERF401  # what was made before an error counts
        except RelayError as failure:
            return b"".join(events), failure
        return b"".join(events), None

    def _line(self, line: bytes) -> bytes:
        if self._report.ended or not line.strip():
            return b""
        event = self._parsed(line)
        if "error" in event:
            raise error(500, Headers(), line, self._target)
        said = event.get("message")
        events = self._content(said) if isinstance(said, dict) else b""
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
            self._in_text, self._space = False, ""
            events = self._writer.thinking(thinking)
        if isinstance(text := said.get("content"), str) and text:
            events += self._text(text)
        if isinstance(calls := said.get("tool_calls"), list):
            events += b"".join([self._call(call) for call in calls])
        return events

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
        if self._one_call and self._writer.tool_uses:
            self._report.dropped["tool_call"] += 1
            return b""
        self._in_text, self._space = False, ""
        return self._writer.tool_use(name, self._arguments(function.get("arguments"), name))

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


def _count(event: Json, key: str) -> int | None:
    """None for the zero of old versions, which count no cached prompt and leave a zero out."""
    count = event.get(key)
    return count if isinstance(count, int) and count > 0 else None


# ---- what is installed ----


def models(fetch: Fetch, target: Target) -> list[Model]:
    """All that can chat. A model that cannot be shown is listed, with unknown facts."""
    listing = _asked(fetch, UpstreamRequest("GET", "/api/tags", _headers(target), patience=_LISTING), target)
    entries = listing["models"] if isinstance(listing.get("models"), list) else []
    found = [_model(entry, fetch, target) for entry in entries if isinstance(entry, dict)]
    return [model for model in found if model is not None]


def _asked(fetch: Fetch, request: UpstreamRequest, target: Target) -> Json:
    """The object that came back. Raises RelayError."""
    response = fetch(request)
    raw = response.read()
    if response.status != 200:
        raise error(response.status, response.headers, raw, target)
    try:
        answer = loads(raw)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise UpstreamDisconnected(f"{target.provider}: answered {request.path} not with an object; is base_url right?")
    return answer


def _model(entry: Json, fetch: Fetch, target: Target) -> Model | None:
    """None for what cannot chat: embeddings, images."""
    name = str(entry.get("model") or entry.get("name"))
    request = UpstreamRequest("POST", "/api/show", _headers(target), dumps({"model": name}), patience=_LISTING)
    try:
        shown = _asked(fetch, request, replace(target, model=Model(name)))
    except RelayError:
        shown = {}
    capabilities = _capabilities(entry, shown)
    if capabilities is not None and "completion" not in capabilities:
        return None
    facts = {fact: fact in capabilities for fact in ("vision", "tools", "thinking")} if capabilities else {}
    return Model(name, name.removesuffix(":latest"), _context(entry, shown), detail=_detail(entry), **facts)


def _capabilities(entry: Json, shown: Json) -> list[str] | None:
    """What the model can do; told since 0.6.4, before that guessed from what was there then."""
    told = shown.get("capabilities") or entry.get("capabilities")
    if isinstance(told, list):
        return [str(capability) for capability in told]
    if not shown:
        return None
    families = _object(entry, "details").get("families") or []
    if any("bert" in str(family) for family in families) or "embed" in str(entry.get("name")):
        return ["embedding"]
    sees = "projector_info" in shown or "clip" in families or "mllama" in families
    return ["completion", *["tools"] * (".Tools" in str(shown.get("template"))), *["vision"] * sees]


def _context(entry: Json, shown: Json) -> int | None:
    """The length the model was trained for."""
    info = _object(shown, "model_info")
    keys = [f"{info.get('general.architecture')}.context_length"]
    keys += [key for key in info if key.endswith(".context_length")]
    lengths = [info.get(key) for key in keys] + [_object(entry, "details").get("context_length")]
    return next((length for length in lengths if isinstance(length, int) and length > 0), None)


def _detail(entry: Json) -> str | None:
    details = _object(entry, "details")
    where = "cloud" if entry.get("remote_host") else None
    words = (details.get("parameter_size"), details.get("quantization_level"), where)
    return " ".join(str(word) for word in words if word) or None


def _object(value: Json, key: str) -> Json:
    found = value.get(key)
    return found if isinstance(found, dict) else {}
