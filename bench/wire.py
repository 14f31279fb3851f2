"""What the bench's upstream sends and its client checks: events whose text says which they are and when they left."""

from __future__ import annotations

import json
import re
import time
from typing import Any

WORDS = "lorem ipsum dolor sit amet "
TOKEN = re.compile(r"(\d{6}) (\d{20}) " + WORDS)
TOKEN_SIZE = 6 + 1 + 20 + 1 + len(WORDS)
TOKEN_TEXT = b"TOKEN"  # stands for the stamp in what an Answer is made from
STAMP = b"%06d %020d " + WORDS.encode()  # the event's number, time.monotonic_ns() when it was sent

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def sse(name: str, **fields: Any) -> bytes:
    """One server-sent event of the Messages API."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), dumps({"type": name, **fields}))


class Answer:
    """The pieces of a streamed answer: `start`, then `piece(number)` for each event, then `end`; a chunk each."""

    def __init__(self, content_type: str, start: bytes, event: bytes, end: bytes) -> None:
        """event: with TOKEN_TEXT where its text goes."""
        self.start = HEAD % content_type.encode() + start
        before, after = event.replace(b"%", b"%%").split(TOKEN_TEXT)
        whole = len(event) - len(TOKEN_TEXT) + TOKEN_SIZE
        self._event = b"%x\r\n" % whole + before + STAMP + after + b"\r\n"
        self.end = end + LAST_CHUNK

    def piece(self, number: int) -> bytes:
        return self._event % (number, time.monotonic_ns())


def messages_answer(events: int) -> Answer:
    """As Anthropic streams it."""
    message: dict[str, Any] = {"id": "msg_bench", "type": "message", "role": "assistant", "model": "claude-opus-5-5"}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None}
    message |= {"usage": {"input_tokens": 1000, "output_tokens": 1}}
    start = chunk(sse("message_start", message=message))
    start += chunk(sse("content_block_start", index=0, content_block={"type": "text", "text": ""}))
    delta = sse("content_block_delta", index=0, delta={"type": "text_delta", "text": TOKEN_TEXT.decode()})
    usage = {"output_tokens": max(1, events)}
    end = chunk(sse("content_block_stop", index=0))
    end += chunk(sse("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=usage))
    return Answer("text/event-stream; charset=utf-8", start, delta, end + chunk(sse("message_stop")))


def ollama_answer(events: int) -> Answer:
    """As Ollama streams it: a line of JSON an event."""
    about = {"model": "qwen3:8b", "created_at": "2026-11-22T10:00:00.000000000Z"}
    line = dumps({**about, "message": {"role": "assistant", "content": TOKEN_TEXT.decode()}, "done": False}) + b"\n"
    counts = {"total_duration": 1, "load_duration": 1, "prompt_eval_count": 1000, "prompt_eval_duration": 1}
    counts |= {"eval_count": max(1, events), "eval_duration": 1}
    last = {**about, "message": {"role": "assistant", "content": ""}, "done_reason": "stop", "done": True, **counts}
    return Answer("application/x-ndjson", b"", line, chunk(dumps(last) + b"\n"))
