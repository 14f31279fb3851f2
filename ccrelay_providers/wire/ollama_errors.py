"""What goes wrong at Ollama, and what to do about it. It says so in words only: `{"error": "..."}`, or plain text."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from .errors import (
    AbilityMissing,
    ContextOverflow,
    KeyRefused,
    ModelRefused,
    Overloaded,
    RateLimited,
    RelayError,
    UpstreamDisconnected,
    UpstreamFailure,
    UpstreamRefusal,
)
from .http1 import Headers
from .messages import Json, loads
from .ollama_chat import window
from .provider import Target

_SMALLEST_WINDOW = 4096  # Ollama's own default on a machine without a large GPU


class _Known(NamedTuple):
    """One thing Ollama says: its status (0: any), words in it, what it is, and what to do about it."""

    status: int
    said: str
    error: Callable[[str], RelayError]
    advice: str


_misconfigured = partial(UpstreamFailure, status=403, should_retry=False)
_missing = partial(UpstreamRefusal, status=404)
_too_big = ModelRefused
_FACT = "{{text}}; set {} = false for {{model}} in providers.{{provider}}.models, or choose another model"
_KNOWN = (
    _Known(0, "does not support thinking", partial(AbilityMissing, ability="thinking"), _FACT.format("thinking")),
    _Known(0, "does not support tools", partial(AbilityMissing, ability="tools"), _FACT.format("tools")),
    _Known(0, "does not support image", partial(AbilityMissing, ability="vision"), _FACT.format("vision")),
    _Known(0, "does not support chat", UpstreamRefusal, "{text}: it is an embedding model; choose another model"),
    _Known(401, "signin_url", ModelRefused, "{model} runs on ollama.com; to sign in, open {signin}"),
    _Known(401, "", KeyRefused, "refused the relay's key ({text}); check providers.{provider}.api_key in relay.toml"),
    _Known(402, "", ModelRefused, "{text}"),
    _Known(403, "cloud is disabled", _misconfigured, "{text}; allow it in Ollama's settings"),
    _Known(403, "subscription", ModelRefused, "{text}"),
    _Known(403, "answered 403", _misconfigured, "refused the Host header; name it by an address in base_url"),
    _Known(404, "page not found", partial(_misconfigured, status=404), "has no /api/chat; is base_url right?"),
    _Known(404, "not found", _missing, "model: {model} is not installed; run: ollama pull {model}"),
    _Known(429, "usage limit", partial(RateLimited, should_retry=False), "{text}"),
    _Known(429, "", RateLimited, "{text}"),
    _Known(499, "", UpstreamDisconnected, "{text}"),
    _Known(503, "", Overloaded, "{text}; OLLAMA_MAX_QUEUE sets how many may wait"),
    _Known(0, "system memory", _too_big, "{text}; lower providers.{provider}.num_ctx, or choose a smaller model"),
    _Known(0, "process has terminated", _too_big, "{text}; a lower providers.{provider}.num_ctx needs less memory"),
    _Known(500, "no user query found", UpstreamRefusal, "{text}"),
    _Known(500, "system message must be at the beginning", UpstreamRefusal, "{text}"),
    _Known(502, "", UpstreamFailure, "{text}; a cloud model needs a connection to ollama.com"),
    _Known(500, "unexpectedly stopped", UpstreamFailure, "{text}; a lower num_ctx needs less memory"),
)
_TOO_LONG = re.compile(r"\((\d+) tokens\) exceeds the available context size \((\d+) tokens\)")
_TOO_LONG_IN_WORDS = re.compile(
    r"prompt is longer than the context length|exceed_context_size|prompt too long"
    r"|exceeds the (model's )?(maximum |available )?context"
)
_CUT = ("no user query found",)
"""What a template says of a prompt whose beginning was cut away. Of one that fits: a conversation without a user."""
_NEARLY = 0.8  # of the window: from there on an estimate may be an overflow


def error(status: int, headers: Headers, body: bytes, target: Target, tokens: int = 0) -> RelayError:
    """What Ollama says, and what to do about it. tokens: an estimate, for an overflow without numbers."""
    fault = _fault(body)
    text = str(fault.get("message") or f"answered {status}")[:500]
    if overflow := _overflow(fault, text, target, tokens):
        return overflow
    if status < 400 and "error" not in fault:
        return UpstreamDisconnected(f"{target.provider}: answered {status}, not with a chat; is base_url right?")
    found = _known(status if status >= 400 else 500, fault, text, target)
    wait = headers.get("retry-after") or ""
    found.retry_after = float(wait) if wait.isascii() and wait.isdigit() else None
    return found


def _known(status: int, fault: Json, text: str, target: Target) -> RelayError:
    """The first row that fits."""
    said = f"{text} signin_url" if fault.get("signin_url") else text
    fields = {"provider": target.provider, "model": target.model.id, "text": text, "signin": fault.get("signin_url")}
    for known in _KNOWN:
        if known.status in (0, status) and known.said in said:
            return known.error(f"{target.provider}: {known.advice.format(**fields)}")
    if status < 500:
        return UpstreamRefusal(f"{target.provider}: {text}", status=status)
    return UpstreamFailure(f"{target.provider}: {text}")


def _fault(body: bytes) -> Json:
    """`message`, and what else there is, from `{"error": "…"}`, from JSON inside that string, or from plain text."""
    try:
        fault = loads(body)
    except ValueError:
        return {"message": body.decode("utf-8", "replace").strip()}
    outer = fault if isinstance(fault, dict) else {}
    inner = outer.get("error")
    if isinstance(inner, str) and inner.startswith("{"):
        inner = {"message": inner, **_fault(inner.encode("utf-8", "replace"))}
    return {**outer, **inner} if isinstance(inner, dict) else {**outer, "message": inner}


def _overflow(fault: Json, text: str, target: Target, tokens: int) -> ContextOverflow | None:
    """llama-server names both numbers; Ollama's own refusal names none, and the window is what was asked for."""
    sent, limit = fault.get("n_prompt_tokens"), fault.get("n_ctx")
    if isinstance(sent, int) and isinstance(limit, int):
        return ContextOverflow(sent, limit)
    if match := _TOO_LONG.search(text):
        return ContextOverflow(int(match[1]), int(match[2]))
    limit = window(target) or target.num_ctx or _SMALLEST_WINDOW
    cut = any(words in text for words in _CUT) and tokens > _NEARLY * limit
    return ContextOverflow(tokens, limit) if cut or _TOO_LONG_IN_WORDS.search(text) else None
