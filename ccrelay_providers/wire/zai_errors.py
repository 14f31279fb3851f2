"""Z.AI's errors: one set of numeric codes in four envelopes. Classified by code first, by status second, never by text.

The HTTP status is not reliable (429 also for an empty balance), and the text may be Chinese or English.
Codes: docs.z.ai/api-reference/api-code, and captures of the Anthropic endpoint from July to September 2026.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from . import errors
from .http1 import Headers
from .messages import Json, loads
from .provider import Target

_BRACKETS = re.compile(r"\[(\d{3,4})\]\s*(?:\[(.*)\]\s*\[[^\[\]]*\]|(.*))\s*\Z", re.DOTALL)
_CODE = re.compile(r"[1-9]\d{2,3}")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)")
_BEIJING = timezone(timedelta(hours=8))
_STATUS = {kind: status for status, kind in errors.ERROR_TYPES.items()} | {"api_error": 500}
_WINDOW = 64_000
"""For an overflow of a model of unknown length: the shortest there is."""

_KEY = frozenset({401, 1000, 1001, 1002, 1003, 1004})  # 401: open.bigmodel.cn, for a key that expired
_KEY_ADVICE = "check providers.{0}.api_key in relay.toml; keys of z.ai and of bigmodel.cn are not interchangeable"
_ACCOUNT_ADVICE = {
    **dict.fromkeys((1110, 1111, 1112, 1121), "look at the account at Z.AI"),
    1113: "recharge; or is it a coding-plan key on the wrong endpoint? base_url should end in /api/anthropic",
    1309: "renew the plan at Z.AI",
    1313: "Z.AI restricts the plan for unfair use; its support can lift that",
    1314: "renew the plan at Z.AI",
}
_SECONDS = {1231: 2, 1302: 2, 1303: 5}  # none are documented: long enough for one concurrent answer to end
_QUOTA = frozenset({1304, 1308, 1310, *range(1316, 1322)})
_OVERLOADED = frozenset({1120, 1234, 1305})
_NO_MODEL = frozenset({1211, 1220, 1221, 1222})
_REQUEST = frozenset({1210, 1212, 1213, 1214, 1215, 1300, 1301})
_BROKEN = frozenset({500, 1200, 1230})


class _Fault(NamedTuple):
    code: int | None
    kind: str
    text: str


def error(status: int, headers: Headers, body: bytes, target: Target, tokens: int = 0) -> errors.RelayError:
    """By code first, by status second. tokens: an estimate of the request, for an overflow's wording."""
    fault = _fault(json_object(body))
    code = f" (code {fault.code})" if fault.code else ""
    text = f"{target.provider}: {fault.text.rstrip('. ') or f'answered {status} without a reason'}{code}"
    known = _by_limit(fault, text, headers, target, tokens) or _by_code(fault, text, target)
    return known or _by_status(status, fault, text, headers, target)


def _by_limit(fault: _Fault, text: str, headers: Headers, target: Target, tokens: int) -> errors.RelayError | None:
    """Codes that mean: less, later, or elsewhere."""
    retry_after = _seconds(headers)
    if fault.code == 1261:
        return errors.ContextOverflow(tokens, target.model.context or _WINDOW)
    if fault.code in _SECONDS:
        return errors.RateLimited(text, retry_after=retry_after or _SECONDS[fault.code])
    if fault.code in _QUOTA:
        resets_at = _resets_at(fault.text)
        text += "; Beijing time" if resets_at else ""
        rest = None if resets_at else retry_after or 300  # a window of unknown end: ask again now and then
        return errors.RateLimited(text, resets_at=resets_at, retry_after=rest, should_retry=False)
    return errors.Overloaded(text, retry_after=retry_after) if fault.code in _OVERLOADED else None


def _by_code(fault: _Fault, text: str, target: Target) -> errors.RelayError | None:
    if fault.code in _KEY:
        return errors.KeyRefused(f"{text}; {_KEY_ADVICE.format(target.provider)}")
    if fault.code in _ACCOUNT_ADVICE:
        return errors.AccountRefused(f"{text}; {_ACCOUNT_ADVICE[fault.code]}")
    if fault.code == 1311:
        return errors.ModelRefused(f"{text}; the plan does not include {target.model.id}")
    if fault.code in _NO_MODEL:
        return errors.UpstreamRefusal(f"{text}; model: {target.model.id}", status=404)
    if fault.code in _REQUEST:
        return errors.UpstreamRefusal(text, status=400)
    if fault.code == 500 and "404 NOT_FOUND" in fault.text:  # its gateway's words for a path that is not there
        return _wrong_place(text, target)
    return errors.UpstreamFailure(text, status=500) if fault.code in _BROKEN else None


def _by_status(status: int, fault: _Fault, text: str, headers: Headers, target: Target) -> errors.RelayError:
    if status < 400 and fault.kind in _STATUS:
        status = _STATUS[fault.kind]
    if status < 400 or (status in (404, 405) and not fault.text):
        return _wrong_place(text, target)
    if status in (401, 403):
        return errors.KeyRefused(f"{text}; {_KEY_ADVICE.format(target.provider)}")
    if status == 429:
        return errors.RateLimited(text, retry_after=_seconds(headers) or 5)
    if status == 529:
        return errors.Overloaded(text, retry_after=_seconds(headers))
    kind = errors.UpstreamFailure if status >= 500 or status == 408 else errors.UpstreamRefusal
    return kind(text, status=status)


def _wrong_place(text: str, target: Target) -> errors.RelayError:
    advice = f"is providers.{target.provider}.base_url ({target.base_url}) right?"
    return errors.UpstreamFailure(f"{text}; {advice}", should_retry=False)


def _fault(body: Json) -> _Fault:
    """What an error body says, in any of its four envelopes."""
    inner = as_object(body.get("error"))
    text = str(inner.get("message") or body.get("msg") or body.get("message") or "")
    if isinstance(body.get("error"), str):
        text = text or body["error"]
    found = _BRACKETS.match(text)
    places = (inner.get("code"), inner.get("type"), found[1] if found else None, body.get("code"))
    code = next((int(str(place)) for place in places if _CODE.fullmatch(str(place))), None)
    return _Fault(code, str(inner.get("type") or ""), (found[2] or found[3] or "").strip() if found else text)


def _resets_at(text: str) -> float | None:
    """The time that a quota's text names, in seconds since the epoch; Z.AI's clock is Beijing's."""
    found = _TIME.search(text)
    try:
        return datetime(*map(int, found.groups()), tzinfo=_BEIJING).timestamp() if found else None  # type: ignore[misc,arg-type]
    except ValueError:
        return None


def _seconds(headers: Headers) -> float | None:
    value = headers.get("retry-after") or ""
    return float(value) if value.isascii() and value.isdigit() else None


def json_object(data: bytes) -> Json:
    """The object in `data`, or an empty one."""
    try:
        return as_object(loads(data))
    except ValueError:
        return {}


def as_object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
