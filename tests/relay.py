"""The relay as a process of its own, and a client that reads bytes: what every promise is tested with."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import ccrelay
from tests import nursery

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
CERTIFICATE, KEY = ROOT / "tests/tls/cert.pem", ROOT / "tests/tls/key.pem"  # for localhost and 127.0.0.1
PATIENCE = 20.0  # seconds for what should take milliseconds; a loaded machine is no failure

CLIENT = {
    "content-type": "application/json",
    "anthropic-version": "2023-06-01",
    "authorization": "Bearer client-secret",
}


def turn(model: str, text: str = "hi", **fields: Any) -> Json:
    """A request with one user turn."""
    return {"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": text}], **fields}


class Relay:
    """`python ccrelay.py` with a configuration of its own, stopped at the end of the `with` block.

    log: what it wrote to stderr so far. out: what it printed at the start.
    constants: other values for the relay's constants, such as {"core.server.WRITE_TIMEOUT": 0.5}.
    """

    def __init__(
        self,
        config: str,
        *arguments: str,
        environ: dict[str, str] | None = None,
        constants: dict[str, float] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ccrelay-test-")
        path = Path(self._folder.name) / "relay.toml"
        path.write_text(config, encoding="utf-8")
        clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        env = {**clean, "PYTHONUNBUFFERED": "1", **(environ or {})}
        self.process = nursery.start([*command(constants or {}), "--config", str(path), "--port", "0", *arguments], env)
        self.out: list[str] = []
        self._log: list[str] = []
        self._grown = threading.Condition()

    def __enter__(self) -> Relay:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.out.append(line.rstrip("\n"))
            if found := re.match(r"listening on (https?)://(.+):(\d+)$", line.strip()):
                self.tls, self.host, self.port = found[1] == "https", found[2], int(found[3])
                break
        else:
            raise AssertionError(f"the relay did not start: {self.process.communicate()[1]}")
        threading.Thread(target=self._read_log, daemon=True).start()
        return self

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._grown:
                self._log.append(line.rstrip("\n"))
                self._grown.notify_all()

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        self._folder.cleanup()

    @property
    def log(self) -> str:
        with self._grown:
            return "\n".join(self._log)

    def wait_for_log(self, text: str) -> str:
        """The first log line that contains the text."""
        with self._grown:
            found = self._grown.wait_for(lambda: next((line for line in self._log if text in line), None), PATIENCE)
        if not found:
            raise AssertionError(f"{text!r} is not in the log:\n{self.log}")
        return str(found)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def connect(self) -> socket.socket:
        """A connection; over TLS if that is what the relay speaks, its certificate checked against tests/tls."""
        plain = self.connect_plain()
        return client_context().wrap_socket(plain, server_hostname=self.host) if self.tls else plain

    def connect_plain(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), PATIENCE)

    def http(self) -> http.client.HTTPConnection:
        if self.tls:
            return http.client.HTTPSConnection(self.host, self.port, timeout=PATIENCE, context=client_context())
        return http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """One request on a connection of its own."""
        connection = self.http()
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, data, CLIENT if headers is None else headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def messages(self, body: Json, headers: dict[str, str] | None = None) -> Answer:
        return self.request("POST", "/v1/messages?beta=true", body, headers)

    def stream(self, body: Json, headers: dict[str, str] | None = None) -> Stream:
        return Stream(self, {**body, "stream": True}, headers)


@cache
def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))


def command(constants: dict[str, float]) -> list[str]:
    """What starts the relay: itself, or with some constants changed first."""
    if not constants:
        return [sys.executable, str(ROOT / "ccrelay.py")]
    lines = ["import sys, importlib", f"sys.path.insert(0, {str(ROOT)!r})", "import ccrelay"]
    for name, value in constants.items():
        module, _, constant = name.rpartition(".")
        lines.append(f"vars(importlib.import_module('ccrelay_providers.{module}'))[{constant!r}] = {value!r}")
    return [sys.executable, "-c", "\n".join([*lines, "sys.exit(ccrelay.main())"])]


class Answer:
    """A response, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Json]:
        return parse_events(self.body)

    @property
    def text(self) -> str:
        """All the text of an answer, streamed or not."""
        if self.headers["content-type"].startswith("text/event-stream"):
            return text_of(self.events)
        return "".join(block.get("text", "") for block in self.json["content"])


def parse_events(body: bytes) -> list[Json]:
    """The data of all events. An event whose name and type differ, or a comment with data, is an error of the relay."""
    events = []
    for block in body.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        name, data = lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))
        if len(lines) != 2 or name != data["type"]:
            raise AssertionError(f"a malformed event: {block!r}")
        events.append(data)
    return events


def text_of(events: list[Json]) -> str:
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


class Stream:
    """A streaming request whose chunks are read one by one, each with the time it came (time.monotonic)."""

    def __init__(self, relay: Relay, body: Json, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        lines = [f"{name}: {value}" for name, value in (CLIENT if headers is None else headers).items()]
        head = "\r\n".join(
            ["POST /v1/messages HTTP/1.1", f"host: {relay.host}", *lines, f"content-length: {len(data)}"]
        )
        self.connection = relay.connect()
        self.connection.sendall(head.encode() + b"\r\n\r\n" + data)
        self._file = self.connection.makefile("rb")
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        """Whether the last chunk has been read."""

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Goes away, as a client does whose user has pressed Esc."""
        self._file.close()
        self.connection.close()

    def read_head(self) -> None:
        if self.status is None:
            self.status = int(self._file.readline().split()[1])
            while line := self._file.readline().strip().decode():
                name, _, value = line.partition(": ")
                self.headers[name.lower()] = value

    def chunks(self) -> Iterator[tuple[float, bytes]]:
        """(time, chunk) until the last. Raises EOFError if the stream ends without its terminal chunk."""
        self.read_head()
        while True:
            size = self._file.readline()
            if not size.endswith(b"\r\n"):
                raise EOFError("the stream has no terminal chunk")
            data = self._file.read(int(size, 16))
            self._file.readline()
            if not data:
                self.ended = True
                return
            self.body += data
            yield time.monotonic(), data

    def read(self) -> list[Json]:
        """All events up to the end."""
        for _ in self.chunks():
            pass
        return parse_events(self.body)

    def read_until(self, wanted: bytes) -> None:
        for _ in self.chunks():
            if wanted in self.body:
                return
        raise AssertionError(f"{wanted!r} never came in {self.body!r}")


ECHO = '[providers.echo]\ntype = "echo"\n'
UNSET = dict.fromkeys(("ZAI_API_KEY", "ANTHROPIC_API_KEY", "OLLAMA_API_KEY", "CCRELAY_CONFIG"), "")


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`python ccrelay.py ARGUMENTS`, which ends by itself, without the keys of whoever runs the tests."""
    command = [sys.executable, str(ROOT / "ccrelay.py"), *arguments]
    return nursery.run(command, {**os.environ, **UNSET, **environ})


def call(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """As run(), in this process and so in a hundredth of its time: for the many cases of a command."""
    out, err = io.StringIO(), io.StringIO()
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, {**UNSET, **environ}))
        stack.enter_context(mock.patch("sys.argv", ["ccrelay.py", *arguments]))
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        code = ccrelay.main()
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
