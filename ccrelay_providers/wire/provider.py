"""The contract between the relay and a provider: a module with the functions of `Provider`.

Providers import only from `wire`. They are handed everything else: the target (which model, where, with which key),
the response to read, and the report to fill in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .errors import RelayError
    from .http1 import Headers
    from .messages import MessagesRequest


Version = tuple[int, ...]
"""Of an upstream's server; empty if it told none."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}\Z")


@dataclass(frozen=True, slots=True)
class Model:
    """A model as its provider knows it. None: not known. Lengths are in tokens."""

    id: str
    name: str | None = None
    context: int | None = None
    max_output: int | None = None
    vision: bool | None = None
    tools: bool | None = None
    thinking: bool | None = None
    detail: str | None = None
    """A few words for people, such as `8.2B Q4_K_M`."""
    text_tools: bool | None = None
    """Whether it writes tool calls as text, where they are looked for then."""


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one provider, with what is needed to ask it."""

    provider: str
    type: str
    base_url: str
    model: Model
    api_key: str | None = field(default=None, repr=False)
    num_ctx: int | None = None
    keep_alive: str | int | None = None
    calibration: float = 1.0
    """True tokens per estimated token, learned from this model's answers."""
    version: Version = ()

    @property
    def label(self) -> str:
        return f"{self.provider}/{self.model.id}"


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """What to send. `path` is relative to the provider's base_url."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    patience: float | None = None
    """Seconds of silence to accept, where the provider's idle_timeout is not the right measure."""


WHOLE_ANSWER = 600.0
"""Patience for an answer that does not stream: nothing comes until it is complete, and clients wait ten minutes."""


@dataclass(frozen=True, slots=True)
class LocalAnswer:
    """An answer that needs no upstream. Pieces are bytes, or seconds to wait before the next."""

    pieces: tuple[bytes | float, ...]
    status: int = 200
    content_type: str = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Listing:
    """What an upstream has now."""

    models: tuple[Model, ...] = ()
    version: Version = ()
    shown: Mapping[str, Any] = field(default_factory=dict)
    """The provider's own: handed back at its next look, so that it asks only for what is new."""


class UpstreamResponse(Protocol):
    """What came back. Content encodings and transfer framing are already undone."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives, one item a read. Raises UpstreamDisconnected if it ends too early."""

    def read(self) -> bytes:
        """The whole body."""


Ask = Callable[[Sequence[UpstreamRequest]], "list[UpstreamResponse | RelayError]"]
"""Sends requests of the relay's own, all at the same time; gives what came of each, read whole."""


@dataclass(slots=True)
class Report:
    """What one attempt has to say about itself: for the log line, the headers and the calibration.

    Token counts are the upstream's own, or None while it has told none. `estimate` is the relay's.
    """

    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    estimate: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read: int | None = None
    cache_creation: int | None = None
    stop_reason: str | None = None
    ended: bool = False
    """Whether message_stop was written: nothing follows it."""
    headers: tuple[tuple[str, str], ...] = ()
    """Of the upstream's response, for the client."""

    def usage(self, usage: Any) -> None:
        """Takes over the counts of a Messages API `usage` object. Cumulative; a zero never replaces a count."""
        if not isinstance(usage, dict):
            return
        for name, key in USAGE_FIELDS:
            if _is_count(count := usage.get(key)) and (count or getattr(self, name) is None):
                setattr(self, name, count)

    def stopped(self, reason: object) -> None:
        """Takes over a stop reason, if it is one."""
        if isinstance(reason, str) and reason:
            self.stop_reason = reason

    @property
    def prompt_tokens(self) -> int:
        """The whole prompt, cached parts included, as the upstream counted it; 0 if it did not."""
        return (self.input_tokens or 0) + (self.cache_read or 0) + (self.cache_creation or 0)

    def dropped_header(self) -> str:
        """`image=1, thinking=2`: the value of x-ccrelay-dropped. A client's field may have any name."""
        named: Counter[str] = Counter()
        for name, count in self.dropped.items():
            named[name if _PLAIN_NAME.match(name) else "field"] += count
        return ", ".join(f"{name}={count}" for name, count in sorted(named.items()))


USAGE_FIELDS = (
    ("input_tokens", "input_tokens"),
    ("output_tokens", "output_tokens"),
    ("cache_read", "cache_read_input_tokens"),
    ("cache_creation", "cache_creation_input_tokens"),
)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 10**12  # a bool is no count, and nobody sends a trillion tokens


class Provider(Protocol):
    """What a provider module offers."""

    LABEL: str
    """Its name for people."""
    ABILITIES: dict[str, bool]
    """vision, tools, thinking of a model of which nothing else is known; empty if only the upstream can tell."""

    def prepare(self, request: MessagesRequest, target: Target, report: Report) -> UpstreamRequest | LocalAnswer:
        """The request as this target takes it. What had to go is counted in `report.dropped`."""

    def stream(
        self, response: UpstreamResponse, request: MessagesRequest, target: Target, report: Report
    ) -> Iterator[bytes]:
        """SSE for the client, one item a write. Yields nothing before the first content; raises RelayError."""

    def message(self, response: UpstreamResponse, request: MessagesRequest, target: Target, report: Report) -> bytes:
        """The answer to a request with `stream: false`."""

    def error(self, status: int, headers: Headers, body: bytes, target: Target, tokens: int = 0) -> RelayError:
        """What a response that is not the wanted one means. Also for error events and error bodies at 200.

        tokens: an estimate of the request, for an overflow whose numbers the upstream does not tell.
        """

    def count_tokens(self, request: MessagesRequest, target: Target) -> UpstreamRequest | None:
        """The upstream's own counter, or None: the relay estimates."""

    def window(self, target: Target) -> int | None:
        """The tokens that fit, if that is known."""

    def models(self, ask: Ask, target: Target, before: Listing) -> Listing:
        """What is there now; before: what was there at the last look. Raises RelayError."""

    def probe(self, target: Target) -> UpstreamRequest | None:
        """A question that costs nothing, with the key: does the upstream answer, does it take the key? None: none."""

    def loaded_window(self, ask: Ask, target: Target) -> int | None:
        """The tokens that fit into the model as it is loaded now, if the upstream tells. Raises RelayError."""
