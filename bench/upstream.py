"""The scripted upstream: the Messages API and Ollama's /api/chat, every event with its time of sending.

    python bench/upstream.py [--events N] [--interval SECONDS] [--cert FILE --key FILE] [--fault FAULT]

One thread serves all connections. A thread each would hand the interpreter's lock around at every send, and what
would be measured is that: 500 paced streams are 5,000 sends a second, and each must leave when its stamp says.
It prints `listening on PORT`; `GET /__counts` says how much it has done.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import re
import selectors
import socket
import ssl
import time
from collections import Counter

from wire import Answer, dumps, messages_answer, ollama_answer

FAULTS = ("cut", "missing", "swapped", "repeated")
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
READ_SIZE = 1 << 18
HANDSHAKE_TIMEOUT = 5.0

TAGS = {"models": [{"name": "qwen3:8b", "model": "qwen3:8b", "digest": "bench", "size": 1}]}
SHOWN = {
    "capabilities": ["completion", "tools"],
    "model_info": {"general.architecture": "q", "q.context_length": 10**8},
}
TOLD = {
    b"/api/tags": TAGS,
    b"/api/show": SHOWN,
    b"/api/ps": {"models": []},
    b"/api/version": {"version": "0.30.0"},
    b"/v1/messages/count_tokens": {"input_tokens": 1000},
}


class Connection:
    """One accepted connection: a request is counted in, and its answer is sent event by event."""

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        self.answer: Answer | None = None
        self.order: list[int] = []
        self._head = b""
        self._missing = 0  # bytes of the body that are still to come

    def receive(self) -> bytes | None:
        """Reads on. The path when the request is whole, nothing at the connection's end, None while more is to come."""
        data = self.socket.recv(READ_SIZE)
        while data and isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            data += self.socket.recv(READ_SIZE)
        if not data:
            return b""
        if self._missing:
            self._missing -= len(data)
        else:
            self._read_head(data)
        return self._path() if self._missing == 0 and b"\r\n\r\n" in self._head else None

    def _read_head(self, data: bytes) -> None:
        self._head += data
        head, end, body = self._head.partition(b"\r\n\r\n")
        if end:
            found = LENGTH.search(head)
            self._missing = (int(found[1]) if found else 0) - len(body)
            self._head = head + end

    def _path(self) -> bytes:
        path = self._head.split(b" ", 2)[1].partition(b"?")[0]
        self._head = b""
        return path

    def send_next(self) -> bool:
        """The next event; False if there is none left."""
        if not self.order or self.answer is None:
            return False
        self.socket.sendall(self.answer.piece(self.order.pop()))
        return True

    def end(self, cut: bool) -> None:
        if cut:
            self.socket.shutdown(socket.SHUT_RDWR)
        elif self.answer is not None:
            self.socket.sendall(self.answer.end)


class Upstream:
    """All connections, and the streams that wait for their next event in the order in which they are due."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._interval: float = options.interval
        self._fault: str | None = options.fault
        self._cut = options.fault == "cut"
        self._events = range(options.events)
        self._answers = {
            b"/v1/messages": messages_answer(options.events),
            b"/api/chat": ollama_answer(options.events),
        }
        self._context = server_context(options.cert, options.key) if options.cert else None
        self._due: list[tuple[float, int, Connection]] = []
        self._counts = Counter[str]()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)

    def serve(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        print(f"listening on {self._listener.getsockname()[1]}", flush=True)
        while True:
            for key, _ in self._selector.select(self._patience()):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._read(key.data)
            self._send_due()

    def _patience(self) -> float | None:
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None

    def _accept(self) -> None:
        accepted, _ = self._listener.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._counts["connections"] += 1
        if self._context is not None:
            accepted.settimeout(HANDSHAKE_TIMEOUT)
            try:
                accepted = self._secure(self._context, accepted)
            except OSError:
                self._counts["failed_handshakes"] += 1
                accepted.close()
                return
            accepted.settimeout(None)
        self._selector.register(accepted, selectors.EVENT_READ, Connection(accepted))

    def _secure(self, context: ssl.SSLContext, accepted: socket.socket) -> ssl.SSLSocket:
        secured = context.wrap_socket(accepted, server_side=True)
        self._counts["handshakes"] += 1
        self._counts["resumed"] += bool(secured.session_reused)
        return secured

    def _read(self, connection: Connection) -> None:
        try:
            path = connection.receive()
            if path:
                self._answer(connection, path)
        except OSError:
            path = b""
        if path == b"":
            self._close(connection)

    def _answer(self, connection: Connection, path: bytes) -> None:
        answer = self._answers.get(path)
        if answer is None:
            connection.socket.sendall(plain_answer(dict(self._counts) if path == b"/__counts" else TOLD.get(path)))
            return
        self._counts["requests"] += 1
        connection.answer, connection.order = answer, damaged(list(self._events), self._fault)[::-1]
        connection.socket.sendall(answer.start)
        if self._interval:
            self._wait(connection, time.monotonic())
            return
        while connection.send_next():
            pass
        connection.end(self._cut)

    def _wait(self, connection: Connection, due: float) -> None:
        heapq.heappush(self._due, (due, id(connection), connection))

    def _send_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            due, _, connection = heapq.heappop(self._due)
            try:
                if connection.send_next():
                    self._wait(connection, due + self._interval)
                else:
                    connection.end(self._cut)
            except OSError:  # the client has left; reading will tell
                connection.order.clear()

    def _close(self, connection: Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()


def damaged(order: list[int], fault: str | None) -> list[int]:
    """The events' numbers as they are sent."""
    match fault:
        case "cut":
            return order[: len(order) // 2]
        case "missing":
            return order[:1] + order[2:]
        case "swapped":
            return order[:1] + order[2:3] + order[1:2] + order[3:]
        case "repeated":
            return order[:1] + order
    return order


def plain_answer(told: object) -> bytes:
    status, body = (b"404 Not Found", b"{}") if told is None else (b"200 OK", dumps(told))
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
    return head + body


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--interval", type=float, default=0.0, help="seconds between two events")
    parser.add_argument("--cert", help="a certificate: the upstream speaks TLS")
    parser.add_argument("--key")
    parser.add_argument("--fault", choices=FAULTS, help="damages every stream")
    upstream = Upstream(parser.parse_args())
    gc.disable()  # nothing here makes cycles, and a collection would be measured
    upstream.serve()


if __name__ == "__main__":
    main()
