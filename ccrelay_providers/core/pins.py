"""Which model a session was told to use: by a `/use` line in its conversation, or by the header `x-ccrelay-model`.

A line stays in the client's history, so a relay that was restarted, or a second copy, finds it there again. What is
remembered here serves conversations that have lost it (compacted ones) or never had it (subagents, titles).
One lock guards what is remembered; it is not needed to look there.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from ..wire import use_lines
from ..wire.errors import InvalidRequest, NotFound
from ..wire.messages import MessagesRequest, MessageWriter, dumps, fold
from ..wire.sse import decode
from ..wire.use_lines import REFUSES, SAYS
from .catalog import Catalog
from .exchange import Downstream, Response
from .gate import in_background
from .log import Entry
from .settings import Config

HEADER = "x-ccrelay-model"
AUTO = "auto"
MAX_SESSIONS = 4096


@dataclass(frozen=True, slots=True)
class Pin:
    """model: as it was named. instead_of: what the session asked for when it last said so."""

    model: str
    instead_of: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What a request is to be answered by. asked: the request without its lines. pin: what it is pinned to, if it is.

    answer: what the relay itself says to a line that is all, or that it cannot follow.
    """

    asked: MessagesRequest
    model: str
    pin: str = ""
    answer: str = ""


class Pins:
    def __init__(self, config: Config, catalog: Catalog) -> None:
        self._catalog, self._routes = catalog, [route.pattern for route in config.routes]
        self._reads_lines = config.routing.use_lines
        self._lock = threading.Lock()
        self._pins: dict[str, Pin] = {}

    def choice(self, asked: MessagesRequest) -> Choice:
        """The header decides, else the conversation's last line, else what is remembered of the session.

        Raises NotFound for a header that names no model, InvalidRequest for a pin whose model is gone.
        """
        header = asked.headers.get(HEADER) or None
        lines = use_lines.find(asked.body) if self._reads_lines and asked.signs.use_line else None
        if header is None and lines is None:
            return self._remembered(asked) if self._pins else Choice(asked, asked.model)
        if lines is not None:
            asked = asked.with_body(lines.body)
            if lines.latest and (refusal := self._refusal(lines.latest[-1])):
                return Choice(asked, asked.model, answer=refusal)
        name = header or (lines.names[-1] if lines and lines.names else None)
        choice = self._remembered(asked) if name is None else self._pinned(asked, name, bool(header))
        if lines is None or not lines.alone:
            return choice
        return Choice(asked, choice.model, choice.pin, self._answer(choice, lines.latest[-1], header))

    def model(self, session: str) -> str | None:
        """What a session is remembered to be pinned to, as it was named."""
        pin = self._pins.get(session)
        return pin.model if pin else None

    def _pinned(self, asked: MessagesRequest, name: str, by_header: bool) -> Choice:
        if name == AUTO:
            self._remember(asked.session, None)
            return Choice(asked, asked.model)
        if by_header:
            self._catalog.resolve(name)
        self._remember(asked.session, Pin(name, asked.model))
        return self._checked(asked, name)

    def _remembered(self, asked: MessagesRequest) -> Choice:
        """Subagents and titles follow if they ask for the model that was replaced; one of their own they keep."""
        main = asked.headers.get("x-claude-code-session-id")
        pin = self._pins.get(asked.session or "") or self._pins.get(main or "")
        if pin is None or (asked.model != pin.instead_of and in_background(asked)):
            return Choice(asked, asked.model)
        return self._checked(asked, pin.model)

    def _checked(self, asked: MessagesRequest, name: str) -> Choice:
        """Never another model than the one that was asked for: it may have been chosen for what it must not be told."""
        try:
            self._catalog.resolve(name)
        except NotFound as gone:
            raise InvalidRequest(
                f"this session uses {name} (`/use auto` ends that), but {_reason(gone, name)}"
            ) from None
        return Choice(asked, name, name)

    def _remember(self, session: str | None, pin: Pin | None) -> None:
        if session is None or self._pins.get(session) == pin:
            return
        with self._lock:
            self._pins.pop(session, None)
            if pin is not None:
                self._pins[session] = pin
            if len(self._pins) > MAX_SESSIONS:
                del self._pins[next(iter(self._pins))]

    # ---- what the relay says ----

    def _refusal(self, name: str) -> str:
        if name in ("", AUTO):
            return ""
        try:
            self._catalog.resolve(name)
        except NotFound as error:
            return REFUSES + _reason(error, name)
        return ""

    def _answer(self, choice: Choice, name: str, header: str | None) -> str:
        now = f"this session uses {self._words(choice.pin)}" if choice.pin else f"the model is {choice.model}"
        if header:
            return f"{SAYS}{now}, by the header {HEADER}, which goes before `/use`."
        if not name:
            return f"{SAYS}{now}. `/use NAME` changes that, `/use auto` ends it. There are:\n\n{self._list()}"
        if name == AUTO:
            return f"{SAYS}the model is the one that the client asks for again, {choice.model}."
        return f"{SAYS}{now} from here on, until `/use auto`."

    def _words(self, name: str) -> str:
        """The name, and what it stands for if that is not the same."""
        ids = [candidate.id for candidate in self._catalog.resolve(name)[0]]
        return name if ids == [name] else f"{name} ({', then '.join(ids)})"

    def _list(self) -> str:
        """A line a provider, and one with the routes."""
        listed: dict[str, list[str]] = {}
        for candidate in self._catalog.listed():
            listed.setdefault(candidate.provider.name, []).append(candidate.id)
        if self._routes:
            listed["routes"] = self._routes
        return "\n".join(f"- {', '.join(names)}" for names in listed.values())


def _reason(error: NotFound, name: str) -> str:
    words = error.message.removeprefix("model: ")
    return f"there is no model {words}" if words.startswith(name) else words


def say(text: str, asked: MessagesRequest, downstream: Downstream, entry: Entry) -> Response | None:
    """Answers with the relay's own words, streaming or not. The usage is an estimate of the conversation."""
    entry.answered_by, entry.status = "ccrelay", 200
    entry.report.estimate = asked.estimate
    writer = MessageWriter(asked.model, asked.id, entry.report)
    events = writer.text(text) + writer.end("end_turn")
    headers = [("request-id", asked.id), ("x-ccrelay-provider", "ccrelay"), ("x-ccrelay-attempts", "0")]
    if not asked.stream:
        return Response(200, dumps(fold(decode([events]))), tuple(headers))
    downstream.commit(headers, b": ccrelay provider=ccrelay attempts=0\n\n")
    downstream.write(events, last=True)
    return None
