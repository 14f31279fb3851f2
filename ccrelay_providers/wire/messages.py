"""The Messages API: a request parsed at most once, the grammar of the event stream, and a stream folded into a message.

Rule 1: the order message_start, (block start, deltas, stop)*, message_delta, message_stop is kept by MessageWriter
alone. A provider says what came, never which event that makes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from . import tokens
from .errors import InvalidRequest
from .http1 import Headers
from .members import Span, decoder, in_bytes, parse, parse_long
from .names import safe_name
from .provider import Report
from .signs import Signs, signs
from .sse import ServerSentEvent, encode

Json = dict[str, Any]

GLANCE_FROM = 32768
"""Bytes from which a body in Claude Code's order of keys is not parsed before it is sent: 4 MB take 12 ms.

A smaller one is, in 80 µs at most, so that what is not JSON never reaches an upstream."""

LONGEST_NAME = 200  # characters of a model's name, and of a session's id with its subagent's

_FIRST_KEY = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"model"\s*:\s*"([A-Za-z0-9._:/@\[\]-]{1,200})"\s*,')
_LAST_KEY = re.compile(rb',\s*"stream"\s*:\s*(true|false)\s*\}\s*\Z')
_AGAIN = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"\s*,')  # an object's last key is inside one
_NEAR = 4096

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # json.dumps makes one a call, 2 µs each
_encode_ascii = json.JSONEncoder(separators=(",", ":")).encode


def dumps(value: Any) -> bytes:
    """Compact JSON, keys in order, characters as they are; a lone surrogate, which UTF-8 has not, escaped."""
    try:
        return _encode(value).encode()
    except UnicodeEncodeError:
        return _ascii(value)


def _ascii(value: Any) -> bytes:
    return _encode_ascii(value).encode()


def dumps_ascii(body: Json) -> bytes:
    """A request's compact JSON with everything beyond ASCII escaped: in half the time, which counts for a long one."""
    return _in_one(body, _ascii, _ascii)


def _in_one(body: Json, written: Callable[[Any], bytes], message: Callable[[Any], bytes | memoryview]) -> bytes:
    """An object with a list of messages, from parts that are joined once: of a long one no second copy is made."""
    parts: list[bytes | memoryview] = []
    for key, value in body.items():
        parts += [b"," if parts else b"{", written(key), b":"]
        if key == "messages":
            parts.append(b"[")
            for number, each in enumerate(value):
                parts += [b",", message(each)] if number else [message(each)]
            parts.append(b"]")
        else:
            parts.append(written(value))
    return b"".join([*parts, b"}"]) if parts else b"{}"


def loads(data: bytes | str) -> Any:
    """Raises ValueError for everything that is not JSON: also NaN, a lone surrogate's bytes, or nesting without end."""
    try:
        return decoder.decode(data if isinstance(data, str) else data.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def loads_object(data: bytes | str) -> Json | None:
    """None for everything that is not a JSON object."""
    try:
        value = loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def loads_first(data: bytes) -> Any:
    """The value that `data` begins with. Raises ValueError if it is not JSON."""
    try:
        return decoder.raw_decode(data.decode())[0]
    except RecursionError:
        raise ValueError("nested too deeply") from None


class MessagesRequest:
    """A request to /v1/messages. `raw` are the client's bytes; `body` must not be edited: copies are.

    Raises InvalidRequest when made, or at the first look at `body`, with a sentence that names the field.
    """

    def __init__(self, raw: bytes, headers: Headers, request_id: str, query: str = "", counting: bool = False) -> None:
        self.raw, self.headers, self.id, self.query = raw, headers, request_id, query
        self._counting = counting
        self._body: Json | None = None
        self._estimate: int | None = None
        self._signs: Signs | None = None
        self._spans: list[Span] | None = None  # of the model, in bytes
        self._message_spans: list[Span] = []
        self.model, self.stream = self._glance() or self._look()

    def _glance(self) -> tuple[str, bool] | None:
        """Model and stream from the first and the last key of a large body.

        Of a key given twice the last counts, for the upstreams as for json: with a second model the body is parsed.
        """
        if len(self.raw) < GLANCE_FROM:
            return None
        first, last = _FIRST_KEY.match(self.raw), _LAST_KEY.search(self.raw, len(self.raw) - 200)
        if first is None or last is None or self._model_again(first.end()):
            return None
        self._spans = [(first.start(1) - 1, first.end(1) + 1)]
        return first[1].decode(), last[1] == b"true"

    def _model_again(self, position: int) -> bool:
        """Whether another stands near the beginning or the end, where a client's own mistakes would put it.

        Not proof against one in the middle, or a key written with escapes, which nobody sends by accident.
        """
        for start in (position, max(position, len(self.raw) - _NEAR)):
            place = self.raw.find(b'"model"', start, start + _NEAR)
            if place >= 0 and _AGAIN.search(self.raw, place, start + _NEAR):
                return True
        return False

    def _look(self) -> tuple[str, bool]:
        model, stream = self.body.get("model"), self.body.get("stream", False)
        if not isinstance(model, str) or not model.strip():
            raise InvalidRequest(
                "model: expected the name of a model" if "model" in self.body else "model: Field required"
            )
        if len(model) > LONGEST_NAME:
            raise InvalidRequest(f"model: a name has at most {LONGEST_NAME} characters")
        if not isinstance(stream, bool):
            raise InvalidRequest("stream: expected true or false")
        return model, stream

    @property
    def body(self) -> Json:
        """The body as an object, its fields of the expected kinds."""
        if self._body is None:  # no cached_property: until Python 3.12 all threads share its lock
            self._body = self._checked()
        return self._body

    def _checked(self) -> Json:
        body = self._parse()
        messages = body.get("messages")
        if not isinstance(messages, list):
            raise InvalidRequest("messages: expected a list" if "messages" in body else "messages: Field required")
        for number, message in enumerate(messages):
            check_message(message, number)
        check_fields(body, self._counting)
        return body

    def _parse(self) -> Json:
        """The top-level object. A large one may have to be written anew, so the places of its messages are kept."""
        try:
            if len(self.raw) >= GLANCE_FROM and (long := parse_long(self.raw)):
                self._spans, self._message_spans = long.model, long.messages
                return long.body
            body = decoder.decode(self.raw.decode())
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"the body is not UTF-8: byte {error.start} cannot be read") from None
        except json.JSONDecodeError as error:
            raise InvalidRequest(f"the body is not valid JSON: {error}") from None
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
            raise InvalidRequest(f"the body is not valid JSON: {reason}") from None
        if not isinstance(body, dict):
            raise InvalidRequest("the body is not valid JSON: expected an object")
        return body

    def _model_spans(self) -> list[Span]:
        """Where the top-level model stands in `raw`: once, unless the key is given twice."""
        if self._spans is None:
            first = _FIRST_KEY.match(self.raw)
            if first is not None and not _AGAIN.search(self.raw, first.end()):
                self._spans = [(first.start(1) - 1, first.end(1) + 1)]
            else:
                text = self.raw.decode()
                self._spans = in_bytes(text, parse(text)[1])
        return self._spans

    def with_model(self, name: str) -> bytes:
        """The client's bytes with another model name, and nothing else changed."""
        if name == self.model:
            return self.raw
        parts, position, value = [], 0, json.dumps(name).encode()
        for start, end in self._model_spans():
            parts += [self.raw[position:start], value]
            position = end
        return b"".join([*parts, self.raw[position:]])

    def written(self, body: Json) -> bytes:
        """`body` as JSON. Those of a long conversation's messages that are the very objects of `self.body` are the
        client's bytes: to write them anew takes as long as to parse them."""
        spans = {id(own): span for own, span in zip(self.body["messages"], self._message_spans, strict=False)}
        with memoryview(self.raw) as raw:

            def message(value: Any) -> bytes | memoryview:
                span = spans.get(id(value))
                return raw[slice(*span)] if span else dumps(value)

            return _in_one(body, dumps, message)

    def with_body(self, body: Json) -> MessagesRequest:
        """The same request with another conversation."""
        return MessagesRequest(self.written(body), self.headers, self.id, self.query, self._counting)

    @property
    def signs(self) -> Signs:
        """What the bytes tell without a parse."""
        if self._signs is None:
            self._signs = signs(self.raw)
        return self._signs

    @property
    def estimate(self) -> int:
        """Input tokens, estimated and not calibrated."""
        if self._estimate is None:
            self._estimate = tokens.estimate(self.body)
        return self._estimate

    @property
    def session(self) -> str | None:
        """What belongs together for prompt caches: a session, or one of its subagents.

        An id without end is none: several places remember it.
        """
        agent = self.headers.get("x-claude-code-agent-id")
        session = self.headers.get("x-claude-code-session-id")
        named = f"{session or ''}/{agent}" if agent else session
        return named if named is not None and len(named) <= LONGEST_NAME else None


def check_message(message: Any, index: int) -> None:
    if not isinstance(message, dict):
        raise InvalidRequest(f"messages.{index}: expected an object")
    if message.get("role") not in ("user", "assistant", "system"):
        raise InvalidRequest(f"messages.{index}.role: expected user, assistant or system")
    content = message.get("content")
    if isinstance(content, list):
        for number, block in enumerate(content):
            if not isinstance(block, dict) or not isinstance(block.get("type"), str):
                raise InvalidRequest(f"messages.{index}.content.{number}: expected an object with a type")
    elif not isinstance(content, str):
        raise InvalidRequest(f"messages.{index}.content: expected text or a list of blocks")


_OR_NULL = type(None)
_FIELDS: dict[str, tuple[tuple[type, ...], str]] = {
    "max_tokens": ((int, _OR_NULL), "a whole number of tokens"),
    "system": ((str, list), "text or a list of text blocks"),
    "tools": ((list, _OR_NULL), "a list"),
    "stop_sequences": ((list, _OR_NULL), "a list"),
    "thinking": ((dict, _OR_NULL), "an object"),
    "tool_choice": ((dict, _OR_NULL), "an object"),
    "output_config": ((dict, _OR_NULL), "an object"),
    "metadata": ((dict, _OR_NULL), "an object"),
}


def check_fields(body: Json, counting: bool) -> None:
    for name, (kinds, expected) in _FIELDS.items():
        if name in body and not isinstance(body[name], kinds):
            raise InvalidRequest(f"{name}: expected {expected}")
    limit = body.get("max_tokens")
    if limit is None and not counting:
        raise InvalidRequest("max_tokens: Field required")
    if isinstance(limit, bool) or (limit is not None and limit < 0):
        raise InvalidRequest("max_tokens: expected a whole number of tokens")
    check_words(body)


def check_words(body: Json) -> None:
    """What providers look up in tables has to be a word."""
    for number, tool in enumerate(body.get("tools") or []):
        if not isinstance(tool, dict):
            raise InvalidRequest("tools: expected a list of objects")
        check_word(tool.get("name"), f"tools.{number}.name")
    for field, word in (("tool_choice", "name"), ("output_config", "effort")):
        if value := body.get(field):
            check_word(value.get(word), f"{field}.{word}")


def check_word(word: object, field: str) -> None:
    if word is not None and not isinstance(word, str):
        raise InvalidRequest(f"{field}: expected text")


_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b_delta","%b":'
_DELTA_END = b"}}\n\n"


class MessageWriter:
    """Writes one answer as events. Each method returns what is to be sent now; the first opens the message.

    `_open` is the one state: the kind of the open block, or None between blocks.
    """

    def __init__(self, model: str, request_id: str, report: Report, signature: str = "") -> None:
        self._model, self._request_id, self._report, self._signature = model, request_id, report, signature
        self._started = False
        self._open: str | None = None
        self._index = -1
        self._delta_start = b""
        self.tool_uses = 0

    @property
    def open(self) -> str | None:
        """The kind of the open block, `text` or `thinking`; None between blocks."""
        return self._open

    def text(self, text: str) -> bytes:
        return self._delta("text", {"type": "text", "text": ""}, text)

    def thinking(self, text: str) -> bytes:
        return self._delta("thinking", {"type": "thinking", "thinking": "", "signature": ""}, text)

    def _delta(self, kind: str, block: Json, text: str) -> bytes:
        if not text:
            return b""
        opening = b"" if self._open == kind else self._start(kind, block)
        return opening + self.more([dumps(text)])

    def more(self, values: list[bytes]) -> bytes:
        """Deltas of the open text or thinking, from strings that are JSON already; at least one."""
        return self._delta_start + (_DELTA_END + self._delta_start).join(values) + _DELTA_END

    def tool_use(self, name: str, arguments: Json) -> bytes:
        """One whole call. Its id is unique over the conversation, since the request's is."""
        self.tool_uses += 1
        name = safe_name(name)
        tool_id = f"toolu_{self._request_id.removeprefix('req_')}_{self.tool_uses}"
        start = self._start("tool_use", {"type": "tool_use", "id": tool_id, "name": name, "input": {}})
        delta = {"type": "input_json_delta", "partial_json": dumps(arguments).decode()}
        return start + self._event("content_block_delta", index=self._index, delta=delta) + self._stop()

    def end(self, stop_reason: str, stop_sequence: str | None = None) -> bytes:
        """Closes whatever is open and ends the message with the counts of the report."""
        self._report.stop_reason, self._report.ended = stop_reason, True
        opening = self._message_start() + self._stop()
        delta = {"stop_reason": stop_reason, "stop_sequence": stop_sequence}
        return opening + self._event("message_delta", delta=delta, usage=self.usage()) + self._event("message_stop")

    def usage(self) -> Json:
        report = self._report
        return {
            "input_tokens": report.estimate or 1 if report.input_tokens is None else report.input_tokens,
            "cache_creation_input_tokens": report.cache_creation or 0,
            "cache_read_input_tokens": report.cache_read or 0,
            "output_tokens": report.output_tokens or 0,
        }

    def _message_start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        message: Json = {
            "id": "msg_" + self._request_id.removeprefix("req_"), "type": "message", "role": "assistant",
            "model": self._model, "content": [], "stop_reason": None, "stop_sequence": None, "usage": self.usage(),
        }  # fmt: skip
        return self._event("message_start", message=message)

    def _start(self, kind: str, block: Json) -> bytes:
        closing = self._message_start() + self._stop()
        self._open = kind
        self._index += 1
        self._delta_start = _DELTA % (self._index, kind.encode(), kind.encode())
        return closing + self._event("content_block_start", index=self._index, content_block=block)

    def _stop(self) -> bytes:
        if self._open is None:
            return b""
        signature = b""
        if self._open == "thinking":
            delta = {"type": "signature_delta", "signature": self._signature}
            signature = self._event("content_block_delta", index=self._index, delta=delta)
        self._open = None
        return signature + self._event("content_block_stop", index=self._index)

    @staticmethod
    def _event(name: str, **fields: Any) -> bytes:
        return encode(name, dumps({"type": name, **fields}))


def fold(events: Iterable[ServerSentEvent]) -> Json:
    """The message that a well-formed stream of events makes."""
    message: Json = {}
    partial: dict[int, str] = {}
    for _, data in events:
        event = loads(data)
        kind = event.get("type")
        if kind == "message_start":
            message = event["message"]
        elif kind == "content_block_start":
            message["content"].append(event["content_block"])
        elif kind == "content_block_delta":
            _fold_delta(message["content"][event["index"]], event["delta"], partial, event["index"])
        elif kind == "content_block_stop" and event["index"] in partial:
            message["content"][event["index"]]["input"] = loads(partial[event["index"]] or "{}")
        elif kind == "message_delta":
            message.update(event["delta"])
            message["usage"].update(event.get("usage") or {})
    return message


def _fold_delta(block: Json, delta: Json, partial: dict[int, str], index: int) -> None:
    kind = delta["type"]
    if kind == "input_json_delta":
        partial[index] = partial.get(index, "") + delta["partial_json"]
    elif kind == "signature_delta":
        block["signature"] = delta["signature"]
    elif kind == "citations_delta":
        block.setdefault("citations", []).append(delta["citation"])
    else:
        key = kind.removesuffix("_delta")
        block[key] = block.get(key, "") + delta[key]
