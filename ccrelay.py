#!/usr/bin/env python3
"""ccrelay: all models behind one address for Claude Code. `python ccrelay.py --help` says how to start it."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TextIO

if sys.version_info < (3, 11):  # noqa: UP036  # said in a sentence, before tomllib is missed
    sys.exit(f"ccrelay needs Python 3.11 or later; this is {sys.version.split()[0]}")

from ccrelay_providers.core.catalog import Catalog
from ccrelay_providers.core.config import Config, ConfigError, Provider, Server, load
from ccrelay_providers.core.endpoints import Endpoints
from ccrelay_providers.core.guard import Guard
from ccrelay_providers.core.health import Health
from ccrelay_providers.core.heartbeat import Heartbeat
from ccrelay_providers.core.log import Log
from ccrelay_providers.core.relay import Relay
from ccrelay_providers.core.router import Router
from ccrelay_providers.core.server import RelayServer
from ccrelay_providers.core.upstream import ConnectionPool
from ccrelay_providers.core.windows import Windows

__version__ = "0.1.0"
DRAIN_SECONDS = 30.0
LOOK_SECONDS = 0.25  # what the start waits for an Ollama on this machine to say what it has

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(sys.argv[1:] if argv is None else argv)
    try:
        config = load(config_path(arguments.config), os.environ, host=arguments.host, port=arguments.port)
    except ConfigError as error:
        for sentence in error.errors:
            given = arguments.host is not None and ": server.host: " in sentence
            print("--host: " + sentence.partition(": server.host: ")[2] if given else sentence, file=sys.stderr)
        return 2
    return serve(config, arguments.verbose)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ccrelay", description="One address for all models that Claude Code may use.")
    parser.add_argument("command", nargs="?", choices=["serve"], default="serve", help="serve: listen (the default)")
    parser.add_argument("--config", metavar="FILE", help="default: $CCRELAY_CONFIG, else relay.toml beside ccrelay.py")
    parser.add_argument("--host", help="the address to listen on (server.host)")
    parser.add_argument("--port", type=port, help="the port to listen on; 0 picks a free one (server.port)")
    parser.add_argument("--verbose", action="store_true", help="log listings and health checks too")
    parser.add_argument("--version", action="version", version=f"ccrelay {__version__}")
    return parser.parse_args(argv)


def port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, got {text!r}")
    return int(text)


def config_path(given: str | None) -> Path:
    chosen = given or os.environ.get("CCRELAY_CONFIG")
    return Path(chosen) if chosen else Path(__file__).resolve().parent / "relay.toml"


def serve(config: Config, verbose: bool) -> int:
    """Listens until a signal. 1 if it cannot."""
    log = Log(config.server.log, verbose=verbose)
    server, catalog = build(config, log)
    if server is None:
        return 1
    raise_file_limit(2 * config.server.max_connections + 64)
    catalog.refresh(wait=LOOK_SECONDS)
    catalog.keep_fresh()
    announce(config, catalog, server, sys.stdout)
    stop_on_signals(server)
    server.run()
    return drain(server, log)


def stop_on_signals(server: RelayServer) -> None:
    """SIGTERM or SIGINT stops the server; a second one ends at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, lambda number, frame: os._exit(1))
        server.stop()

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, stop)


def raise_file_limit(wanted: int) -> None:
    """Two descriptors a stream are soon more than the usual limits, 1024 on Linux and 256 on macOS."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def build(config: Config, log: Log) -> tuple[RelayServer | None, Catalog]:
    """All parts, wired, and the listening server; None if the address cannot be had."""
    pool, heartbeat = ConnectionPool(os.environ), Heartbeat()
    heartbeat.add(pool)
    pool.on_idle = heartbeat.expect
    health = Health(time.monotonic, time.time)
    catalog = Catalog(config, lambda provider, request: relay.fetch(provider, request), log.say)
    router = Router(config.routing, catalog, health.available)
    relay = Relay(config, router, health, pool, heartbeat, Windows(catalog.ask, log.say))
    endpoints = Endpoints(relay, catalog, Guard(config.server), health, log)
    return listen(config.server, endpoints, heartbeat), catalog


def listen(server: Server, endpoints: Endpoints, heartbeat: Heartbeat) -> RelayServer | None:
    try:
        return RelayServer(server, endpoints, heartbeat)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        advice = "; is it running already? Another port: --port N" if error.errno == errno.EADDRINUSE else ""
        print(f"ccrelay: cannot listen on {server.host}:{server.port} ({reason}){advice}", file=sys.stderr)
        return None


def drain(server: RelayServer, log: Log) -> int:
    if server.drain(0.2):
        return 0
    log.say(f"stopping: running answers have {DRAIN_SECONDS:g} s to finish; a second signal ends at once")
    return 0 if server.drain(DRAIN_SECONDS) else 1


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


if __name__ == "__main__":
    sys.exit(main())
