"""Transcripts: a request, what the upstream is sent and answers, and what the client gets, in one file of text.

Sections, each begun by a line `--- NAME [VALUE]`:

    --- target {…}                       fields of the Model, and `calibration`, `num_ctx`, `keep_alive`
    --- request                          the client's body
    --- upstream-request                 what the upstream is sent (JSON; the order of keys does not matter)
    --- upstream STATUS [{headers}]      what it answers, byte for byte
    --- client                           what the client gets: SSE byte for byte, or JSON
    --- dropped                          the value of x-ccrelay-dropped; without this section nothing may be dropped
    --- error STATUS TYPE MESSAGE        what ends the answer

Only `target`, `request` and `upstream` must be there.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ccrelay_providers.wire.errors import RelayError
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.messages import MessagesRequest
from ccrelay_providers.wire.provider import Model, Provider, Report, Target, UpstreamRequest

FOLDER = Path(__file__).parent / "transcripts"
REQUEST_ID = "req_test"
SECTION = re.compile(r"^--- (target|request|upstream-request|upstream|client|dropped|error)(?: (.*))?\n", re.MULTILINE)


class Answer:
    """An UpstreamResponse that arrives in given pieces."""

    def __init__(self, status: int, headers: Headers, pieces: list[bytes]) -> None:
        self.status, self.headers, self._pieces = status, headers, pieces

    def pieces(self) -> Iterator[bytes]:
        yield from self._pieces

    def read(self) -> bytes:
        return b"".join(self._pieces)


@dataclass(frozen=True)
class Outcome:
    """What the client got, and what ended it."""

    client: bytes
    error: str | None
    report: Report


@dataclass
class Transcript:
    provider: Provider
    target: Target
    body: bytes
    status: int
    answer: bytes
    headers: Headers = field(default_factory=Headers)
    upstream_request: Any = None
    client: str = ""
    dropped: str = ""
    error: str | None = None

    @property
    def request(self) -> MessagesRequest:
        return MessagesRequest(self.body, Headers([("user-agent", "claude-cli/2.1.328")]), REQUEST_ID)

    def prepare(self) -> tuple[UpstreamRequest, Report]:
        report = Report()
        prepared = self.provider.prepare(self.request, self.target, report)
        assert isinstance(prepared, UpstreamRequest)
        return prepared, report

    def play(self, pieces: list[bytes]) -> Outcome:
        """The whole exchange, the upstream's answer in these pieces."""
        report, answer = self.prepare()[1], Answer(self.status, self.headers, pieces)
        request, sent, error = self.request, b"", None
        try:
            if self.status != 200:
                raise self.provider.error(self.status, self.headers, answer.read(), self.target)
            if not request.stream:
                sent = self.provider.message(answer, request, self.target, report)
            else:
                for piece in self.provider.stream(answer, request, self.target, report):
                    sent += piece
        except RelayError as failure:
            error = f"{failure.status} {failure.type} {failure.message}"
        return Outcome(sent, error, report)


def load(path: Path) -> Transcript:
    """The transcript in a file; the folder's name is the provider's type."""
    sections = _sections(path.read_text("utf-8"))
    kind = path.parent.name
    status, _, headers = sections["upstream"][0].partition(" ")
    wanted = sections.get("upstream-request")
    return Transcript(
        provider=cast(Provider, importlib.import_module(f"ccrelay_providers.{kind}")),
        target=_target(kind, json.loads(sections["target"][0])),
        body=sections["request"][1].strip().encode(),
        status=int(status),
        answer=sections["upstream"][1].encode(),
        headers=Headers(json.loads(headers).items()) if headers else Headers(),
        upstream_request=json.loads(wanted[1]) if wanted else None,
        client=sections["client"][1].rstrip("\n") + "\n\n" if "client" in sections else "",
        dropped=sections.get("dropped", ("", ""))[1].strip(),
        error=sections["error"][0] if "error" in sections else None,
    )


def _sections(text: str) -> dict[str, tuple[str, str]]:
    """name → (value, lines). A name that is misspelt would be part of the section before it: it is refused."""
    parts = SECTION.split(text)
    sections = {
        name: (value or "", lines) for name, value, lines in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    }
    stray = re.search(r"^---.*", "".join([parts[0], *(lines for _, lines in sections.values())]), re.MULTILINE)
    if stray or len(sections) != len(parts) // 3:
        raise ValueError(f"not a section, or one that comes twice: {stray[0] if stray else parts[1::3]}")
    return sections


def _target(kind: str, fields: dict[str, Any]) -> Target:
    own = {name: fields.pop(name) for name in ("calibration", "num_ctx", "keep_alive") if name in fields}
    return Target(kind, kind, f"https://{kind}.test", Model(**fields), api_key="test-key", **own)
