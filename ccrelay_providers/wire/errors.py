"""What can go wrong, each as the client will see it: an HTTP status, a Messages API error type and one sentence.

RelayError
├── InvalidRequest 400            ContextOverflow 400: the client compacts by itself
├── AuthenticationFailed 401      PermissionDenied 403      NotFound 404      MethodNotAllowed 405
├── RequestTimeout 408            RequestTooLarge 413       ServerBusy 503
├── UpstreamRefusal               the upstream's own 4xx, its body passed on byte for byte where it is Anthropic's
│   └── AbilityMissing 400        the same candidate is asked once more, without
└── UpstreamFailure 502           the next candidate may answer instead
    ├── UpstreamDisconnected 502  UpstreamTimeout 504       Overloaded 529 ── QueueFull 529: in the relay's own line
    ├── RateLimited 429           rests as long as the upstream says
    ├── ModelRefused 502          not in the plan, too large for the machine: the provider's other models answer
    └── KeyRefused 502            the relay's own credential: nothing the client can repair
        └── AccountRefused 502    its plan or balance, which may be mended meanwhile
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import ClassVar, Literal, Self

Concern = Literal["nothing", "provider", "key", "model"]

ERROR_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 408: "timeout_error", 409: "conflict_error", 413: "request_too_large",
    429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
SECRET_FROM = 6  # characters
IN_BAND_TYPES = ("overloaded_error", "api_error", "timeout_error")
"""What an `event: error` may say after content was sent. The client ends the turn at anything else."""


def error_type(status: int) -> str:
    """The Messages API's error type for an HTTP status."""
    return ERROR_TYPES.get(status, "invalid_request_error" if 400 <= status < 500 else "api_error")


class RelayError(Exception):
    """The root. `message` is what the user reads.

    retry_after: seconds until it is worth trying again, or resets_at: the same as seconds since the epoch.
    should_retry: sent as `x-should-retry`; False ends the client's loop of ten attempts.
    body: the upstream's own error body, to be passed on unchanged. headers: what else to pass on.
    """

    status: int = 500
    type: str = "api_error"
    try_next: ClassVar[bool] = False
    concerns: Concern = "nothing"
    """What rests because of it."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        type: str | None = None,
        retry_after: float | None = None,
        resets_at: float | None = None,
        should_retry: bool | None = None,
        body: bytes | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status or self.status
        self.type = type or (error_type(status) if status else self.type)
        self.retry_after, self.resets_at, self.should_retry = retry_after, resets_at, should_retry
        self.body, self.headers = body, headers

    def let_go(self) -> Self:
        """Without the frames it came through. Where it is kept they would keep it: a circle with a whole request in it,
        its body and its socket, which only the garbage collector opens, minutes later."""
        self.__traceback__ = self.__context__ = None
        return self

    def hide(self, secrets: Iterable[str]) -> None:
        """Takes secrets out of what is said: some upstreams repeat the key that they refuse."""
        self.message = hidden(self.message, secrets)
        if self.body is not None:
            self.body = hidden(self.body.decode("latin-1"), secrets).encode("latin-1")

    @property
    def in_band_type(self) -> str:
        return self.type if self.type in IN_BAND_TYPES else "api_error"


def hidden(text: str, secrets: Iterable[str]) -> str:
    """Without the secrets; a very short one hides nothing, and would take letters out of words."""
    for secret in secrets:
        if len(secret) >= SECRET_FROM:
            text = text.replace(secret, "***")
    return text


class InvalidRequest(RelayError):
    status, type = 400, "invalid_request_error"


class ContextOverflow(InvalidRequest):
    """The conversation does not fit. Claude Code knows exactly this wording, and compacts."""

    def __init__(self, tokens: int, window: int) -> None:
        super().__init__(f"prompt is too long: {max(tokens, window + 1)} tokens > {window} maximum")


class AuthenticationFailed(RelayError):
    status, type = 401, "authentication_error"


class PermissionDenied(RelayError):
    status, type = 403, "permission_error"


class NotFound(RelayError):
    status, type = 404, "not_found_error"


class MethodNotAllowed(RelayError):
    status, type = 405, "invalid_request_error"


class RequestTimeout(RelayError):
    status, type = 408, "timeout_error"


class RequestTooLarge(RelayError):
    status, type = 413, "request_too_large"


class ServerBusy(RelayError):
    status, type = 503, "overloaded_error"


class UpstreamRefusal(RelayError):
    """An upstream's 4xx that is the request's own fault: no other candidate would do better."""

    status, type = 400, "invalid_request_error"


class AbilityMissing(UpstreamRefusal):
    """The model cannot do what was thought of it: `ability` (thinking, tools, vision). Asked without, it may answer."""

    def __init__(self, message: str, *, ability: str = "thinking") -> None:
        super().__init__(message)
        self.ability = ability


class UpstreamFailure(RelayError):
    status, type = 502, "api_error"
    try_next = True
    concerns: Concern = "provider"


class UpstreamDisconnected(UpstreamFailure):
    """The stream ended, broke or stopped making sense before its terminal mark."""


class UpstreamTimeout(UpstreamFailure):
    status, type = 504, "timeout_error"


class Overloaded(UpstreamFailure):
    status, type = 529, "overloaded_error"


class QueueFull(Overloaded):
    """No place in the relay's own line. Says nothing about the provider, which does what it can."""

    concerns = "nothing"


class RateLimited(UpstreamFailure):
    status, type = 429, "rate_limit_error"
    concerns = "key"


class ModelRefused(UpstreamFailure):
    """The provider is well, and does not give this model."""

    concerns = "model"

    def __init__(self, message: str) -> None:
        super().__init__(message, should_retry=False)


class KeyRefused(UpstreamFailure):
    """Not 401: that would send the user to /login, where nothing can be repaired."""

    concerns = "key"

    def __init__(self, message: str, *, resets_at: float | None = None) -> None:
        super().__init__(message, should_retry=False, resets_at=resets_at)


class AccountRefused(KeyRefused):
    """The key is right; the plan behind it, or the balance, is not."""


def error_body(error: RelayError, request_id: str) -> bytes:
    """The error as the Messages API says it. An upstream's own body goes out as it came."""
    if error.body is not None:
        return error.body
    fault = {"type": error.type, "message": error.message}
    return json.dumps({"type": "error", "error": fault, "request_id": request_id}, ensure_ascii=False).encode(
        "utf-8",
        "backslashreplace",  # a lone surrogate, escaped as JSON does it
    )
