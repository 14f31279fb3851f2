"""Connections to the upstreams: the only module that opens sockets outwards.

http.client opens a connection (TLS, proxies) and sends on it. What comes back is read here, as much as the socket has
at a time: iterating http.client's response costs a system call and a handover of the interpreter lock a chunk, and
takes a missing terminal chunk for a clean end and a short Content-Length for a whole body. Both are errors here.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import cast
from urllib.parse import SplitResult, urlsplit

from ..wire.errors import ServerBusy, UpstreamDisconnected, UpstreamFailure, UpstreamTimeout
from ..wire.http1 import MAX_HEAD, ResponseHead, parse_response, render_fields, response_decoder
from ..wire.provider import UpstreamRequest
from .proxies import Proxies
from .sockets import peek, readable, set_timeouts

READ_SIZE = 65536
MAX_IDLE = 30.0  # seconds; beyond that servers and middle boxes have often closed (claude-code#89608)
SURELY_ALIVE = 1.0  # seconds; nobody closes sooner, and a request that finds nobody is repeated anyway
MAX_BODY = 64 << 20  # of an answer that is not a stream
MAX_INFLATED = 16 << 20  # of what one read brings: 64 KB of zeros, compressed, are 64 MB
SEND_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Where a provider's requests go, and how patient to be. `name` begins every sentence about a failure.

    One a provider: connections are kept by the object itself.
    """

    name: str
    base_url: str
    connect_timeout: float
    idle_timeout: float
    parts: SplitResult = field(init=False, repr=False)
    tls: bool = field(init=False, repr=False)
    host: str = field(init=False, repr=False)
    """As the Host header has it."""
    prefix: str = field(init=False, repr=False)
    """base_url's own path."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        for name, value in (
            ("parts", parts),
            ("tls", parts.scheme == "https"),
            ("host", parts.netloc.rpartition("@")[2]),
            ("prefix", parts.path.rstrip("/")),
        ):
            object.__setattr__(self, name, value)

    @property
    def port(self) -> int:
        return self.parts.port or (443 if self.tls else 80)

    def path(self, path: str) -> str:
        """base_url's own path in front; a `/v1` that stands in both is taken once."""
        if self.prefix.endswith("/v1") and path.startswith("/v1/"):
            path = path.removeprefix("/v1")
        return self.prefix + path


class Connection:
    """One connection. Used by one request at a time; `abort` may be called from another thread."""

    def __init__(self, origin: Origin, http: HTTPConnection) -> None:
        self.origin, self._http = origin, http
        self.reused = False
        self.idle_since = 0.0
        self.absolute_form = ""  # in front of the path, for a proxy that is no tunnel
        self.proxy_headers: dict[str, str] = {}  # for the same
        self.aborted = False
        self._opening: socket.socket | None = None
        http._create_connection = self._tcp  # type: ignore[attr-defined]  # the hook http.client has for this

    def tunnel_to(self, host: str, port: int, headers: dict[str, str]) -> None:
        self._http.set_tunnel(host, port, headers=headers)

    def open(self) -> None:
        name, place = self.origin.name, self.origin.parts.netloc
        try:
            self._http.connect()
        except TimeoutError:
            raise UpstreamTimeout(
                f"{name}: no connection to {place} within {self.origin.connect_timeout:g} s"
            ) from None
        except ssl.SSLCertVerificationError as error:
            raise UpstreamFailure(
                f"{name}: the certificate of {place} is not trusted ({error.verify_message})"
            ) from None
        except (OSError, HTTPException) as error:
            if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
                raise ServerBusy("the relay has no file descriptors left; start it with a higher `ulimit -n`") from None
            raise UpstreamFailure(f"{name}: cannot connect to {place} ({_reason(error)})") from None
        finally:
            self._opening_done()
            del self._http._create_connection  # type: ignore[attr-defined]  # or each would hold the other for ever
        self.socket: socket.socket = self._http.sock
        self.socket.settimeout(None)
        self._patience = 0.0

    def _tcp(self, address: tuple[str, int], timeout: float, source: object = None) -> socket.socket:
        """socket.create_connection, within reach of abort() from the first packet to the end of a TLS handshake."""
        reason: OSError = OSError("no address")
        for family, kind, protocol, _, place in socket.getaddrinfo(*address, 0, socket.SOCK_STREAM):
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(timeout)
            self._opening_done()
            self._opening = connection.dup()  # wrap_socket() will take the number of the first away
            try:
                if self.aborted:
                    raise ConnectionAbortedError("given up")
                connection.connect(place)
            except OSError as error:
                connection.close()
                reason = error
            else:
                return connection
        try:
            raise reason
        finally:
            del reason  # it holds this frame

    def _opening_done(self) -> None:
        if self._opening is not None:
            self._opening.close()
            self._opening = None

    def wait_for(self, seconds: float) -> None:
        """How long receive() waits from now on."""
        if seconds == self._patience:
            return
        if self.origin.tls:  # ssl repeats a read that the kernel gave up: only Python's own time-out ends it
            self.socket.settimeout(seconds)
        else:
            set_timeouts(self.socket, seconds, SEND_TIMEOUT)
        self._patience = seconds

    def send(self, head: bytes, body: bytes) -> None:
        """A small body in one write with its head. A peer that closes early may have answered: reading will tell."""
        try:
            if len(body) <= READ_SIZE:
                self._http.send(head + body)
            else:
                self._http.send(head)
                self._http.send(body)
        except (BlockingIOError, TimeoutError, ssl.SSLWantWriteError):
            raise UpstreamTimeout(f"{self.origin.name}: took no data for {SEND_TIMEOUT:g} s") from None
        except OSError:
            pass

    def receive(self) -> bytes:
        """What the socket has, at most 64 KB; empty at its end."""
        try:
            return self.socket.recv(READ_SIZE)
        except OSError as error:
            raise self.failure(error) from None

    def failure(self, error: OSError) -> UpstreamFailure:
        """What it means that nothing could be received."""
        if isinstance(error, BlockingIOError | TimeoutError | ssl.SSLWantReadError):
            return UpstreamTimeout(f"{self.origin.name}: sent nothing for {self._patience:g} s")
        return UpstreamDisconnected(f"{self.origin.name}: the connection broke ({_reason(error)})")

    def abort(self) -> None:
        """Ends what another thread waits for on this connection: that it opens, or that something comes."""
        self.aborted = True
        connection = self._opening or getattr(self, "socket", None)
        if connection is not None:
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def close(self) -> None:
        self._http.close()


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "the name cannot be resolved"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


Watch = Callable[["Connection | None"], object]


class _NoAnswer(UpstreamDisconnected):
    """Not one byte came back."""


class Incoming:
    """A response while it arrives: an UpstreamResponse. `ended` once the whole body has been read."""

    def __init__(self, connection: Connection, method: str) -> None:
        self._connection = connection
        self._name = connection.origin.name
        self._buffer = b""
        self.head = self._read_head()
        self.status, self.headers = self.head.status, self.head.headers
        self._decoder = response_decoder(self.head, method)
        self._inflate = self._inflater()

    @property
    def ended(self) -> bool:
        return self._decoder.ended

    @property
    def reusable(self) -> bool:
        close = "close" in (self.headers.get("connection") or "").lower()
        return self.ended and not self._decoder.rest and self.head.version == 1 and not close

    def _read_head(self) -> ResponseHead:
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if 0 <= end <= MAX_HEAD:
                head = parse_response(self._buffer[:end])
                self._buffer = self._buffer[end + 4 :]
                if head.status >= 200:
                    return head
                continue  # 100 Continue, 103 Early Hints
            if len(self._buffer) > MAX_HEAD:
                raise UpstreamDisconnected(f"{self._name}: the head of its answer is larger than {MAX_HEAD} bytes")
            self._buffer += self._receive_head()

    def _receive_head(self) -> bytes:
        try:
            data = self._connection.receive()
        except UpstreamDisconnected as error:
            raise error if self._buffer else _NoAnswer(error.message) from None
        if not data:
            broken = UpstreamDisconnected if self._buffer else _NoAnswer
            raise broken(f"{self._name}: closed the connection without an answer")
        return data

    def _inflater(self) -> Callable[[bytes], bytes] | None:
        """Some servers compress though `identity` was asked for."""
        coding = (self.headers.get("content-encoding") or "identity").lower()
        if coding == "identity":
            return None
        if coding not in ("gzip", "deflate"):
            raise UpstreamDisconnected(f"{self._name}: answered in content-encoding {coding}, which was not asked for")
        undo = zlib.decompressobj(wbits=47)

        def inflate(data: bytes) -> bytes:
            plain = undo.decompress(data, MAX_INFLATED)
            if undo.unconsumed_tail:
                raise UpstreamDisconnected(f"{self._name}: its compressed answer is larger than any answer")
            return plain

        return inflate

    def pieces(self) -> Iterator[bytes]:
        """The body's bytes, an item a read."""
        data, self._buffer = self._buffer, b""
        decoder, receive = self._decoder, self._connection.socket.recv
        decoded = decoder.feed if self._inflate is None else self._payload
        while True:
            if payload := decoded(data):
                yield payload
            if decoder.ended:
                return
            try:
                data = receive(READ_SIZE)
            except OSError as error:
                raise self._connection.failure(error) from None
            if not data:
                self._at_end()
                return

    def _payload(self, data: bytes) -> bytes:
        payload = self._decoder.feed(data)
        if self._inflate is None or not payload:
            return payload
        try:
            return self._inflate(payload)
        except zlib.error:
            raise UpstreamDisconnected(f"{self._name}: its compressed answer cannot be read") from None

    def _at_end(self) -> None:
        """Only a body without length and chunks may end with the connection."""
        framed = self.headers.get("content-length") or self.headers.get("transfer-encoding")
        if framed:
            raise UpstreamDisconnected(f"{self._name}: the connection was closed in the middle of the answer")

    def read(self) -> bytes:
        parts, size = [], 0
        for piece in self.pieces():
            parts.append(piece)
            size += len(piece)
            if size > MAX_BODY:
                raise UpstreamDisconnected(f"{self._name}: its answer is larger than {MAX_BODY >> 20} MB")
        return b"".join(parts)

    def drain(self, seconds: float) -> None:
        """Reads the end of the framing, which often comes just behind the last event; only the pool waits for it."""
        with suppress(UpstreamFailure):
            while not self.ended and readable(self._connection.socket, seconds):
                data = self._connection.receive()
                if not data or self._decoder.feed(data):
                    return


class ConnectionPool:
    """Connections that wait for the next request. One lock guards the idle ones; they open and close outside it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[Connection]] = {}
        self._proxies = Proxies(environ)
        self._tls: ssl.SSLContext | None = None
        self._sessions: dict[Origin, ssl.SSLSession | None] = {}
        self.on_idle: Callable[[float], None] = lambda due: None
        """Told when idle connections have to be closed: the heartbeat's `expect`."""

    def exchange(self, origin: Origin, request: UpstreamRequest, watch: Watch) -> Exchange:
        """Sends the request and gives the response, whose connection goes back to the pool if it was read to its end.

        watch: is told the connection as soon as there is one, so that it can be aborted, and None when it is over.
        """
        return Exchange(self, origin, request, watch)

    def send(self, origin: Origin, request: UpstreamRequest, watch: Watch) -> tuple[Connection, Incoming]:
        """A connection, and what comes back on it: one from the pool if one is alive."""
        connection = self._take(origin)
        if connection is not None:
            try:
                watch(connection)
                return connection, self._send(connection, request)
            except _NoAnswer:  # it died while it was idle: the one case in which repeating is always safe
                connection.close()
            except BaseException:
                connection.close()
                raise
        context = _Resuming(self._context(), self._sessions.get(origin)) if origin.tls else None
        connection = _connection(origin, self._proxies, context)
        try:
            watch(connection)
            connection.open()
            return connection, self._send(connection, request)
        except BaseException:
            connection.close()
            raise

    def _send(self, connection: Connection, request: UpstreamRequest) -> Incoming:
        origin = connection.origin
        target = connection.absolute_form + origin.path(request.path)
        line = f"{request.method} {target} HTTP/1.1\r\nhost: {origin.host}\r\n"
        if request.body or request.method == "POST":
            line += f"content-length: {len(request.body)}\r\n"
        head = (
            line.encode("latin-1", "replace"),
            render_fields(connection.proxy_headers.items()),
            render_fields(request.headers),
        )
        connection.wait_for(request.patience or origin.idle_timeout)
        connection.send(b"%b%b%b\r\n" % head, request.body)
        return Incoming(connection, request.method)

    def _take(self, origin: Origin) -> Connection | None:
        """The connection used last, unless its upstream has closed it meanwhile."""
        while True:
            with self._lock:
                idle = self._idle.get(origin)
                connection = idle.pop() if idle else None
            if connection is None:
                return None
            idle_for = time.monotonic() - connection.idle_since
            if idle_for < SURELY_ALIVE or (idle_for < MAX_IDLE and peek(connection.socket) is None):
                connection.reused = True
                return connection
            connection.close()

    def learn(self, connection: Connection) -> None:
        """A session to resume: under TLS 1.3 a server tells it only behind the handshake.

        Of a new connection only: to take it out of OpenSSL costs 0.3 ms.
        """
        if connection.origin.tls and not connection.reused:
            self._sessions[connection.origin] = cast(ssl.SSLSocket, connection.socket).session

    def release(self, connection: Connection) -> None:
        """It waits for its next request."""
        connection.idle_since = time.monotonic()
        with self._lock:
            self._idle.setdefault(connection.origin, []).append(connection)
        self.on_idle(connection.idle_since + MAX_IDLE)

    def _context(self) -> ssl.SSLContext:
        """The one for all connections: a session belongs to its context."""
        if self._tls is None:
            context = ssl.create_default_context()  # the system's roots, or SSL_CERT_FILE
            with self._lock:
                self._tls = self._tls or context
        return self._tls

    def due(self) -> float:
        with self._lock:
            oldest = [idle[0].idle_since for idle in self._idle.values() if idle]
        return min(oldest, default=float("inf")) + MAX_IDLE

    def beat(self, now: float) -> None:
        """Closes what has been idle too long."""
        surplus: list[Connection] = []
        with self._lock:
            for idle in self._idle.values():
                while idle and now - idle[0].idle_since >= MAX_IDLE:
                    surplus.append(idle.pop(0))
        for connection in surplus:
            connection.close()


class Exchange:
    """One request and its response, as a context. A response that was not read to its end costs the connection."""

    def __init__(self, pool: ConnectionPool, origin: Origin, request: UpstreamRequest, watch: Watch) -> None:
        self._pool, self._origin, self._request, self._watch = pool, origin, request, watch

    def __enter__(self) -> Incoming:
        self._connection, self._response = self._pool.send(self._origin, self._request, self._watch)
        return self._response

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._watch(None)
        if kind is None and not self._response.ended:
            self._response.drain(0.05)
        if kind is None:
            self._pool.learn(self._connection)
        if kind is None and self._response.reusable and not self._connection.aborted:
            self._pool.release(self._connection)
        else:
            self._connection.close()


class _Resuming:
    """An SSLContext as http.client uses it, with a session to go on with: no certificates, half the handshake."""

    def __init__(self, context: ssl.SSLContext, session: ssl.SSLSession | None) -> None:
        self.context, self._session = context, session

    def wrap_socket(self, connection: socket.socket, server_hostname: str) -> ssl.SSLSocket:
        return self.context.wrap_socket(connection, server_hostname=server_hostname, session=self._session)


def _connection(origin: Origin, proxies: Proxies, context: _Resuming | None) -> Connection:
    """Not yet open: direct, through a tunnel (TLS), or by asking a proxy for the whole address."""
    host = origin.parts.hostname or ""
    try:
        proxy = proxies.choose(origin.parts.scheme, host)
    except ValueError as error:
        raise UpstreamFailure(f"{origin.name}: {error}") from None
    if proxy is None:
        return Connection(origin, _http(host, origin.port, origin, context))
    connection = Connection(origin, _http(proxy.host, proxy.port, origin, context))
    if origin.tls:
        connection.tunnel_to(host, origin.port, proxy.headers)
    else:
        connection.absolute_form = f"http://{origin.parts.netloc}"
        connection.proxy_headers = proxy.headers
    return connection


def _http(host: str, port: int, origin: Origin, context: _Resuming | None) -> HTTPConnection:
    if context is None:
        return HTTPConnection(host, port, timeout=origin.connect_timeout)
    connection = HTTPSConnection(host, port, timeout=origin.connect_timeout, context=context.context)
    connection._context = context  # type: ignore[attr-defined]  # it has no other place for a session
    return connection
