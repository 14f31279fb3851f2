"""The engine: an HTTP/1.1 upstream that answers what it was told to, byte for byte, and remembers what it was asked.

It runs as a process of its own, prints `listening PORT` and serves until it is killed or the pipe on its stdin ends.
Every request is read whole before it is answered. A queued script answers first; after that, the behaviour it was
started with. While an answer is being produced, a peer that leaves is noticed within milliseconds, pauses included.

The control paths, on the same port, neither recorded nor counted:
    POST /__script        {"replies": [...], "match": path prefix or null, "repeat": bool}
    GET  /__requests      what was asked; ?count=N&closed=N&timeout=S waits for so many (left by the peer)
    POST /__reset         forgets scripts and requests
    GET  /__connections   {"accepted": N, "open": N}

A reply: {"status", "headers", "pieces", "framing", "end", "delay", "gap", "keep_alive", "close", "head"}, the fields
of `Reply`; {"default": true, ...} starts from what the behaviour would answer, {"take": N} keeps its first N pieces.
A piece: "text" (one send, one chunk), {"b64": "..."}, {"pause": seconds}, or {"raw": "..."} (sent outside the framing).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import stat
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .connections import Connection, PeerGone, play
from .records import Book
from .replies import Reply, Request, adapted, json_reply, text_reply

Json = dict[str, Any]
Behaviour = Callable[[Request], Reply]
Control = Callable[[Request], Any]


class ScriptedServer:
    """A thread a connection; scripts first, then the behaviour."""

    def __init__(self, behaviour: Behaviour, controls: Mapping[str, Control] | None = None, port: int = 0) -> None:
        self._behaviour = behaviour
        self._book = Book()
        self._controls: dict[str, Control] = {
            "/__script": self._control_script, "/__requests": self._control_requests,
            "/__reset": self._control_reset, "/__connections": self._control_connections, **(controls or {}),
        }  # fmt: skip
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port: int = self._listener.getsockname()[1]

    def serve_forever(self) -> None:
        """Accepts until the process ends."""
        while True:
            sock, _ = self._listener.accept()
            self._book.count_connection(1, 1)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        connection = Connection(sock)
        control = False
        try:
            request = connection.read_request()
            if control := request.path.startswith("/__"):
                self._book.count_connection(-1, -1)
            while self._answer(connection, request):
                request = connection.read_request()
        except PeerGone:
            pass
        finally:
            connection.close()
            if not control:
                self._book.count_connection(0, -1)

    def _answer(self, connection: Connection, request: Request) -> bool:
        if request.path.startswith("/__"):
            return play(connection, request, self._control(request))
        record = self._book.record(connection, request)
        try:
            reusable = play(connection, request, self._reply(request))
        except PeerGone:
            self._book.settle(record, gone=True)
            raise
        self._book.settle(record, gone=False)
        return reusable

    def _reply(self, request: Request) -> Reply:
        spec = self._book.next_reply(request.target)
        if spec is not None and not spec.get("default"):
            return adapted(Reply(), spec)
        try:
            return adapted(self._behaviour(request), spec or {})
        except Exception:
            return text_reply(f"the scripted upstream itself failed:\n{traceback.format_exc()}", 500)

    def _control(self, request: Request) -> Reply:
        control = self._controls.get(request.path)
        if control is None:
            return json_reply({"error": f"no control {request.path}"}, 404)
        try:
            return json_reply(control(request))
        except (KeyError, TypeError, ValueError) as error:
            return json_reply({"error": f"{type(error).__name__}: {error}"}, 400)

    def _control_script(self, request: Request) -> Json:
        self._book.queue(json.loads(request.body))
        return {}

    def _control_requests(self, request: Request) -> list[Json]:
        asked = dict(parse_qsl(urlsplit(request.target).query))
        count, closed = int(asked.get("count", 0)), int(asked.get("closed", 0))
        return self._book.reports(count, closed, float(asked.get("timeout", 0)))

    def _control_reset(self, _: Request) -> Json:
        self._book.reset()
        return {}

    def _control_connections(self, _: Request) -> Json:
        return {"accepted": self._book.accepted, "open": self._book.open}


# --- the process


def arguments() -> argparse.ArgumentParser:
    """The parser of the options that every upstream takes."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--port", type=int, default=0, help="the port to listen on; 0 picks one")
    return parser


def serve(behaviour: Behaviour, port: int = 0, controls: Mapping[str, Control] | None = None) -> None:
    """Runs an upstream as this process: says where it listens, and serves until killed or left alone."""
    server = ScriptedServer(behaviour, controls, port)
    print(f"listening {server.port}", flush=True)
    if stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
        threading.Thread(target=end_with_stdin, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


def end_with_stdin() -> None:
    """Ends the process when whoever started it is gone: the pipe on stdin reaches its end."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)


def unscripted(request: Request) -> Reply:
    """The behaviour of an upstream that knows its scripts only."""
    return json_reply({"error": f"nothing scripted for {request.method} {request.target}"}, 404)


if __name__ == "__main__":
    serve(unscripted, arguments().parse_args().port)
