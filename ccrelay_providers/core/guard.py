"""Who may talk to the relay. A page in the user's browser must not be able to spend the user's keys."""

from __future__ import annotations

import hmac
import ipaddress
from functools import lru_cache

from ..wire.errors import AuthenticationFailed, InvalidRequest, PermissionDenied
from ..wire.http1 import Headers
from .settings import Server


class Guard:
    def __init__(self, server: Server) -> None:
        self._token = server.token.encode() if server.token else None
        self._every_address = server.host in ("0.0.0.0", "::")  # any of this machine's; names may be rebound, these not
        self._hosts = {"localhost", "127.0.0.1", "::1", *map(str.lower, (server.host, *server.allowed_hosts))}

    def check_origin(self, headers: Headers) -> None:
        """Refuses foreign names (a rebound DNS name is one), foreign pages, and what a browser calls foreign."""
        host = headers.get("host")
        if headers.repeats and len(headers.all("host")) > 1:
            raise InvalidRequest("host: given twice")
        if host is not None and not self._known(host_name(host)):
            raise PermissionDenied(
                f"host: {host_name(host)!r} is not this relay; add it to server.allowed_hosts in relay.toml"
            )
        origin = headers.get("origin")
        if origin is not None and (not host or origin.partition("://")[2].lower() != host.lower()):
            raise PermissionDenied("origin: requests from web pages are refused")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site"):  # same-site: another port of this machine
            raise PermissionDenied("sec-fetch-site: requests from web pages are refused")

    def _known(self, name: str) -> bool:
        return name in self._hosts or is_loopback(name) or (self._every_address and is_address(name))

    def authenticate(self, headers: Headers) -> Headers:
        """The headers without the relay's own credential. Raises AuthenticationFailed if one is needed and missing."""
        if self._token is None:
            return headers
        kept = Headers((name, value) for name, value in headers if not self._is_token(name.lower(), value))
        if len(kept) == len(headers):
            raise AuthenticationFailed(
                "the relay's token is missing or wrong; set ANTHROPIC_AUTH_TOKEN, or the header x-ccrelay-token, "
                "to server.token of relay.toml"
            )
        return kept

    def _is_token(self, name: str, value: str) -> bool:
        """Compared in constant time."""
        assert self._token is not None
        if name == "authorization" and value[:7].lower() == "bearer ":
            value = value[7:].strip()
        elif name not in ("x-api-key", "x-ccrelay-token"):
            return False
        return hmac.compare_digest(value.encode("latin-1", "replace"), self._token)


@lru_cache(64)
def host_name(host: str) -> str:
    """`[::1]:8787` → `::1`, `localhost:8787` → `localhost`."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def credentials(headers: Headers) -> list[str]:
    """What the client showed of itself."""
    shown = [
        value for name in ("authorization", "x-api-key", "x-ccrelay-token", "cookie") for value in headers.all(name)
    ]
    return [value.partition(" ")[2] if value[:7].lower() == "bearer " else value for value in shown]
