"""The listening side over TLS. The handshake is the connection's own thread's, so that nobody holds up the others.

What the kernel does for plain sockets (time limits, reading all at once, sending without waiting) it cannot do below
TLS: Python's own time-outs take its place, one for each phase of a connection.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..wire.errors import InvalidRequest
from ..wire.http1 import render_head
from . import server
from .config import ConfigError
from .endpoints import Endpoints
from .exchange import SERVER, status_line
from .heartbeat import Heartbeat
from .server import Connection, RelayServer, refusal
from .settings import Config, Server


def context(config: Config) -> ssl.SSLContext:
    """With the certificate and key of the configuration. Raises ConfigError."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_alpn_protocols(["http/1.1"])
    files = {key: getattr(config.server, key) for key in ("tls_cert", "tls_key")}
    try:
        for key, file in files.items():
            _check(key, Path(file))
        made.load_cert_chain(files["tls_cert"], files["tls_key"], password=_no_password)
    except ssl.SSLError as error:
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        reason = (error.reason or str(error)).lower().replace("_", " ")
        sentence = "tls_key: is not the key of server.tls_cert" if mismatch else f"tls_cert: cannot be used ({reason})"
    except ValueError as error:
        sentence = str(error)
    else:
        return made
    raise ConfigError([f"{config.path}: server.{sentence}"])


def _check(key: str, file: Path) -> None:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{key}: {file} cannot be read: {error.strerror}") from None
    if b"-----BEGIN " not in data:
        raise ValueError(f"{key}: {file} is not a PEM file")


def _no_password() -> str:
    """Asked for only if the key has one. Without this OpenSSL would ask on the terminal."""
    raise ValueError("tls_key: has a password; write it out without one (openssl pkey -in KEY -out PLAIN)")


class TlsConnection(Connection):
    """One client connection over TLS. Read and write are never under way at once, so one time-out does for both."""

    request: ssl.SSLSocket
    wait_for_all = 0

    def handle(self) -> None:
        self.request.settimeout(self.server.config.head_timeout)
        try:
            self.request.do_handshake()
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                self._say_plainly()
        except OSError:
            pass  # it left, or took too long
        else:
            self._rest()
            super().handle()

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            self.request.settimeout(0.0)
            self.request.unwrap()  # says that the end is no accident; nobody waits for the answer
        super().finish()

    def _say_plainly(self) -> None:
        """A client that speaks HTTP here has the wrong address; it is told in its own language."""
        answer = refusal(InvalidRequest("this relay speaks TLS; its address begins with https://"))
        fields = [SERVER, ("content-length", str(len(answer.body))), ("connection", "close"), *answer.headers]
        with suppress(OSError):
            socket.socket.send(self.request, render_head(status_line(answer.status), fields) + answer.body)
            self._linger(time.monotonic() + 2.0)

    def _rest(self) -> None:
        self.request.settimeout(server.WRITE_TIMEOUT)

    def _wait(self) -> bool:
        self.request.settimeout(server.KEEP_ALIVE)
        try:
            return super()._wait()
        finally:
            self._rest()

    def _receive(self, seconds: float, too_late: str) -> bytes:
        try:
            return super()._receive(seconds, too_late)
        finally:
            self._rest()

    def _read_length(self, length: int) -> bytes:
        self.request.settimeout(server.BODY_PROGRESS)
        try:
            return super()._read_length(length)
        finally:
            self._rest()


class TlsServer(RelayServer):
    def __init__(self, config: Server, endpoints: Endpoints, heartbeat: Heartbeat, tls: ssl.SSLContext) -> None:
        self._tls = tls
        super().__init__(config, endpoints, heartbeat)

    def connections(self) -> type[Connection]:
        return TlsConnection

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def turn_away(self, request: socket.socket) -> None:
        """Without a word: one would need a handshake, and the accepts cannot wait for that."""
