"""The client: a process of its own that keeps connections busy, notes what came when, and checks it afterwards.

It reads a Job as JSON from its standard input, and writes what it measured as JSON to its standard output.
One thread and a selector: no lock is handed around, and nothing is parsed while the clock matters.
"""

from __future__ import annotations

import gc
import json
import selectors
import socket
import ssl
import sys
import time
from dataclasses import dataclass
from typing import Any

from streams import BrokenStream, Pieces, Timing, timing
from wire import LAST_CHUNK

READ_SIZE = 1 << 16
PERCENTILES = {"min": 0.0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True)
class Job:
    """What to ask whom: `requests` in all over `connections` that are kept open."""

    port: int
    path: str
    body: str
    """The file that holds it."""
    connections: int
    requests: int
    events: int
    translated: bool
    certificate: str | None
    """Trusted, where the other end speaks TLS."""
    timeout: float
    """Seconds without a byte on any connection."""


class Connection:
    """One connection, and the answer that comes in on it."""

    def __init__(self, job: Job, context: ssl.SSLContext | None) -> None:
        connection = socket.create_connection(("127.0.0.1", job.port), job.timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(connection, server_hostname="localhost") if context else connection
        self.pieces: Pieces = []
        self.asked = 0
        self._tail = b""

    def ask(self, request: bytes) -> None:
        self.pieces, self._tail = [], b""
        self.asked = time.monotonic_ns()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Takes what is there. True at the end of the answer, or of the connection."""
        try:
            piece = self.socket.recv(READ_SIZE)
            while isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
                piece += self.socket.recv(READ_SIZE)
        except OSError:
            piece = b""
        self.pieces.append((time.monotonic_ns(), piece))
        if not piece or (len(self.pieces) == 1 and not piece.startswith(b"HTTP/1.1 200")):
            return True
        self._tail = (self._tail + piece[-len(LAST_CHUNK) :])[-len(LAST_CHUNK) :]
        return self._tail == LAST_CHUNK

    @property
    def usable(self) -> bool:
        return self._tail == LAST_CHUNK


@dataclass(frozen=True)
class Answer:
    asked: int
    pieces: Pieces


class Load:
    """A job while it runs."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._request = request(job)
        self._context = ssl.create_default_context(cafile=job.certificate) if job.certificate else None
        self._selector = selectors.DefaultSelector()
        self._left = job.requests
        self._finished: list[Connection] = []
        self.answers: list[Answer] = []

    def run(self) -> None:
        """Connects all, asks on all, and again on whichever has its answer."""
        opened = [self._open() for _ in range(min(self._job.connections, self._job.requests))]
        for connection in opened:
            self._ask(connection)
        while self._selector.get_map():
            ready = self._selector.select(self._job.timeout)
            for key, _ in ready:
                if key.data.receive():
                    self._done(key.data)
            if not ready:
                self._give_up()

    def _open(self) -> Connection:
        connection = Connection(self._job, self._context)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        return connection

    def _ask(self, connection: Connection) -> None:
        self._left -= 1
        connection.ask(self._request)

    def _done(self, connection: Connection) -> None:
        self.answers.append(Answer(connection.asked, connection.pieces))
        if connection.usable and self._left:
            self._ask(connection)
            return
        self._put_away(connection)
        if self._left:
            self._ask(self._open())

    def _put_away(self, connection: Connection) -> None:
        """Open until the process ends, as clients do: a relay still has to do with a request that was just answered."""
        self._selector.unregister(connection.socket)
        self._finished.append(connection)

    def _give_up(self) -> None:
        """Nothing came for too long: every answer that is open counts as it is."""
        for key in list(self._selector.get_map().values()):
            self.answers.append(Answer(key.data.asked, key.data.pieces))
            self._put_away(key.data)


def request(job: Job) -> bytes:
    with open(job.body, "rb") as file:
        body = file.read()
    lines = [
        f"POST {job.path} HTTP/1.1",
        f"host: localhost:{job.port}",
        "content-type: application/json",
        "accept: application/json",
        "anthropic-version: 2023-06-01",
        "anthropic-beta: interleaved-thinking-2025-05-14",
        "authorization: Bearer bench",
        "user-agent: claude-cli/2.1.328 (external, cli)",
        "x-app: cli",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def percentiles(values: list[int]) -> dict[str, float]:
    """Microseconds."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {name: ordered[min(last, int(share * len(ordered)))] / 1000 for name, share in PERCENTILES.items()}


def result(job: Job, load: Load, wall: float, cpu: float) -> dict[str, Any]:
    whole: list[Timing] = []
    broken = []
    for answer in load.answers:
        try:
            whole.append(timing(answer.asked, answer.pieces, job.events, job.translated))
        except BrokenStream as error:
            broken.append(str(error))
    told: dict[str, Any] = {"requests": len(load.answers), "whole": len(whole), "wall_s": wall, "client_cpu_s": cpu}
    told["broken"] = sorted(set(broken))
    if whole:
        told["first_us"] = percentiles([each.first for each in whole])
        told["total_us"] = percentiles([each.total for each in whole])
        told["delay_us"] = percentiles([delay for each in whole for delay in each.delays])
    return told


def main() -> None:
    job = Job(**json.load(sys.stdin))
    load = Load(job)
    gc.disable()  # a collection would be measured as delay
    began, cpu = time.monotonic(), time.process_time()
    load.run()
    wall, cpu = time.monotonic() - began, time.process_time() - cpu
    json.dump(result(job, load, wall, cpu), sys.stdout)


if __name__ == "__main__":
    main()
