"""What each reader makes of an input. A case takes its own source of chance, and raises if something is wrong."""

from __future__ import annotations

import http.client
import io
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

from ccrelay_providers import PROVIDERS
from ccrelay_providers.core import server
from ccrelay_providers.core.config import ConfigError, load
from ccrelay_providers.core.exchange import Downstream, Request
from ccrelay_providers.core.settings import Server
from ccrelay_providers.core.upstream import Connection, Incoming
from ccrelay_providers.wire import sse
from ccrelay_providers.wire.errors import RelayError
from ccrelay_providers.wire.http1 import ChunkedDecoder, Headers, RequestHeads, parse_request, parse_response
from ccrelay_providers.wire.messages import MessagesRequest
from ccrelay_providers.wire.provider import Model, Report, Target
from tests.fuzz.inputs import KEYS, NAMES, as_json, block, conversation, event, mutated, pieces, some, value
from tests.relay import ROOT

Case = Callable[[random.Random], None]

# --- heads and bodies


REQUEST = (
    b"POST /v1/messages?beta=true HTTP/1.1\r\nHost: localhost:8787\r\nUser-Agent: claude-code/2.1\r\nx-api-key: k\r\n"
    b"Content-Type: application/json\r\n"
)
COUNTED = REQUEST + b"content-length: 5\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nrequest-id: req_1\r\n"


def heads(rng: random.Random) -> None:
    """Where ours takes a head, the standard library finds the same fields in it; also behind another head."""
    head = mutated(rng, rng.choice((REQUEST, COUNTED, RESPONSE)).removesuffix(b"\r\n"))
    before = RequestHeads()
    before.parse(REQUEST + rng.choice((b"content-length: 5", b"Content-Length:5\r\nx: y", b"x: y")))
    parse = rng.choice((parse_request, before.parse)) if head[:1] == b"P" else parse_response
    try:
        found = parse(head).headers
    except RelayError:
        return
    fields = (head.partition(b"\r\n")[2] + b"\r\n\r\n").removeprefix(b"\r\n")
    expected = http.client.parse_headers(io.BytesIO(fields if head.count(b"\r\n") else b"\r\n"))
    assert [(name, text.strip(" \t")) for name, text in expected.items()] == list(found), head


def framed(rng: random.Random, payload: bytes) -> bytes:
    """Chunks."""
    out = b"".join(
        b"%x%b\r\n%b\r\n" % (len(part), rng.choice((b"", b";a=b")), part) for part in pieces(rng, payload) if part
    )
    return out + b"0\r\n" + rng.choice((b"", b"x: y\r\n")) + b"\r\n"


class Played:
    """What http.client takes for a socket: bytes that are already there."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)


def chunks(rng: random.Random) -> None:
    """Where ours finds an end, the standard library finds the same payload."""
    raw = mutated(rng, framed(rng, rng.choice((b"hello", b"\r\n", b"x" * 300, b"0\r\n\r\n"))))
    decoder = ChunkedDecoder()
    try:
        payload = b"".join(map(decoder.feed, pieces(rng, raw)))
    except RelayError:
        return
    if decoder.ended:
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        response = http.client.HTTPResponse(cast(Any, Played(head + raw)))
        response.begin()
        assert response.read() == payload, raw


class Upstream:
    """A connection of the pool on which an answer comes in pieces."""

    class origin:
        name = "fuzz"

    def __init__(self, coming: list[bytes]) -> None:
        self._coming = iter([piece for piece in coming if piece])
        self.socket = self

    def recv(self, size: int) -> bytes:
        return next(self._coming, b"")

    def receive(self) -> bytes:
        return self.recv(65536)


def responses(rng: random.Random) -> None:
    """Where both read an answer to its end, it is the same answer."""
    payload = rng.choice((b"", b"hello", b'{"a":1}', b"data: x\n\n" * 20))
    framing = rng.choice(
        (
            b"content-length: %d\r\n\r\n%b" % (len(payload), payload),
            b"transfer-encoding: chunked\r\n\r\n" + framed(rng, payload),
        )
    )
    raw = mutated(rng, RESPONSE + framing)
    try:
        incoming = Incoming(cast(Connection, Upstream(pieces(rng, raw))), "POST")
        body = incoming.read()
    except RelayError:
        return
    if incoming.status < 200 or incoming.headers.get("content-encoding") or raw.count(b"HTTP/1.1") > 1:
        return
    response = http.client.HTTPResponse(cast(Any, Played(raw)), method="POST")
    response.begin()
    assert (response.status, response.read()) == (incoming.status, body), raw


# --- a whole client connection


class Client:
    """What the server takes for a client's socket."""

    def __init__(self, coming: list[bytes]) -> None:
        self._coming = [piece for piece in coming if piece]
        self.sent = b""

    def recv(self, size: int, flags: int = 0) -> bytes:
        if not self._coming:
            return b""
        data = self._coming.pop(0)
        if len(data) > size:
            self._coming.insert(0, data[size:])
        return data[:size]

    def recv_into(self, buffer: memoryview, size: int = 0, flags: int = 0) -> int:
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def ignore(self, *arguments: object) -> None: ...

    settimeout = setsockopt = shutdown = ignore

    def fileno(self) -> int:
        return 0


class Listening:
    """What a connection asks of its server, and of the endpoints."""

    config, max_body, draining = Server(), 100_000, False

    def __init__(self) -> None:
        self.heartbeat = self.endpoints = self
        self.bodies: list[bytes] = []

    def ignore(self, *arguments: object) -> None: ...

    opened = closing = begin = finished = admit = ignore

    def answer(self, request: Request, downstream: Downstream) -> None:
        self.bodies.append(bytes(request.body))

    def refuse(self, error: RelayError, request: Request, downstream: Downstream) -> None:
        assert 400 <= error.status < 500, error


def connections(rng: random.Random) -> None:
    """Requests in a row on one connection. In what pieces they come makes no difference."""
    raw = b""
    for _ in range(rng.randrange(1, 4)):
        body = as_json(rng, value(rng, 3))
        framing = rng.choice(
            (
                b"content-length: %d\r\n\r\n%b" % (len(body), body),
                b"transfer-encoding: chunked\r\n\r\n" + framed(rng, body),
            )
        )
        raw += REQUEST + framing
    raw = mutated(rng, raw)
    first, second = (read_as(coming) for coming in ([raw], pieces(rng, raw)))
    assert first == second, raw


def read_as(coming: list[bytes]) -> list[bytes]:
    listening = Listening()
    server.Connection(cast(Any, Client(coming)), "", cast(Any, listening))
    return listening.bodies


# --- streams


def decoded(raw: bytes) -> list[tuple[str, str]]:
    """WHATWG HTML 9.2.6, read slowly."""
    found: list[tuple[str, str]] = []
    name, data = "", list[str]()
    lines = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for line in lines[:-1]:
        field, _, text = line.decode("utf-8", "replace").partition(":")
        if not line:
            if "\n".join(data):
                found.append((name or "message", "\n".join(data)))
            name, data = "", []
        elif field == "event":
            name = text.removeprefix(" ")
        elif field == "data":
            data.append(text.removeprefix(" "))
    return found


def server_sent_events(rng: random.Random) -> None:
    """As the standard says, in whatever pieces."""
    raw = mutated(rng, b"".join(event(rng) for _ in range(rng.randrange(4))))
    if rng.random() < 0.3:
        raw = raw.replace(b"\n", rng.choice((b"\r", b"\r\n")))
    found = [tuple(event) for event in sse.decode(pieces(rng, raw))]
    assert found == decoded(raw), raw


class Answered:
    """A response from an upstream."""

    status = 200

    def __init__(self, kind: str, coming: list[bytes]) -> None:
        self.headers, self._pieces = Headers([("content-type", kind)]), coming

    def pieces(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def read(self) -> bytes:
        return b"".join(self._pieces)


def target(kind: str) -> Target:
    return Target(
        kind,
        kind,
        "http://x",
        Model("m", context=100_000, vision=False, tools=True),
        "key",
        num_ctx=4096,
        version=(0, 30, 0),
    )


def request(body: bytes) -> MessagesRequest:
    return MessagesRequest(body, Headers([("x-api-key", "k")]), "req_1")


ASKED = b'{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"hi"}],"stream":true}'


def answers(rng: random.Random) -> None:
    """What a provider makes of an upstream's stream is a stream; of a message, JSON."""
    kind = rng.choice(("anthropic", "zai", "ollama"))
    if kind == "ollama":
        lines = [{"message": value(rng, 2), "done": rng.random() < 0.3, **some(rng)} for _ in range(3)]
        raw = b"".join(as_json(rng, line) + b"\n" for line in lines)
    else:
        raw = b"".join(event(rng) for _ in range(rng.randrange(6)))
    raw = mutated(rng, raw)
    module, report = PROVIDERS[kind], Report(estimate=5)
    try:
        if rng.random() < 0.7:
            out = b"".join(
                module.stream(Answered("text/event-stream", pieces(rng, raw)), request(ASKED), target(kind), report)
            )
            for _ in sse.decode([out]):
                pass
        else:
            raw = mutated(rng, as_json(rng, {"content": [block(rng)], **some(rng)})) if kind != "ollama" else raw
            json.loads(module.message(Answered("application/json", [raw]), request(ASKED), target(kind), report))
    except RelayError:
        pass


def refusals(rng: random.Random) -> None:
    """Every body of every status means some error."""
    kind = rng.choice(("anthropic", "zai", "ollama"))
    body = mutated(rng, as_json(rng, {"error": value(rng, 2), **some(rng)}))
    failure = PROVIDERS[kind].error(
        rng.randrange(200, 600), Headers([("retry-after", rng.choice(NAMES))]), body, target(kind), 5
    )
    assert isinstance(failure, RelayError)


# --- requests


def requests(rng: random.Random) -> None:
    """What is looked at is what a parser sees, also in a large body that is not parsed."""
    body = conversation(rng)
    if rng.random() < 0.5:
        body["pad"] = "x" * 33_000
    stream, members = body.pop("stream"), list(body.items())
    for _ in range(rng.choice((0, 0, 1, 2))):
        again = (rng.choice(("model", "stream", rng.choice(KEYS))), rng.choice(("other", True, False, value(rng))))
        members.insert(rng.randrange(1, len(members) + 1), again)
    raw = b"{%b}" % b",".join(as_json(rng, {key: each})[1:-1] for key, each in (*members, ("stream", stream)))
    raw = mutated(rng, raw) if rng.random() < 0.5 else raw
    try:
        asked = request(raw)
    except RelayError:
        return
    try:
        seen = json.loads(raw)
    except (ValueError, RecursionError):
        return  # large, and the upstream's to refuse
    unseen = b"\\u00" in raw or b'"model"' in raw[4096:-4096]  # as MessagesRequest says of a large body
    assert unseen or isinstance(seen.get("model"), str) is False or asked.model == seen["model"], raw[:300]
    assert asked.stream == seen.get("stream", False), raw[-300:]


def histories(rng: random.Random) -> None:
    """Every conversation is prepared for every provider, or refused; the request itself stays as it was."""
    raw = as_json(rng, conversation(rng))
    kind = rng.choice(("anthropic", "zai", "ollama", "echo"))
    try:
        asked = request(raw)
        prepared = PROVIDERS[kind].prepare(asked, target(kind), Report())
    except (RelayError, RecursionError):  # endpoints.py refuses what is nested deeper than can be walked through
        return
    if kind != "echo":
        json.loads(cast(Any, prepared).body)
    assert asked.body == request(raw).body, raw


# --- configurations


@cache
def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for the time that this process runs."""
    return tempfile.TemporaryDirectory(prefix="ccrelay-fuzz-")


TOML = (ROOT / "relay.toml").read_bytes()


def configurations(rng: random.Random) -> None:
    """Every file is a configuration, or errors, one sentence each."""
    lines = TOML.split(b"\n")
    start = rng.randrange(len(lines))
    raw = mutated(
        rng, b"\n".join(lines[start : start + rng.randrange(40)]).replace(b"\n# ", rng.choice((b"\n# ", b"\n")))
    )
    path = Path(scratch().name) / "relay.toml"
    path.write_bytes(raw)
    try:
        load(path, {"A": "a", "ZAI_API_KEY": "k"})
    except ConfigError as failed:
        sentences = failed.errors
    else:
        return
    assert sentences, raw
    assert all(isinstance(sentence, str) and sentence for sentence in sentences), raw


CASES: list[tuple[int, Case]] = [  # with how many of a hundred inputs
    (16, heads), (14, chunks), (10, responses), (8, connections), (16, server_sent_events), (12, answers),
    (6, refusals), (8, requests), (6, histories), (4, configurations),
]  # fmt: skip
