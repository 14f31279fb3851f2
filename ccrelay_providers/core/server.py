"""The listening side: socket → Request → Endpoints → socket. A thread a connection."""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import selectors
import socket
import threading
import time
import zlib
from contextlib import suppress
from http.server import ThreadingHTTPServer
from socketserver import BaseRequestHandler
from typing import Any, cast

from ..wire.errors import InvalidRequest, RelayError, RequestTimeout, RequestTooLarge, ServerBusy, error_body
from ..wire.http1 import (
    ChunkedDecoder,
    Headers,
    RequestHead,
    RequestHeads,
    body_length,
    check_head_size,
    path_and_query,
)
from .endpoints import Endpoints, normalised
from .exchange import ClientDeparted, Downstream, Request, Response
from .heartbeat import Heartbeat
from .settings import Server
from .sockets import set_timeouts

KEEP_ALIVE = 600.0  # seconds a connection may wait for its next request: longer than clients keep one
WRITE_TIMEOUT = 60.0  # seconds without room in the client's receive buffer
BODY_PROGRESS = 30.0  # seconds within which some of a body must arrive
READ_SIZE = 65536
FIRST_BUFFER = 4 << 20  # of a body; more is taken as it arrives, so that nobody reserves memory by a number alone
_PROCESS = secrets.token_hex(8)
_requests = itertools.count(secrets.randbits(24))


class RelayServer(ThreadingHTTPServer):
    """Accepts connections. `connections` are those open now, `answering` those with a request on them."""

    daemon_threads = True
    request_queue_size = 1024  # the default, 5, refuses a burst of agents
    allow_reuse_address = True

    def __init__(self, config: Server, endpoints: Endpoints, heartbeat: Heartbeat) -> None:
        self.config, self.endpoints, self.heartbeat = config, endpoints, heartbeat
        self.max_body = int(config.max_body_mb * (1 << 20))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._answering: set[Connection] = set()
        self._quiet = threading.Condition(self._lock)
        self.draining = False
        self._woken, self._waker = socket.socketpair()
        if ":" in config.host:
            self.address_family = socket.AF_INET6
        super().__init__((config.host, config.port), self.connections())

    def connections(self) -> type[Connection]:
        return Connection

    def server_bind(self) -> None:
        """HTTPServer's would look the host name up in DNS."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Without file descriptors left accept() fails at once, and would be tried again at once."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(0.05)
            raise

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Over max_connections: one sentence and the door."""
        with self._lock:
            room = len(self._open) < self.config.max_connections
            if room:
                self._open.add(request)
        if not room:
            self.turn_away(request)
        return room

    def turn_away(self, request: socket.socket) -> None:
        sentence = f"the relay has {self.config.max_connections} connections open; raise server.max_connections"
        with suppress(OSError, ClientDeparted):
            Downstream(request, keep_alive=False).respond(refusal(ServerBusy(sentence)))
            request.setblocking(False)
            request.recv(READ_SIZE)  # what is left unread would reset the answer away

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Only a bug comes here: what a client or an upstream does is handled where it happens."""
        with suppress(OSError):
            super().handle_error(request, client_address)

    def begin(self, connection: Connection) -> None:
        """A request is on it. No lock: add and discard are one step each, and nobody waits before draining is set."""
        self._answering.add(connection)

    def finished(self, connection: Connection) -> None:
        self._answering.discard(connection)
        if self.draining:
            with self._lock:
                self._quiet.notify_all()

    def run(self) -> None:
        """Accepts until stop(). Sleeps in between; Windows cannot be interrupted there, and wakes twice a second."""
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self.draining:
                ready = selector.select(0.5 if os.name == "nt" else None)
                if any(key.fileobj is self for key, _ in ready) and not self.draining:
                    self._handle_request_noblock()  # type: ignore[attr-defined]  # socketserver's own, undeclared

    def stop(self) -> None:
        """Ends run(). May be called from a signal handler: nothing is interrupted in the middle."""
        self.draining = True
        self._waker.send(b"!")

    def drain(self, seconds: float) -> bool:
        """Takes no new connection, lets running answers finish. Whether all did."""
        self.draining = True
        self.socket.close()
        with self._lock:
            return self._quiet.wait_for(lambda: not self._answering, seconds)


class Connection(BaseRequestHandler):
    """One client connection."""

    server: RelayServer
    request: socket.socket
    wait_for_all: int = getattr(socket, "MSG_WAITALL", 0)  # one system call a body, not one a segment

    def setup(self) -> None:
        self._buffer = b""
        self._keep_alive = True
        self._heads = RequestHeads()
        with suppress(OSError):  # some systems let nothing be set once the client is gone
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            set_timeouts(self.request, KEEP_ALIVE, WRITE_TIMEOUT)
        self.server.heartbeat.opened(self.request)

    def finish(self) -> None:
        self.server.heartbeat.closing(self.request)

    def handle(self) -> None:
        with suppress(OSError, ClientDeparted):  # the client went away
            while self._keep_alive and self._wait():
                self.server.begin(self)
                try:
                    self._one()
                finally:
                    self.server.finished(self)

    def _wait(self) -> bool:
        """Whether another request begins; an idle connection ends without a word, also when the relay is to end."""
        while not self._buffer.strip(b"\r\n"):
            self._buffer = b""
            data = self.request.recv(READ_SIZE)
            if not data:
                return False
            self._buffer = data
        return not self.server.draining

    def _one(self) -> None:
        head = None
        try:
            head = self._read_head(time.monotonic() + self.server.config.head_timeout)
            body = self._read_body(head)
        except RelayError as error:  # what follows on this connection could not be told apart from this request's rest
            self._keep_alive = False
            self._refuse(error, head)
            return
        path, query = path_and_query(head.target)
        request = Request(head.method, normalised(path), query, head.headers, body, new_request_id())
        downstream = Downstream(
            self.request, keep_alive=self._goes_on(head), framed=head.version == 1, head_only=head.method == "HEAD"
        )
        self.server.endpoints.answer(request, downstream)
        self._keep_alive = downstream.keep_alive

    def _refuse(self, error: RelayError, head: RequestHead | None) -> None:
        """The answer to what never became a request, and a line in the log."""
        method, target = (head.method, path_and_query(head.target)[0]) if head else ("?", "")
        request = Request(method, target, "", Headers(), b"", new_request_id())
        self.server.endpoints.refuse(error, request, Downstream(self.request, keep_alive=False))
        self._linger(time.monotonic() + 2.0)

    def _linger(self, deadline: float) -> None:
        """Reads some of what the client still sends: closing at once would reset the answer away before it is read."""
        with suppress(OSError):
            self.request.shutdown(socket.SHUT_WR)
            self.request.settimeout(1.0)
            for _ in range(64):
                if not self.request.recv(READ_SIZE) or time.monotonic() > deadline:
                    return

    def _goes_on(self, head: RequestHead) -> bool:
        close = "close" in (head.headers.get("connection") or "").lower()
        return head.version == 1 and not close and not self.server.draining

    # ---- reading ----

    def _read_head(self, deadline: float) -> RequestHead:
        self._buffer = self._buffer.lstrip(b"\r\n")
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            check_head_size(self._buffer)
            self._buffer += self._receive(deadline - time.monotonic(), "the request's head did not arrive in time")
        check_head_size(self._buffer[:end])
        head = self._heads.parse(self._buffer[:end])
        self._buffer = self._buffer[end + 4 :]
        return head

    def _receive(self, seconds: float, too_late: str) -> bytes:
        """Some bytes within that many seconds. Raises RequestTimeout, ClientDeparted."""
        try:
            self.request.settimeout(max(0.001, seconds))
            data = self.request.recv(READ_SIZE)
            self.request.settimeout(None)
        except TimeoutError:
            raise RequestTimeout(too_late) from None
        if not data:
            raise ClientDeparted
        return data

    def _read_body(self, head: RequestHead) -> bytes:
        length = body_length(head.headers, head.version)
        if length == 0:
            return b""
        if length is not None and length > self.server.max_body:
            raise self._too_large()
        if length is None or length > len(self._buffer):
            self.server.endpoints.admit(head.headers)  # who may not ask is not read
        if (head.headers.get("expect") or "").lower() == "100-continue" and not self._buffer:
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._read_chunked() if length is None else self._read_length(length)
        return self._decoded(body, head.headers)

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(f"the request is larger than {self.server.config.max_body_mb:g} MB (server.max_body_mb)")

    def _read_length(self, length: int) -> bytes:
        """Into one buffer of the right size. What is behind the body stays for the next request."""
        if len(self._buffer) >= length:
            body, self._buffer = self._buffer[:length], self._buffer[length:]
            return body
        have = len(self._buffer)
        whole = bytearray(min(length, max(FIRST_BUFFER, have)))
        whole[:have] = self._buffer
        self._buffer = b""
        set_timeouts(self.request, BODY_PROGRESS, WRITE_TIMEOUT)
        while have < length:
            if have == len(whole):
                whole += bytes(min(length - have, have))
            try:
                with memoryview(whole) as view, view[have:] as rest:
                    count = self.request.recv_into(rest, 0, self.wait_for_all)
            except (BlockingIOError, TimeoutError):
                raise RequestTimeout(f"the request's body stopped arriving after {have} of {length} bytes") from None
            if not count:
                raise ClientDeparted
            have += count
        set_timeouts(self.request, KEEP_ALIVE, WRITE_TIMEOUT)
        return cast(bytes, whole)  # all that is asked of a body it can do, and 4 MB need not be copied

    def _read_chunked(self) -> bytes:
        decoder = ChunkedDecoder(InvalidRequest)
        parts = [decoder.feed(self._buffer)]
        size = len(parts[0])
        while not decoder.ended:
            parts.append(decoder.feed(self._receive(BODY_PROGRESS, "the request's body stopped arriving")))
            size += len(parts[-1])
            if size > self.server.max_body:
                raise self._too_large()
        self._buffer = decoder.rest
        return b"".join(parts)

    def _decoded(self, body: bytes, headers: Headers) -> bytes:
        """Undoes a gzip content-encoding, as far as the limit for bodies allows."""
        coding = (headers.get("content-encoding") or "identity").lower()
        if coding == "identity":
            return body
        if coding not in ("gzip", "deflate"):
            raise InvalidRequest(f"content-encoding: expected gzip, got {coding[:40]!r}")
        inflate = zlib.decompressobj(wbits=47)
        try:
            plain = inflate.decompress(body, self.server.max_body + 1)
        except zlib.error:
            raise InvalidRequest("content-encoding: the body is not gzip") from None
        if len(plain) > self.server.max_body:
            raise self._too_large()
        if not inflate.eof:
            raise InvalidRequest("content-encoding: the gzip body is cut off")
        if inflate.unused_data:
            raise InvalidRequest("content-encoding: something follows the gzip body")
        return plain


def new_request_id() -> str:
    """Never the same again, here or in another process: a random part for the process, and a count."""
    return f"req_{_PROCESS}{next(_requests):08x}"


def refusal(error: RelayError) -> Response:
    """The answer to what never became a request."""
    request_id = new_request_id()
    return Response(error.status, error_body(error, request_id), (("request-id", request_id),))
