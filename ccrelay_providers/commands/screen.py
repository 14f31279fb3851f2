"""What the start of the relay looks like."""

from __future__ import annotations

from typing import TextIO

from .. import __version__
from ..core.catalog import Catalog
from ..core.server import RelayServer
from ..core.settings import Config, Provider


def announce(config: Config, catalog: Catalog, server: RelayServer, out: TextIO) -> None:
    """What is on, what is off and why, where it listens, and the line that points Claude Code here."""
    print(f"ccrelay {__version__}", file=out)
    width = max(len(provider.name) for provider in config.providers)
    for provider in config.providers:
        print(f"  {provider.name + ':':<{width + 1}} {state(provider, catalog, bool(config.server.token))}", file=out)
    for warning in config.warnings:
        print(f"  warning: {warning}", file=out)
    print(f"listening on http://{in_url(config.server.host)}:{server.port}", file=out)
    here = in_url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.server.host, config.server.host))
    token = " ANTHROPIC_AUTH_TOKEN=…  (server.token)" if config.server.token else ""
    print(
        f"point Claude Code here:  export ANTHROPIC_BASE_URL=http://{here}:{server.port}{token}", file=out, flush=True
    )


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def state(provider: Provider, catalog: Catalog, token: bool = False) -> str:
    """`on, 4 models`, or `off, ZAI_API_KEY is not set`."""
    if provider.off:
        return f"off, {provider.off}"
    if error := catalog.discovery_error(provider):
        return f"on, but {error.removeprefix(provider.name + ': ')}"
    count = len(catalog.models(provider))
    words = f"on, {count} model{'' if count == 1 else 's'}"
    if provider.discover and not count:
        words = "on, no models found yet"
    if provider.type == "anthropic" and not provider.api_key:
        words += ", with the credential that Claude Code sends" + (" beside x-ccrelay-token" if token else "")
    if provider.listed:
        return words
    if provider.type == "echo" and provider.models:
        return f"on, not listed: {provider.name}/{provider.models[0].id} answers offline"
    return f"{words}, not listed"
