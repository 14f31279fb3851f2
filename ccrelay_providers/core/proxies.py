"""HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY: how an upstream is reached. Never by proxy on this machine."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit


class Proxy(NamedTuple):
    host: str
    port: int
    headers: dict[str, str]
    """What the proxy itself is to be told: its password."""


class Proxies:
    def __init__(self, environ: Mapping[str, str]) -> None:
        lower = {name.lower(): value for name, value in environ.items() if name.lower().endswith("_proxy") and value}
        self._by_scheme = {
            scheme: lower.get(f"{scheme}_proxy") or lower.get("all_proxy") for scheme in ("http", "https")
        }
        self._bypassed = [
            part.strip().lstrip("*.").lower() for part in lower.get("no_proxy", "").split(",") if part.strip()
        ]
        self._bypass_all = lower.get("no_proxy", "").strip() == "*"

    def choose(self, scheme: str, host: str) -> Proxy | None:
        """The proxy for a URL of that scheme and host, None for none. Raises ValueError with a sentence."""
        given = None if self._direct(host) else self._by_scheme[scheme]
        if given is None:
            return None
        parts = urlsplit(given if "://" in given else f"http://{given}")
        try:
            port = parts.port or 80
        except ValueError:
            port = 0
        if parts.scheme != "http" or not parts.hostname or not port:
            raise ValueError(
                f"the proxy for {scheme} in the environment is not http://HOST:PORT; correct it, or set NO_PROXY"
            )
        return Proxy(parts.hostname, port, _authorization(parts))

    def _direct(self, host: str) -> bool:
        if self._bypass_all or host == "localhost" or host.startswith("127.") or host == "::1":
            return True
        return any(host == name or host.endswith(f".{name}") for name in self._bypassed)


def _authorization(parts: SplitResult) -> dict[str, str]:
    if not parts.username:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"proxy-authorization": "Basic " + b64encode(pair.encode()).decode()}
