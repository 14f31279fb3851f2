"""The attempt loop: candidate → request → first event → commit → stream → account.

Until the first content nothing has been sent, and the next candidate may answer, with the body prepared anew for it.
After that a failure is one `event: error` and the end of the stream, never another model's words.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass

from ..wire import announcement
from ..wire.errors import (
    AbilityMissing,
    RelayError,
    UpstreamDisconnected,
    UpstreamFailure,
)
from ..wire.http1 import Headers
from ..wire.messages import MessagesRequest, dumps
from ..wire.provider import LocalAnswer, Report, Target, UpstreamRequest, UpstreamResponse
from ..wire.sse import encode
from .attempts import Attempts, most_useful, with_a_key
from .calibration import Calibration
from .catalog import Candidate
from .exchange import ClientDeparted, Downstream, Request, Response
from .gate import Gate
from .health import Health
from .heartbeat import Heartbeat
from .keys import Keys
from .log import Entry
from .pins import Pins, say
from .router import Router
from .sessions import Sessions
from .settings import Config, Provider
from .upstream import Connection, ConnectionPool, Origin
from .windows import Windows

NOT_A_STREAM = ("text/html", "text/plain", "application/json")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response, read."""

    status: int
    headers: Headers
    body: bytes

    def pieces(self) -> Iterator[bytes]:
        yield self.body

    def read(self) -> bytes:
        return self.body


class _LocalResponse:
    """A provider's own answer, with its pauses."""

    def __init__(self, answer: LocalAnswer, pause: Callable[[float], None]) -> None:
        self.status = answer.status
        self.headers = Headers([("content-type", answer.content_type)])
        self._answer, self._pause = answer, pause

    def pieces(self) -> Iterator[bytes]:
        for piece in self._answer.pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                self._pause(piece)

    def read(self) -> bytes:
        return b"".join(self.pieces())


@dataclass(frozen=True, slots=True)
class Turn:
    """One request on its way through the candidates: what was asked, who waits for it, what the log will say."""

    asked: MessagesRequest
    downstream: Downstream
    entry: Entry
    model: str
    """What the candidates were chosen for: the model that was asked for, or the one that the session is pinned to."""
    attempts: Attempts


class Relay:
    def __init__(
        self,
        config: Config,
        router: Router,
        health: Health,
        pool: ConnectionPool,
        heartbeat: Heartbeat,
        windows: Windows,
        pins: Pins,
    ) -> None:
        self._server, self._routing = config.server, config.routing
        self._router, self._health, self._pool, self._heartbeat = router, health, pool, heartbeat
        self._calibration, self._windows, self._pins = Calibration(), windows, pins
        self.sessions = Sessions(pins)
        self.keys = Keys(config.routing.sticky)
        self.gates = {one.name: Gate(one.name, one.max_concurrent, one.max_queue) for one in config.providers}
        self._origins = {one.name: origin(one) for one in config.providers}

    # ---- a conversation's turn ----

    def messages(self, request: Request, downstream: Downstream, entry: Entry) -> Response | None:
        """Answers a request to /v1/messages: a Response, or None if the answer was streamed.

        Raises RelayError, ClientDeparted when nobody is left to answer.
        """
        asked = MessagesRequest(self._own_words_removed(request.body), request.headers, request.id, request.query)
        entry.requested, entry.stream, entry.session = asked.model, asked.stream, asked.session
        if asked.stream:
            patience, interval = self._routing.first_event_patience, self._server.ping_interval
            downstream.expect_stream([("request-id", request.id)], patience, interval)
        with self._heartbeat.watching(downstream):
            choice = self._pins.choice(asked)
            entry.pin = choice.pin
            if choice.answer:
                return say(choice.answer, choice.asked, downstream, entry)
            candidates = self._router.candidates(choice.model, asked.session)
            deadline = request.received + self._routing.total_patience
            attempts = Attempts(candidates, asked.session, deadline, self._health, self.keys, downstream)
            return self._first_that_answers(Turn(choice.asked, downstream, entry, choice.model, attempts))

    def _own_words_removed(self, body: bytes) -> bytes:
        """Looked for only where there can be any: in 4 MB that takes 3 ms."""
        return announcement.removed(body) if self._routing.fallback else body

    def _first_that_answers(self, turn: Turn) -> Response | None:
        entry, downstream, failures = turn.entry, turn.downstream, turn.attempts.failures
        for entry.attempts, candidate in enumerate(turn.attempts, 1):
            try:
                with self._router.running(candidate):
                    return self._taught(candidate, turn)
            except RelayError as error:
                if downstream.departed:
                    raise ClientDeparted from None
                turn.attempts.failed(candidate, error)
                entry.answered_by = candidate.id
                entry.failures.append(error.message)
                anew = error.try_next or candidate.fallback or len(failures) > 1  # else it is the request's own fault
                if downstream.first_sent_at is not None or not anew:
                    raise
            finally:
                turn.attempts.over(candidate)
        raise most_useful([error for _, error in failures])

    def _taught(self, candidate: Candidate, turn: Turn) -> Response | None:
        """One attempt; if the model lacks an ability it was thought to have, one more without, and so from now on."""
        learned: list[str] = []
        while True:
            if learned or turn.entry.attempts > 1:
                turn.entry.report = Report(notes=[f"{candidate.id} has no {ability}" for ability in learned])
            try:
                return self._attempt(candidate, turn)
            except AbilityMissing as missing:
                known = getattr(candidate.model, missing.ability) is False
                if known or turn.downstream.first_sent_at is not None:
                    raise
                learned.append(missing.ability)
                candidate = self._router.without(candidate, missing.ability)

    def _attempt(self, candidate: Candidate, turn: Turn) -> Response | None:
        """Prepared anew for this candidate, before it waits in line: what it cannot take is known at once."""
        asked, report = turn.asked, turn.entry.report
        target = candidate.target(self._calibration.factor(candidate.id))
        prepared = candidate.module.prepare(asked, target, report)
        line = self._announcement(candidate, turn) if candidate.fallback else None
        gate, deadline = self.gates[candidate.provider.name], turn.attempts.deadline
        with (
            gate.passing(turn.downstream, asked, deadline) as turn.entry.queued,
            self._opened(candidate, prepared, turn.downstream) as response,
        ):
            self._check(response, candidate, target, asked)
            if asked.stream:
                events = candidate.module.stream(response, asked, target, report)
                self._stream(events if line is None else announcement.in_stream(events, line), candidate, turn)
                body = None
            else:
                body = candidate.module.message(response, asked, target, report)
                body = body if line is None else announcement.in_message(body, line)
                self._accept(candidate, turn)
        self._learn(candidate, target, report)
        self._windows.answered(candidate, target)
        return None if body is None else Response(200, body, tuple(answer_headers(asked.id, candidate, turn.entry)))

    def _announcement(self, candidate: Candidate, turn: Turn) -> str | None:
        """What the answer begins with, if it is to say that another model gives it. The log says so in any case."""
        turn.entry.fallback = turn.attempts.reason
        if not self._routing.announce or not announcement.wanted(turn.asked):
            return None
        return announcement.line(candidate.id, turn.model, turn.entry.fallback)

    def _opened(
        self, candidate: Candidate, prepared: UpstreamRequest | LocalAnswer, downstream: Downstream
    ) -> AbstractContextManager[UpstreamResponse]:
        """The upstream's response, its connection closed at once if the client leaves."""
        if isinstance(prepared, LocalAnswer):
            return nullcontext(_LocalResponse(prepared, downstream.pause))

        def watch(connection: Connection | None) -> None:
            downstream.on_departure(connection.abort if connection else None)

        return self._pool.exchange(self._origins[candidate.provider.name], prepared, watch)

    @staticmethod
    def _check(response: UpstreamResponse, candidate: Candidate, target: Target, asked: MessagesRequest) -> None:
        media_type = (response.headers.get("content-type") or "").partition(";")[0].strip().lower()
        if response.status != 200 or (asked.stream and media_type in NOT_A_STREAM):
            tokens = round(asked.estimate * target.calibration)
            raise candidate.module.error(response.status, response.headers, response.read(), target, tokens)

    def _stream(self, events: Iterator[bytes], candidate: Candidate, turn: Turn) -> None:
        first = next(events, None)
        if first is None:
            raise UpstreamDisconnected(f"{candidate.provider.name}: the stream was empty")
        self._accept(candidate, turn)
        headers = answer_headers(turn.asked.id, candidate, turn.entry)
        turn.downstream.commit(headers, comment(headers))
        report = turn.entry.report
        turn.downstream.write(first, last=report.ended)
        self._heartbeat.expect(turn.downstream.due())  # the interval of pings may be shorter than the first patience
        for piece in events:
            if report.ended:  # who leaves with the last event in hand interrupts nothing
                turn.downstream.on_departure(None)
            turn.downstream.write(piece, last=report.ended)

    def _accept(self, candidate: Candidate, turn: Turn) -> None:
        """The candidate has answered: it is well, and the session stays with it."""
        turn.entry.answered_by, turn.entry.status = candidate.id, 200
        if not candidate.fallback:
            turn.entry.fallback = ""
        turn.attempts.succeeded(candidate)
        self._router.answered(candidate, turn.model, turn.asked.session)
        self.sessions.answered(turn.asked, turn.model, candidate.id)

    def _learn(self, candidate: Candidate, target: Target, report: Report) -> None:
        """The provider estimated what it sent, with the factor known until now."""
        if report.estimate is not None and report.prompt_tokens:
            self._calibration.learn(candidate.id, round(report.estimate / target.calibration), report.prompt_tokens)

    # ---- counting ----

    def count_tokens(self, request: Request, downstream: Downstream, entry: Entry) -> Response:
        """The upstream's count where it has a counter that answers, else an estimate, which says that it is one."""
        body = self._own_words_removed(request.body)
        asked = MessagesRequest(body, request.headers, request.id, request.query, counting=True)
        entry.requested, entry.session = asked.model, asked.session
        choice = self._pins.choice(asked)
        asked, entry.pin = choice.asked, choice.pin
        candidate = self._router.candidates(choice.model, asked.session, turn=False)[0]
        candidate = with_a_key(candidate, asked.session, self._health, self.keys)
        entry.answered_by, entry.attempts = candidate.id, 1
        target = candidate.target(self._calibration.factor(candidate.id))
        headers = answer_headers(request.id, candidate, entry)
        counter = candidate.module.count_tokens(asked, target)
        if counter is not None:
            try:
                return Response(200, self._counted(candidate, counter, target, downstream), tuple(headers))
            except UpstreamFailure as error:
                error.hide(candidate.provider.keys)
                entry.failures.append(error.message)
        tokens = estimated(asked, candidate, target)
        return Response(200, dumps({"input_tokens": tokens}), (*headers, ("x-ccrelay-estimated", "true")))

    def _counted(self, candidate: Candidate, counter: UpstreamRequest, target: Target, downstream: Downstream) -> bytes:
        with self._heartbeat.watching(downstream), self._opened(candidate, counter, downstream) as response:
            body = response.read()
            if response.status != 200:
                raise candidate.module.error(response.status, response.headers, body, target)
            return body

    # ---- discovery ----

    def fetch(self, provider: Provider, request: UpstreamRequest) -> Answer:
        """The whole answer to a request of the relay's own. Raises RelayError."""
        with self._pool.exchange(self._origins[provider.name], request, lambda connection: None) as response:
            return Answer(response.status, response.headers, response.read())


def estimated(asked: MessagesRequest, candidate: Candidate, target: Target) -> int:
    """Of what the upstream would be sent, where its provider estimates that; else of what the client sent."""
    report = Report()
    with suppress(RelayError):  # one that does not fit is counted all the same
        candidate.module.prepare(asked, target, report)
    return report.estimate or max(1, round(asked.estimate * target.calibration))


def origin(provider: Provider) -> Origin:
    return Origin(provider.name, provider.base_url, provider.connect_timeout, provider.idle_timeout)


def answer_headers(request_id: str, candidate: Candidate, entry: Entry) -> list[tuple[str, str]]:
    """What every answer says about itself. The request-id is the upstream's where it is the client's to know."""
    report = entry.report
    headers = [] if any(name == "request-id" for name, _ in report.headers) else [("request-id", request_id)]
    headers += [
        *report.headers,
        ("x-ccrelay-provider", candidate.provider.name),
        ("x-ccrelay-model", candidate.model.id),
        ("x-ccrelay-attempts", str(entry.attempts)),
    ]
    if candidate.fallback:
        headers.append(("x-ccrelay-fallback", candidate.id))
    if report.dropped:
        headers.append(("x-ccrelay-dropped", report.dropped_header()))
    return headers


def comment(headers: list[tuple[str, str]]) -> bytes:
    """What an early head could not say yet, as a comment line of the stream."""
    own = [f"{name.removeprefix('x-ccrelay-')}={value}" for name, value in headers if name.startswith("x-ccrelay-")]
    return f": ccrelay {' '.join(own)}\n\n".encode()


def in_band_error(error: RelayError, request_id: str) -> bytes:
    fault = {"type": error.in_band_type, "message": error.message}
    return encode("error", dumps({"type": "error", "error": fault, "request_id": request_id}))


def error_headers(error: RelayError, health: Health) -> list[tuple[str, str]]:
    """retry-after in whole seconds: Claude Code reads no other form. One that the upstream sent passes as it came."""
    headers = [(name, value) for name, value in error.headers]
    wait = health.retry_after(error)
    if wait is not None and not any(name == "retry-after" for name, _ in headers):
        headers.append(("retry-after", str(math.ceil(wait))))
    if error.should_retry is not None:
        headers.append(("x-should-retry", "true" if error.should_retry else "false"))
    return headers


def elapsed(request: Request, moment: float | None = None) -> float:
    return (moment or time.monotonic()) - request.received
