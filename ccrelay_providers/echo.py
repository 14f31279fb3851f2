"""Answers by itself, offline and the same every time: a first run without a key, a self-test, a demonstration.

Lines of the last user turn that begin with `echo:` say how:

    echo:think TEXT          think first
    echo:tool NAME {JSON}    call a tool; several lines make parallel calls
    echo:words N             answer with N words
    echo:slow SECONDS        pause that long before every piece
    echo:wait SECONDS        say nothing at all that long first
    echo:fail STATUS         fail with this HTTP status before anything is sent
    echo:fail stream         fail in the middle of the answer, with an error event
    echo:fail cut            stop in the middle of the answer, without an end

Any other is refused. An answer ends after `max_tokens` words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from . import anthropic
from .wire import blocks
from .wire.errors import InvalidRequest, RelayError, error_body, error_type
from .wire.http1 import Headers
from .wire.messages import Json, MessagesRequest, MessageWriter, dumps, fold, loads
from .wire.passthrough import Passthrough
from .wire.provider import Ask, Listing, LocalAnswer, Report, Target, UpstreamRequest, UpstreamResponse
from .wire.sse import decode, encode

LABEL = "Echo"
ABILITIES = {"vision": False, "tools": True, "thinking": True}

MAX_WORDS = 100_000
MAX_SECONDS = 3600.0
FAILURES = ("stream", "cut")
_NUMBER = re.compile("[0-9]{1,6}")
KNOWN = ("think", "tool", "words", "slow", "wait", "fail")
_DIRECTIVE = re.compile(r"^echo:(\w+)[ \t]*(.*)$", re.MULTILINE)


def prepare(request: MessagesRequest, target: Target, report: Report) -> LocalAnswer:
    report.estimate = request.estimate
    directives = _directives(request.body)
    failure = directives.get("fail", [""])[-1]
    pieces: list[bytes | float] = [_seconds("wait", directives)] if "wait" in directives else []
    if failure and failure not in FAILURES:
        return _failing(failure, pieces, request)
    answer = _answer(request, target, directives)
    if failure:
        half = max(2, len(answer) // 2)
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "this failure was asked for"}}
        answer = answer[:half] + ([encode("error", dumps(error))] if failure == "stream" else [])
    pause = _seconds("slow", directives) if "slow" in directives else 0.0
    for piece in answer:
        pieces += [pause, piece] if pause else [piece]
    return LocalAnswer(tuple(pieces))


def _directives(body: Json) -> dict[str, list[str]]:
    """{name: [argument, …]} from the text of the last user turn."""
    last: Json = next((message for message in reversed(body["messages"]) if message["role"] == "user"), {})
    directives: dict[str, list[str]] = {}
    for name, argument in _DIRECTIVE.findall(_own_text(last.get("content") or "")):
        if name not in KNOWN:
            known = ", ".join(f"echo:{each}" for each in KNOWN)
            raise InvalidRequest(f"echo:{name}: no such line; there are {known} (docs/providers.md)")
        directives.setdefault(name, []).append(argument.strip())
    return directives


def _own_text(content: str | list[Json]) -> str:
    """What the user wrote, without tool results."""
    if isinstance(content, str):
        return content
    return "\n".join(str(block.get("text") or "") for block in content if block["type"] == "text")


def _seconds(name: str, directives: dict[str, list[str]]) -> float:
    try:
        return min(max(0.0, float(directives[name][-1])), MAX_SECONDS)
    except ValueError:
        raise InvalidRequest(f"echo:{name}: expected a number of seconds, got {directives[name][-1]!r}") from None


def _failing(failure: str, pieces: list[bytes | float], request: MessagesRequest) -> LocalAnswer:
    if not _NUMBER.fullmatch(failure) or not 400 <= int(failure) <= 599:
        raise InvalidRequest(f"echo:fail: expected a status from 400 to 599, stream or cut, got {failure!r}")
    status = int(failure)
    error = RelayError("this failure was asked for", status=status, type=error_type(status))
    return LocalAnswer((*pieces, error_body(error, request.id)), status, "application/json")


def _answer(request: MessagesRequest, target: Target, directives: dict[str, list[str]]) -> list[bytes]:
    """The events of the answer, one item a piece."""
    report = Report(estimate=request.estimate, input_tokens=request.estimate, output_tokens=0)
    writer = MessageWriter(request.model, request.id, report, signature="ccrelay:echo:")
    pieces = [writer.thinking(text or "Nothing to think about.") for text in directives.get("think", [])]
    words = _words(request, target, directives)
    said = words[: request.body.get("max_tokens")]  # counting has none
    pieces += [writer.text(word) for word in said]
    if len(said) < len(words):
        report.output_tokens = len(said)
        return [*pieces, writer.end("max_tokens")]
    pieces += [writer.tool_use(*_call(line)) for line in directives.get("tool", [])]
    report.output_tokens = len(words) + 10 * writer.tool_uses
    return [*pieces, writer.end("tool_use" if writer.tool_uses else "end_turn")]


def _words(request: MessagesRequest, target: Target, directives: dict[str, list[str]]) -> list[str]:
    if "words" not in directives:
        return [word + " " for word in _sentence(request, target).split(" ")]
    count = directives["words"][-1]
    if not _NUMBER.fullmatch(count) or not 0 < int(count) <= MAX_WORDS:
        raise InvalidRequest(f"echo:words: expected a number from 1 to {MAX_WORDS}, got {count!r}")
    return [f"word{number} " for number in range(1, int(count) + 1)]


def _sentence(request: MessagesRequest, target: Target) -> str:
    """Names the model and counts what came; after a tool call it says what the tool returned."""
    messages = request.body["messages"]
    results = [blocks.text_of(block.get("content")) for block in _results(messages)]
    if results:
        return f"{target.label} got from the tool: {' | '.join(results)[:400]}"
    return (
        f"{target.label} answers for {request.model}: {request.estimate} input tokens (estimated), "
        f"{len(messages)} messages, {len(request.body.get('tools') or [])} tools."
    )


def _results(messages: list[Json]) -> list[Json]:
    last: Json = next((message for message in reversed(messages) if message["role"] == "user"), {})
    content = last.get("content")
    return [block for block in content if block["type"] == "tool_result"] if isinstance(content, list) else []


def _call(line: str) -> tuple[str, Json]:
    name, _, arguments = line.partition(" ")
    try:
        parsed = loads(arguments or "{}")
    except ValueError:
        parsed = None
    if not name or not isinstance(parsed, dict):
        raise InvalidRequest(f"echo:tool: expected NAME and a JSON object, got {json.dumps(line[:100])}")
    return name, parsed


def stream(response: UpstreamResponse, request: MessagesRequest, target: Target, report: Report) -> Iterator[bytes]:
    def failure(data: bytes) -> RelayError:
        return anthropic.in_band(data, target)

    return Passthrough(request.model, report, failure).stream(response.pieces())


def message(response: UpstreamResponse, request: MessagesRequest, target: Target, report: Report) -> bytes:
    return dumps(fold(decode(stream(response, request, target, report))))


def error(status: int, headers: Headers, body: bytes, target: Target, tokens: int = 0) -> RelayError:
    return anthropic.error(status, headers, body, target)


def count_tokens(request: MessagesRequest, target: Target) -> UpstreamRequest | None:
    return None


def window(target: Target) -> int | None:
    return target.model.context


def models(ask: Ask, target: Target, before: Listing) -> Listing:
    return Listing()


def probe(target: Target) -> UpstreamRequest | None:
    return None


def loaded_window(ask: Ask, target: Target) -> int | None:
    return None
