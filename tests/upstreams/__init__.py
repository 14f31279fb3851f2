"""Upstreams for tests: scripted processes that behave like Anthropic, Z.AI and Ollama, or exactly as they are told.

A test starts one and talks to it:

    with Upstream("anthropic") as upstream:
        upstream.script(reply(["data: ..."], end="cut"))
        ...
        [request] = upstream.wait_for_requests(1)
"""

from __future__ import annotations

import base64
import http.client
import json
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.nursery import Process, start

Json = dict[str, Any]


@dataclass(frozen=True)
class RecordedRequest:
    """What an upstream was asked, as it came over the wire.

    The times are time.monotonic(), the same clock in every process of a machine: `closed_at` when the peer left
    while the answer was being produced, `finished_at` when the answer was out whole.
    """

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    received_at: float
    closed_at: float | None
    finished_at: float | None

    @property
    def json(self) -> Any:
        """The body parsed."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The first value of a header, None if it was not sent."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Upstream:
    """One upstream process: "anthropic", "zai", "ollama" or "scripted" (answers 404 to what no script covers)."""

    def __init__(self, kind: str, *args: str) -> None:
        self.kind = kind
        self.port = 0
        self._args = args
        self._process: Process | None = None

    def __enter__(self) -> Upstream:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Where it listens, without a trailing slash; Z.AI's API is under /api/anthropic there."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None, "the upstream is not running"
        return self._process.pid

    def start(self) -> None:
        """Starts the process and waits until it listens; after a kill(), on the same port as before."""
        command = [sys.executable, "-m", f"tests.upstreams.{self.kind}", *self._args]
        if self.port:
            command += ["--port", str(self.port)]
        self._process = start(command, stdin=True, stderr=False)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("listening "):
            self.kill()
            raise RuntimeError(f"upstream {self.kind} did not start: {line!r}")
        self.port = int(line.split()[1])

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone. A second call does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    def freeze(self) -> None:
        """SIGSTOP: the kernel still accepts connections and bytes, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def script(self, *replies: Json, match: str | None = None, repeat: bool = False) -> None:
        """Queues replies, one a request, for paths that begin with `match`; repeated ones never run out."""
        self.control("POST", "/__script", {"replies": replies, "match": match, "repeat": repeat})

    def requests(self) -> list[RecordedRequest]:
        """Everything it was asked since the start or the last reset."""
        return self._requests("")

    def wait_for_requests(self, count: int, timeout: float = 5.0) -> list[RecordedRequest]:
        """Waits until so many requests have come whole, and returns all; TimeoutError else."""
        found = self._requests(f"?count={count}&timeout={timeout}", timeout)
        if len(found) < count:
            raise TimeoutError(f"{self.kind} saw {len(found)} requests of {count} in {timeout} s")
        return found

    def wait_for_closed(self, count: int = 1, timeout: float = 5.0) -> list[RecordedRequest]:
        """Waits until the peer left so many answers unfinished, and returns those; TimeoutError else."""
        found = self._requests(f"?closed={count}&timeout={timeout}", timeout)
        closed = [request for request in found if request.closed_at is not None]
        if len(closed) < count:
            raise TimeoutError(f"{self.kind} saw {len(closed)} answers of {count} left by the peer in {timeout} s")
        return closed

    def connections(self) -> tuple[int, int]:
        """How many connections were accepted so far, and how many of them are open."""
        counts = self.control("GET", "/__connections")
        return counts["accepted"], counts["open"]

    def reset(self) -> None:
        """Forgets scripts and requests."""
        self.control("POST", "/__reset")

    def control(self, method: str, path: str, body: Any = None, timeout: float = 10.0) -> Any:
        """Sends one control request; a refusal is a ValueError with the upstream's words."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"connection": "close"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(answer["error"])
        return answer

    def _requests(self, query: str, timeout: float = 0.0) -> list[RecordedRequest]:
        return [recorded(report) for report in self.control("GET", "/__requests" + query, timeout=timeout + 10.0)]


def recorded(report: Json) -> RecordedRequest:
    """A request from the upstream's report of it."""
    binary = report.pop("body_b64", None)
    body = report.pop("body", "").encode() if binary is None else base64.b64decode(binary)
    headers = [(name, value) for name, value in report.pop("headers")]
    return RecordedRequest(headers=headers, body=body, **report)


# --- what a script is made of


def reply(pieces: Iterable[str | Json] = (), **options: Any) -> Json:
    """A scripted event stream: the pieces, and what else a reply says (status, end, delay, gap, framing, ...)."""
    headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    return {"headers": headers, "pieces": list(pieces), **options}


def json_reply(value: Any, status: int = 200, **options: Any) -> Json:
    """A scripted JSON answer with its content-length."""
    headers = {"content-type": "application/json"}
    return {"status": status, "headers": headers, "pieces": [json.dumps(value)], "framing": "length", **options}


def anthropic_error(status: int, kind: str, message: str, **options: Any) -> Json:
    """A scripted refusal in the shape of the Messages API."""
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_scripted"}
    return json_reply(error, status, **options)


def zai_error(status: int, kind: str, code: str, text: str, **options: Any) -> Json:
    """A scripted refusal in Z.AI's present shape."""
    request_id = "20260709103839995b57652bce48d3"
    error = {"type": kind, "code": code, "message": f"[{code}][{text}][{request_id}]"}
    return json_reply({"type": "error", "error": error, "request_id": request_id}, status, **options)


def sse(*events: tuple[str, Json]) -> str:
    """Server-sent events as the Messages API writes them; the type is put into the data."""
    return "".join(f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n" for name, data in events)


def anthropic_text_stream(text: str, model: str = "claude-opus-5-5") -> list[str]:
    """The pieces of a whole, plain answer, an event a piece and a text delta a word."""
    message: Json = {"id": "msg_scripted", "type": "message", "role": "assistant", "content": [], "model": model}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 1}}
    words = text.split(" ")
    deltas = [word if position == 0 else " " + word for position, word in enumerate(words)]
    return [
        sse(("message_start", {"message": message})),
        sse(("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})),
        *(sse(("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": d}})) for d in deltas),
        sse(("content_block_stop", {"index": 0})),
        sse(("message_delta", message_end(len(words)))),
        sse(("message_stop", {})),
    ]


def message_end(output_tokens: int, stop_reason: str = "end_turn") -> Json:
    """The data of a message_delta that ends a message."""
    delta: Json = {"stop_reason": stop_reason, "stop_sequence": None}
    return {"delta": delta, "usage": {"output_tokens": output_tokens}}
