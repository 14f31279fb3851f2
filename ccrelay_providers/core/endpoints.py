"""(method, path) → function(Request) → Response. Everything else is a 404 or 405 in the API's own shape."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, unquote

from ..wire.errors import InvalidRequest, MethodNotAllowed, NotFound, RelayError, error_body, hidden
from ..wire.http1 import Headers
from ..wire.messages import dumps
from .catalog import Candidate, Catalog
from .exchange import ClientDeparted, Downstream, Request, Response
from .guard import Guard, credentials
from .health import Health
from .log import Entry, Log
from .relay import Relay, elapsed, error_headers, in_band_error
from .settings import PICKER

Handler = Callable[[Request, Downstream, Entry], Response | None]
_PICKER_KEEPS = re.compile("claude|anthropic", re.IGNORECASE)  # Claude Code drops every other id from discovery
_DISCOVERY_AGENT = "claude-code/"
_MODEL_PATH = "/v1/models/"


class Endpoints:
    """status: what /status tells, as it is now, of a session too if one is named."""

    def __init__(
        self,
        relay: Relay,
        catalog: Catalog,
        guard: Guard,
        health: Health,
        log: Log,
        status: Callable[[str | None], dict[str, Any]],
    ) -> None:
        self._status_now = status
        self._relay, self._catalog, self._guard, self._health, self._log = relay, catalog, guard, health, log
        self._routes: dict[str, dict[str, Handler]] = {
            "/": {"GET": _hello, "HEAD": _hello},
            "/api/hello": {"GET": _hello, "HEAD": _hello},
            "/health": {"GET": _health, "HEAD": _health},
            "/v1/messages": {"POST": relay.messages},
            "/v1/messages/count_tokens": {"POST": relay.count_tokens},
            "/v1/models": {"GET": self._models, "HEAD": self._models},
            "/status": {"GET": self._status, "HEAD": self._status},
        }

    def answer(self, request: Request, downstream: Downstream) -> None:
        """Answers, whatever happens, and writes the log line. Raises ClientDeparted."""
        entry = Entry(request.id, request.method, request.path)
        try:
            response = self._handled(request, downstream, entry)
            if response is not None:
                entry.status = response.status
                downstream.respond(response)
        except ClientDeparted:
            entry.departed = True
            raise
        finally:
            entry.total = elapsed(request)
            if downstream.first_sent_at is not None:
                entry.first_event = elapsed(request, downstream.first_sent_at)
            if entry.failures:  # an upstream may have repeated what it was shown
                entry.failures = [hidden(failure, credentials(request.headers)) for failure in entry.failures]
            self._log.request(entry)

    def admit(self, headers: Headers) -> None:
        """Raises PermissionDenied or AuthenticationFailed for who may ask nothing that has a body."""
        self._guard.check_origin(headers)
        self._guard.authenticate(headers)

    def refuse(self, error: RelayError, request: Request, downstream: Downstream) -> None:
        """Answers what never became a request, with a log line as well. Raises ClientDeparted."""
        entry = Entry(request.id, request.method, request.path)
        try:
            response = self._failed(error, request, downstream, entry)
            assert response is not None  # no stream has begun
            entry.status = response.status
            downstream.respond(response)
        finally:
            entry.total = elapsed(request)
            self._log.request(entry)

    def _handled(self, request: Request, downstream: Downstream, entry: Entry) -> Response | None:
        try:
            self._guard.check_origin(request.headers)
            handler = self._handler(request.method, request.path)
            if handler not in (_hello, _health):
                headers = self._guard.authenticate(request.headers)
                request = request if headers is request.headers else replace(request, headers=headers)
            return handler(request, downstream, entry)
        except RelayError as error:
            return self._failed(error.let_go(), request, downstream, entry)
        except ClientDeparted:
            raise
        except RecursionError:  # from Python 3.12 on json reads deeper than what walks through it afterwards
            return self._failed(InvalidRequest("the request is nested too deeply"), request, downstream, entry)
        except Exception as error:  # a bug of the relay's: said in the log, whole, and to the client in one sentence
            self._log.say(traceback.format_exc().rstrip(), request_id=request.id)
            bug = RelayError(f"ccrelay: internal error ({type(error).__name__}); its log has the details")
            if downstream.settle():
                downstream.keep_alive = False  # nobody knows how far the answer had come
            return self._failed(bug, request, downstream, entry)

    def _failed(self, error: RelayError, request: Request, downstream: Downstream, entry: Entry) -> Response | None:
        """The error as a response; as the last event of the stream if that has begun."""
        if not entry.failures or entry.failures[-1] != error.message:
            entry.failures.append(error.message)
        if downstream.settle():
            entry.status = 200  # that is what the client saw, early
            downstream.write(in_band_error(error, request.id), last=True)
            return None
        headers = error_headers(error, self._health)
        if not any(name == "request-id" for name, _ in headers):
            headers.append(("request-id", request.id))
        if entry.answered_by:
            provider, _, model = entry.answered_by.partition("/")
            headers += [
                ("x-ccrelay-provider", provider),
                ("x-ccrelay-model", model),
                ("x-ccrelay-attempts", str(entry.attempts)),
            ]
        return Response(error.status, error_body(error, request.id), tuple(headers))

    def _handler(self, method: str, path: str) -> Handler:
        methods = self._routes.get(path)
        if methods is None and path.startswith(_MODEL_PATH):
            methods = {"GET": self._model, "HEAD": self._model}
        if methods is None:
            raise NotFound(f"{path}: no such endpoint")
        if method not in methods:
            allow = (("allow", ", ".join(methods)),)
            raise MethodNotAllowed(f"{path}: takes {' and '.join(methods)}, not {method}", headers=allow)
        return methods[method]

    def _status(self, request: Request, downstream: Downstream, entry: Entry) -> Response:
        session = parse_qs(request.query).get("session", [None])[-1]
        return Response(200, dumps(self._status_now(session)), (("cache-control", "no-store"),))

    # ---- models ----

    def _models(self, request: Request, downstream: Downstream, entry: Entry) -> Response:
        """From memory, at once; the upstreams are asked in the background for the next time."""
        self._catalog.refresh()
        picker = (request.headers.get("user-agent") or "").startswith(_DISCOVERY_AGENT)
        listed = list(self._catalog.listed())  # once: discovery may end meanwhile
        models = [describe(candidate) for candidate in listed]
        if picker:
            ids = picker_ids(listed)
            models = [{**model, "id": id} for model, id in zip(models, ids, strict=True)]
        return Response(200, dumps(page(models, request.query)))

    def _model(self, request: Request, downstream: Downstream, entry: Entry) -> Response:
        name = request.path.removeprefix(_MODEL_PATH)
        candidates, _ = self._catalog.resolve(name)
        return Response(200, dumps({**describe(candidates[0]), "id": name}))


def _hello(request: Request, downstream: Downstream, entry: Entry) -> Response:
    return Response(200, b"" if request.method == "HEAD" else b'{"name":"ccrelay"}')


def _health(request: Request, downstream: Downstream, entry: Entry) -> Response:
    return Response(200, b'{"status":"ok"}')


@lru_cache(256)
def normalised(path: str) -> str:
    """Without doubled slashes, a trailing slash, or a `/v1` too many: base URLs are written in many ways."""
    path = re.sub("/{2,}", "/", unquote(path)).rstrip("/") or "/"
    return path.removeprefix("/v1") if path.startswith("/v1/v1/") else path


def page(models: list[dict[str, Any]], query: str) -> dict[str, Any]:
    """Anthropic's list, with `limit`, `after_id` and `before_id`. Without a limit, everything."""
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    ids = [model["id"] for model in models]
    start, stop = 0, len(models)
    if (after := asked.get("after_id")) is not None:
        start = _position(ids, after, "after_id") + 1
    if (before := asked.get("before_id")) is not None:
        stop = _position(ids, before, "before_id")
    limit = _limit(asked.get("limit"))
    if before is not None and after is None:
        start = max(start, stop - limit)
    data = list(islice(models, start, min(stop, start + limit)))
    has_more = start > 0 if before is not None and after is None else start + len(data) < stop
    return {
        "data": data,
        "has_more": has_more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _position(ids: list[str], wanted: str, field: str) -> int:
    if wanted not in ids:
        raise InvalidRequest(f"{field}: no model {wanted!r} in the list")
    return ids.index(wanted)


def _limit(value: str | None) -> int:
    if value is None:
        return sys.maxsize
    if not re.fullmatch("[0-9]{1,4}", value) or not 1 <= int(value) <= 1000:
        raise InvalidRequest("limit: expected a number from 1 to 1000")
    return int(value)


def picker_ids(candidates: list[Candidate]) -> list[str]:
    """Ids that Claude Code's discovery keeps. The first Anthropic's models go by their bare names: it folds those into
    its own rows, where others would stand a second time."""
    first = next((candidate.provider for candidate in candidates if candidate.provider.type == "anthropic"), None)
    ids = []
    for candidate in candidates:
        bare = candidate.provider is first and candidate.model.id.startswith("claude-")
        kept = _PICKER_KEEPS.search(candidate.id)
        ids.append(candidate.model.id if bare else candidate.id if kept else f"{PICKER}/{candidate.id}")
    return ids


def describe(candidate: Candidate) -> dict[str, Any]:
    """A model in Anthropic's shape."""
    model = candidate.model
    return {
        "type": "model",
        "id": candidate.id,
        "display_name": model.name or model.id,
        "description": description(candidate),
        "created_at": "1970-01-01T00:00:00Z",  # not known: what the API itself sends then
        "lifecycle": "active",
        "max_input_tokens": candidate.window,
        "max_tokens": model.max_output,
        "capabilities": {
            name: {"supported": known}
            for name, known in (("image_input", model.vision), ("tool_use", model.tools), ("thinking", model.thinking))
            if known is not None
        },
    }


def description(candidate: Candidate) -> str:
    """`Z.AI · 1M context · tools, thinking`: at most 100 characters are shown."""
    model = candidate.model
    able = [
        name
        for name, known in (("tools", model.tools), ("vision", model.vision), ("thinking", model.thinking))
        if known
    ]
    window = f"{window_words(candidate.window)} context" if candidate.window else ""
    return " · ".join(part for part in (candidate.module.LABEL, model.detail or "", window, ", ".join(able)) if part)[
        :100
    ]


def window_words(tokens: int) -> str:
    """1M, 200k, 41k."""
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:.2g}M"
    return f"{round(tokens / 1000)}k"
