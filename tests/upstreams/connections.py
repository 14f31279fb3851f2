"""One accepted socket, and a reply played on it: what is sent when, and who is still there to read it."""

from __future__ import annotations

import math
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import replace

from .replies import Reply, Request, framed, head_bytes


class PeerGone(Exception):
    """The peer closed or reset the connection."""


class Connection:
    """One accepted socket: reads whole requests, and notices a departed peer whenever it is used."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = 0
        self._socket = sock
        self._received = bytearray()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def read_request(self) -> Request:
        """The next request with its whole body."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        pairs = (line.partition(":") for line in lines[1:])
        request = Request(method, target, tuple((name, value.strip()) for name, _, value in pairs), b"")
        if request.header("expect").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return replace(request, body=self._body(request))

    def send(self, data: bytes) -> None:
        """One send; raises PeerGone when the peer has left, also unread bytes behind."""
        self.rest(0)
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise PeerGone from error

    def rest(self, seconds: float) -> None:
        """Lets time pass, with a watch on the peer. What it sends meanwhile is kept for the next request."""
        until = time.monotonic() + seconds
        while self._poll.poll(milliseconds(until - time.monotonic())):
            self._receive()

    def close(self, *, reset: bool = False) -> None:
        """FIN, or RST at once."""
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _body(self, request: Request) -> bytes:
        if "chunked" in request.header("transfer-encoding").lower():
            return b"".join(self._chunks())
        return self._exactly(int(request.header("content-length") or 0))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._until(b"\r\n").partition(b";")[0], 16):
            yield self._exactly(size)
            self._exactly(2)
        while self._until(b"\r\n"):  # trailers, up to the empty line
            pass

    def _until(self, mark: bytes) -> bytes:
        while (end := self._received.find(mark)) < 0:
            self._receive()
        return self._exactly(end + len(mark))[:end]

    def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            self._receive()
        data = bytes(self._received[:count])
        del self._received[:count]
        return data

    def _receive(self) -> None:
        try:
            data = self._socket.recv(1 << 18)
        except OSError as error:
            raise PeerGone from error
        if not data:
            raise PeerGone
        self._received += data


def milliseconds(seconds: float) -> int | None:
    """What poll() takes: whole milliseconds, rounded up; None for ever."""
    return None if math.isinf(seconds) else max(0, math.ceil(seconds * 1000))


# --- playing a reply


def play(connection: Connection, request: Request, reply: Reply) -> bool:
    """Sends the reply as it says; True if the connection may carry another request."""
    connection.rest(reply.delay)
    if reply.close:
        connection.close(reset=reply.close == "reset")
        return False
    connection.send(head_bytes(reply))
    if request.method != "HEAD":
        play_pieces(connection, reply)
        finish(connection, reply)
    return reply.end == "clean" and reply.keep_alive and reply.framing != "close"


def play_pieces(connection: Connection, reply: Reply) -> None:
    """Each piece in its turn: a pause, or one send."""
    for position, piece in enumerate(reply.pieces):
        if position:
            connection.rest(reply.gap)
        if isinstance(piece, dict) and "pause" in piece:
            connection.rest(piece["pause"])
        else:
            connection.send(framed(piece, reply.framing))


def finish(connection: Connection, reply: Reply) -> None:
    """The end that the reply asks for; one that only closes is left to the caller."""
    if reply.end in ("clean", "drop") and reply.framing == "chunked":
        connection.send(b"0\r\n\r\n")
    elif reply.end == "reset":
        connection.close(reset=True)
    elif reply.end == "hang":
        connection.rest(math.inf)
