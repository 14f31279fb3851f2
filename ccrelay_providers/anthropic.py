"""Anthropic: bytes in, bytes out.

Changed are the model's name, the credential, and what another provider left in the history.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import cast

from .wire import history
from .wire.errors import (
    AuthenticationFailed,
    KeyRefused,
    RateLimited,
    RelayError,
    UpstreamDisconnected,
    UpstreamFailure,
    UpstreamRefusal,
    error_type,
)
from .wire.http1 import Fields, Headers
from .wire.messages import Json, MessagesRequest, dumps, loads, loads_object
from .wire.passthrough import Passthrough, rename
from .wire.provider import WHOLE_ANSWER, Ask, Listing, Report, Target, UpstreamRequest, UpstreamResponse

LABEL = "Anthropic"
ABILITIES = {"vision": True, "tools": True, "thinking": True}

_NOT_FORWARDED = frozenset(
    {"host", "content-length", "content-encoding", "cookie", "forwarded", "origin", "expect"}
) | {
    "accept-encoding",  # identity: a compressed stream would have to be undone, and some servers buffer to compress
}
_NOT_FORWARDED_PREFIXES = ("x-forwarded-", "x-ccrelay-", "sec-")
_CREDENTIALS = frozenset({"authorization", "x-api-key"})
_PASSED_BACK = ("request-id", "retry-after", "x-should-retry", "anthropic-thinking-prefix-mismatch")


SMALLEST_BUDGET, USUAL_BUDGET = 1024, 16384  # of thinking, in tokens; the first is Anthropic's limit
_THINKING = re.compile(rb'"thinking"\s*:\s*\{[^{}]*"type"\s*:\s*"(enabled|adaptive|disabled)"')
_UP_TO_4_5 = re.compile(r"claude-(3|\w+-4-[015]|\w+-4-2025)")
_MANUAL = re.compile(rf"{_UP_TO_4_5.pattern}|claude-\w+-4-6")
_ALWAYS = re.compile(r"claude-(opus-5-5|fable|mythos)")


def prepare(request: MessagesRequest, target: Target, report: Report) -> UpstreamRequest:
    path = "/v1/messages" + (f"?{request.query}" if request.query else "")
    patience = None if request.stream else WHOLE_ANSWER
    return UpstreamRequest("POST", path, _headers(request, target), _body(request, target, report), patience)


def count_tokens(request: MessagesRequest, target: Target) -> UpstreamRequest | None:
    path = "/v1/messages/count_tokens" + (f"?{request.query}" if request.query else "")
    return UpstreamRequest("POST", path, _headers(request, target), _body(request, target, Report()), patience=30)


def _body(request: MessagesRequest, target: Target, report: Report) -> bytes:
    unfit = target.model.id not in request.model and _unfit_thinking(request.raw, target.model.id)
    if not unfit and not request.signs.foreign:
        return request.with_model(target.model.id)
    dropped: Counter[str] = Counter()
    body = _with_fitting_thinking(request.body, target.model.id, dropped) if unfit else request.body
    repaired = history.for_anthropic(body, dropped)
    if repaired == request.body:
        return request.with_model(target.model.id)
    report.dropped.update(dropped)
    return request.written({**repaired, "model": target.model.id})


def _unfit_thinking(raw: bytes, model: str) -> bool:
    """Whether a request, made for another model, thinks in a way that this one refuses; by a look at the bytes."""
    kinds = {match[1] for match in _THINKING.finditer(raw)}
    return bool(kinds & _refused(model))


def _refused(model: str) -> set[bytes]:
    """Kinds of thinking: adaptive up to 4.5, with a budget from 4.7 on; Opus 5.5 and Fable cannot be told not to."""
    if _UP_TO_4_5.match(model):
        return {b"adaptive"}
    always = {b"disabled"} if _ALWAYS.match(model) else set()
    return always if _MANUAL.match(model) else {b"enabled"} | always


def _with_fitting_thinking(body: Json, model: str, dropped: Counter[str]) -> Json:
    thinking = body.get("thinking") or {}
    kind, limit = str(thinking.get("type")), body.get("max_tokens") or 0
    if kind.encode() not in _refused(model):
        return body
    dropped["thinking_mode"] += 1
    rest = {key: value for key, value in thinking.items() if key == "display"}
    if kind == "enabled":
        return {**body, "thinking": {"type": "adaptive", **rest}}
    if kind == "adaptive" and limit > SMALLEST_BUDGET:
        return {**body, "thinking": {"type": "enabled", "budget_tokens": min(limit - 1, USUAL_BUDGET), **rest}}
    return {key: value for key, value in body.items() if key != "thinking"}


def _headers(request: MessagesRequest, target: Target) -> Fields:
    """Made once for a client that sends the same headers again."""
    made = request.headers.made
    found = made.get((_headers, target.api_key))
    if found is None:
        found = made[_headers, target.api_key] = _forwarded(request, target)
    return cast(Fields, found)


def _forwarded(request: MessagesRequest, target: Target) -> Fields:
    """The client's headers less what must not travel; its credential only if no key is configured."""
    left_out = request.headers.hop_by_hop() | (_CREDENTIALS if target.api_key else frozenset())
    headers = [field for field in request.headers if (name := _travels(field[0])) and name not in left_out]
    if target.api_key:
        headers.append(("x-api-key", target.api_key))
    elif not any(request.headers.get(name) for name in _CREDENTIALS):
        raise AuthenticationFailed(
            f"{target.provider}: the request carries no credential; set providers.{target.provider}.api_key in "
            "relay.toml, or log in with Claude Code and send server.token, if there is one, as x-ccrelay-token"
        )
    return Fields([*headers, ("accept-encoding", "identity")])


@lru_cache(256)
def _travels(name: str) -> str | None:
    """A field's name in lower case, if it may go on."""
    lower = name.lower()
    return None if lower in _NOT_FORWARDED or lower.startswith(_NOT_FORWARDED_PREFIXES) else lower


def stream(response: UpstreamResponse, request: MessagesRequest, target: Target, report: Report) -> Iterator[bytes]:
    def failure(data: bytes) -> RelayError:
        return in_band(data, target)

    report.headers = passed_back(response.headers, own_credential=not target.api_key)
    return Passthrough(request.model, report, failure).stream(response.pieces())


def message(response: UpstreamResponse, request: MessagesRequest, target: Target, report: Report) -> bytes:
    raw = response.read()
    report.headers = passed_back(response.headers, own_credential=not target.api_key)
    body = answered(raw, target, report)
    return dumps(body) if rename(body, request.model) else raw


def answered(raw: bytes, target: Target, report: Report) -> Json:
    """The message in the body of a 200. Raises what is wrong with one that holds none."""
    body = loads_object(raw)
    if body is None or not isinstance(body.get("content"), list):
        raise UpstreamDisconnected(f"{target.provider}: answered 200 without a message; is base_url right?")
    report.usage(body.get("usage"))
    report.stopped(body.get("stop_reason"))
    return body


def in_band(data: bytes, target: Target) -> RelayError:
    """What an error event means, as if it had come with the HTTP status of its type."""
    fault = fault_of(data)
    kind = str(fault.get("type") or "api_error")
    status = next((status for status in (529, 429, 504, 400, 401, 403, 404, 413) if error_type(status) == kind), 500)
    return error(status, Headers(), data, target)


def fault_of(body: bytes) -> Json:
    """The `error` object of an error body, or an empty one."""
    try:
        fault = loads(body).get("error")
    except (ValueError, AttributeError):
        return {}
    return fault if isinstance(fault, dict) else {}


def error(status: int, headers: Headers, body: bytes, target: Target, tokens: int = 0) -> RelayError:
    """Anthropic's own errors pass verbatim. Only a refusal of the relay's key is the relay's to explain."""
    fault = fault_of(body)
    text = str(fault.get("message") or f"answered {status}")
    if status < 400:
        return UpstreamDisconnected(
            f"{target.provider}: answered {status} with {headers.get('content-type') or 'no content type'}, "
            "not with a message; is base_url right?"
        )
    if status in (401, 403) and target.api_key:
        return KeyRefused(
            f"{target.provider}: refused the relay's key ({text}); "
            f"check providers.{target.provider}.api_key in relay.toml"
        )
    failure = status == 408 or status >= 500
    return (RateLimited if status == 429 else UpstreamFailure if failure else UpstreamRefusal)(
        f"{target.provider}: {text}",
        status=status,
        type=str(fault.get("type") or error_type(status)),
        retry_after=_seconds(headers.get("retry-after")),
        body=body if fault else None,
        headers=passed_back(headers, own_credential=not target.api_key),
    )


def _seconds(value: str | None) -> float | None:
    return float(value) if value and value.isascii() and value.isdigit() else None


def passed_back(headers: Headers, own_credential: bool) -> tuple[tuple[str, str], ...]:
    """Response headers that concern the client. Rate limits of the relay's key would be shown as the user's."""
    passed = [(name, value) for name in _PASSED_BACK if (value := headers.get(name)) is not None]
    if own_credential:
        limits = ((name.lower(), value) for name, value in headers)
        passed += [field for field in limits if field[0].startswith("anthropic-ratelimit-")]
    return tuple(passed)


def window(target: Target) -> int | None:
    return target.model.context


def models(ask: Ask, target: Target, before: Listing) -> Listing:
    """Configured, not asked for: an unknown `claude-…` name goes to Anthropic in any case."""
    return Listing()


def probe(target: Target) -> UpstreamRequest | None:
    """Without a key the answer is a 401, which tells that somebody is there."""
    key = (("x-api-key", target.api_key),) if target.api_key else ()
    headers = (("anthropic-version", "2023-06-01"), ("accept-encoding", "identity"), *key)
    return UpstreamRequest("GET", "/v1/models?limit=1", headers)


def loaded_window(ask: Ask, target: Target) -> int | None:
    return None
