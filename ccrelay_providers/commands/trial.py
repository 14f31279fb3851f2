"""One real message to a model, through a relay of this process, as Claude Code would send it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .. import __version__
from ..core.server import RelayServer
from ..core.upstream import ConnectionPool, Origin
from ..wire.errors import RelayError
from ..wire.messages import dumps, fold, loads
from ..wire.provider import UpstreamRequest, UpstreamResponse
from ..wire.sse import ServerSentEvent, decode

Json = dict[str, Any]
TOOL = "report_word"
MAX_TOKENS = 2000
PATIENCE = 660.0  # seconds; the relay's own limits are to be the first to end it

_PROMPT = (
    "Think about which word is longer: relay, or provider. Write one short sentence about it. "
    f"Then call the tool {TOOL} with that word."
)
_ECHO = f'\necho:think Which is longer?\necho:tool {TOOL} {{"word": "provider"}}'  # what a model would do by itself
_WORD = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a message. Times are seconds from sending it.

    problem: why there is no answer. note: why none was asked for. answered_by: a public id.
    tool: whether it was called as it was meant to be; None: not at all.
    """

    model: str
    problem: str = ""
    note: str = ""
    answered_by: str = ""
    first: float = 0.0
    total: float = 0.0
    tool: bool | None = None
    thought: bool = False
    stop_reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def speed(self) -> float | None:
        """Tokens a second, from the first to the last; None for what came all at once."""
        return self.output_tokens / (self.total - self.first) if self.total - self.first > 0.02 else None


@contextmanager
def running(server: RelayServer) -> Iterator[str]:
    """Answers on the server's socket; gives its address."""
    threading.Thread(target=server.run, name="relay", daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()


def send(url: str, model: str, echo: bool, headers: Mapping[str, str]) -> Trial:
    """headers: the credentials. echo: the model does what it is told by `echo:` lines."""
    body = {
        "model": model,
        "max_tokens": MAX_TOKENS,
        "stream": True,
        "thinking": {"type": "adaptive"},
        "tools": [{"name": TOOL, "description": "Reports the word.", "input_schema": _WORD}],
        "messages": [{"role": "user", "content": _PROMPT + (_ECHO if echo else "")}],
    }
    try:
        trial = _sent(url, body, headers)
        if "thinking" in trial.problem.lower():  # older models think only when told how long
            trial = _sent(url, {**body, "thinking": {"type": "disabled"}}, headers)
    except RelayError as error:
        return Trial(model, error.message)
    return trial


def _sent(url: str, body: Json, headers: Mapping[str, str]) -> Trial:
    fixed = {
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "user-agent": f"ccrelay/{__version__}",
    }
    request = UpstreamRequest("POST", "/v1/messages", tuple({**fixed, **headers}.items()), dumps(body))
    pool, began = ConnectionPool({}), time.monotonic()
    with pool.exchange(Origin("the relay", url, 5.0, PATIENCE), request, lambda _: None) as response:
        if response.status != 200:
            trial = Trial(body["model"], _message(loads(response.read())))
        else:
            trial = _read(response, body["model"], began)
    pool.beat(math.inf)  # its connections have been idle for long enough
    return trial


def _read(response: UpstreamResponse, model: str, began: float) -> Trial:
    """The answer as it arrives."""
    first = 0.0
    events: list[ServerSentEvent] = []
    for event in decode(response.pieces()):
        first = first or (time.monotonic() - began if event.event == "content_block_start" else 0.0)
        if event.event == "error":
            return Trial(model, _message(loads(event.data)))
        events.append(event)
    total = time.monotonic() - began
    message = fold(events)
    provider, upstream = (response.headers.get(f"x-ccrelay-{name}") for name in ("provider", "model"))
    usage, blocks = message["usage"], message["content"]
    counts = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return Trial(
        model,
        answered_by=f"{provider}/{upstream}" if provider else "",  # unknown after an early head
        first=first or total,
        total=total,
        tool=_called(blocks),
        thought=any(block["type"] in ("thinking", "redacted_thinking") for block in blocks),
        stop_reason=str(message.get("stop_reason") or ""),
        input_tokens=sum(usage.get(name) or 0 for name in counts),
        output_tokens=usage.get("output_tokens") or 0,
    )


def _called(blocks: list[Json]) -> bool | None:
    calls = [block for block in blocks if block["type"] == "tool_use"]
    if not calls:
        return None
    return all(call["name"] == TOOL and isinstance(call["input"].get("word"), str) for call in calls)


def _message(error: Json) -> str:
    return str(error["error"]["message"])
