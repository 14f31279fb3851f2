"""What the relay asks of sockets, alike on every system."""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct

_NO_WAIT = getattr(socket, "MSG_DONTWAIT", 0)


def set_timeouts(connection: socket.socket, receive: float, send: float) -> None:
    """Limits kept by the kernel: a Python time-out would cost a poll() before every recv() and send()."""
    for option, seconds in ((socket.SO_RCVTIMEO, receive), (socket.SO_SNDTIMEO, send)):
        timeval = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
        value = struct.pack("@L", int(seconds * 1000)) if os.name == "nt" else timeval
        connection.setsockopt(socket.SOL_SOCKET, option, value)


def readable(connection: socket.socket, seconds: float) -> bool:
    """Whether something comes within that many seconds: data, or the end."""
    if not hasattr(select, "poll"):
        return bool(select.select([connection], [], [], seconds)[0])
    poll = select.poll()  # select() refuses file numbers from 1024 on
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def peek(connection: socket.socket) -> bytes | None:
    """The next byte, left where it is; empty if the peer has closed its end; None if nothing has come.

    Of the TCP connection, also below TLS.
    """
    if (connection.gettimeout() or not _NO_WAIT) and not readable(connection, 0):  # Python would wait first
        return None
    try:
        return socket.socket.recv(connection, 1, socket.MSG_PEEK | _NO_WAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def hung_up(connection: socket.socket) -> bool:
    """Whether the peer has closed its end, also if bytes that nobody has read lie in front of that."""
    if not hasattr(select, "POLLRDHUP"):
        return peek(connection) == b""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


def send_now(connection: socket.socket, data: bytes) -> int:
    """How many bytes the socket's buffer took at once. Raises OSError if none.

    TLS may say 0: then a part of a record may have left, and the same bytes have to come next.
    """
    if not isinstance(connection, ssl.SSLSocket):
        return connection.send(data, _NO_WAIT)
    timeout = connection.gettimeout()
    connection.settimeout(0.0)
    try:
        return connection.send(data)
    except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
        return 0
    finally:
        connection.settimeout(timeout)
