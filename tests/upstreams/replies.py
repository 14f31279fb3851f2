"""Requests as they came and replies as they are told: plain values, and their bytes on the wire."""

from __future__ import annotations

import base64
import http
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

Json = dict[str, Any]
Piece = str | Json
Headers = tuple[tuple[str, str], ...]

FRAMINGS = ("chunked", "length", "close")
ENDS = ("clean", "drop", "cut", "reset", "hang")
CLOSES = ("", "before_head", "reset")


@dataclass(frozen=True)
class Request:
    """One request, whole, its headers exactly as they came."""

    method: str
    target: str
    headers: Headers
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str:
        """The values of a header joined by commas, empty if it was not sent."""
        return ", ".join(value for key, value in self.headers if key.lower() == name)


@dataclass(frozen=True)
class Reply:
    """What goes back for one request.

    `framing`: chunked, length (content-length), close (the end of the connection is the end of the body).
    `end`: clean; drop (clean, then closed though keep-alive was promised); cut (FIN before the framing is complete);
    reset (RST); hang (nothing more until the peer leaves).
    `close`: before_head or reset end the connection without a byte. `head`: sent verbatim in place of a built head.
    `delay` passes before the head, `gap` before each piece but the first.
    """

    status: int = 200
    headers: Headers = ()
    pieces: tuple[Piece, ...] = ()
    framing: str = "chunked"
    end: str = "clean"
    delay: float = 0.0
    gap: float = 0.0
    keep_alive: bool = True
    close: str = ""
    head: str = ""


def json_reply(value: Any, status: int = 200, headers: Headers = ()) -> Reply:
    """A reply that is one JSON document with its content-length."""
    headers = (("content-type", "application/json"), *headers)
    return Reply(status, headers, (json.dumps(value, ensure_ascii=False),), "length")


def text_reply(text: str, status: int = 200) -> Reply:
    """A reply that is plain text."""
    return Reply(status, (("content-type", "text/plain; charset=utf-8"),), (text,) if text else (), "length")


def adapted(base: Reply, spec: Json) -> Reply:
    """`base` with what `spec` says in its place; a word that no reply knows is a ValueError."""
    changes = {name: value for name, value in spec.items() if name not in ("default", "take")}
    unknown = set(changes) - {known.name for known in fields(Reply)}
    if unknown:
        raise ValueError(f"a reply has no {', '.join(sorted(unknown))}")
    if "headers" in changes:
        changes["headers"] = header_pairs(changes["headers"])
    reply = replace(base, **{**changes, "pieces": tuple(changes.get("pieces", base.pieces))[: spec.get("take")]})
    for value, known_values in ((reply.framing, FRAMINGS), (reply.end, ENDS), (reply.close, CLOSES)):
        if value not in known_values:
            raise ValueError(f"{value!r} is none of {', '.join(map(repr, known_values))}")
    return reply


def header_pairs(headers: Mapping[str, str] | list[list[str]]) -> Headers:
    """Headers from either of the two forms a script may use."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return tuple((name, value) for name, value in pairs)


# --- the bytes


def head_bytes(reply: Reply) -> bytes:
    """The status line and the headers; what the script set itself is not added again."""
    if reply.head:
        return reply.head.encode("latin-1")
    given = {name.lower() for name, _ in reply.headers}
    added = [(name, value) for name, value in framing_headers(reply) if name not in given]
    phrase = http.HTTPStatus(reply.status).phrase if reply.status in set(http.HTTPStatus) else "-"
    lines = [f"HTTP/1.1 {reply.status} {phrase}", *(f"{name}: {value}" for name, value in (*reply.headers, *added))]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def framing_headers(reply: Reply) -> Iterator[tuple[str, str]]:
    """The headers that the framing asks for; an incomplete end promises more than it sends."""
    if reply.framing == "chunked":
        yield "transfer-encoding", "chunked"
    elif reply.framing == "length":
        size = sum(len(piece_bytes(piece)) for piece in reply.pieces)
        yield "content-length", str(size if reply.end in ("clean", "drop") else size + 1000)
    if reply.framing == "close" or not reply.keep_alive:
        yield "connection", "close"


def framed(piece: Piece, framing: str) -> bytes:
    """A piece as it goes over the wire."""
    data = piece_bytes(piece)
    if framing != "chunked" or not data or (isinstance(piece, dict) and "raw" in piece):
        return data
    return b"%x\r\n%b\r\n" % (len(data), data)


def piece_bytes(piece: Piece) -> bytes:
    """The bytes of a piece without framing; a pause has none."""
    if isinstance(piece, str):
        return piece.encode()
    return base64.b64decode(piece["b64"]) if "b64" in piece else str(piece.get("raw", "")).encode()
