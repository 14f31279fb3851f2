"""serve: listens, and answers until a signal says stop."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import time
from types import FrameType
from typing import Literal

from ..core.catalog import Catalog
from ..core.config import ConfigError
from ..core.endpoints import Endpoints
from ..core.guard import Guard
from ..core.health import Health
from ..core.heartbeat import Heartbeat
from ..core.log import NAMES, Log
from ..core.pins import Pins
from ..core.relay import Relay
from ..core.router import Router
from ..core.server import RelayServer
from ..core.settings import Config
from ..core.status import Status
from ..core.tls import TlsServer, context
from ..core.upstream import ConnectionPool
from ..core.windows import Windows
from .screen import announce
from .terminal import Terminal

WIDE = 100  # columns that hold a line of the log, with remarks
DRAIN_SECONDS = 30.0
LOOK_SECONDS = 0.25  # what the start waits for an Ollama on this machine to say what it has


def run(options: argparse.Namespace, config: Config) -> int:
    """Listens until a signal. 1 if it cannot."""
    log = text_log(config.server.log, options.verbose)
    try:
        server, catalog = build(config, log)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if server is None:
        return 1
    raise_file_limit(2 * config.server.max_connections + 64)
    catalog.refresh(wait=LOOK_SECONDS)
    announce(config, catalog, server.port, Terminal(sys.stdout, os.environ))
    stop_on_signals(server)
    server.run()
    return drain(server, log)


def text_log(form: Literal["text", "json"], verbose: bool) -> Log:
    """On a terminal with its colours; on a narrow one without blanks behind the names."""
    terminal = Terminal(sys.stderr, os.environ)
    names = 1 if terminal.width < WIDE else NAMES
    return Log(form, verbose=verbose, colour=form == "text" and terminal.colour, names=names)


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
    """All parts, wired, and the listening server; None if the address cannot be had. Raises ConfigError."""
    pool, heartbeat = ConnectionPool(os.environ), Heartbeat()
    heartbeat.add(pool)
    pool.on_idle = heartbeat.expect
    health = Health(time.monotonic, time.time)
    catalog = Catalog(config, lambda provider, request: relay.fetch(provider, request), log.say)
    heartbeat.add(catalog)
    router = Router(config.routing, catalog, health.available)
    relay = Relay(config, router, health, pool, heartbeat, Windows(catalog.ask, log.say), Pins(config, catalog))
    status = Status(config, catalog, health, router, relay.gates, relay.keys, relay.sessions)
    endpoints = Endpoints(relay, catalog, Guard(config.server), health, log, status.snapshot)
    return listen(config, endpoints, heartbeat), catalog


def listen(config: Config, endpoints: Endpoints, heartbeat: Heartbeat) -> RelayServer | None:
    server = config.server
    try:
        if server.tls_cert:
            return TlsServer(server, endpoints, heartbeat, context(config))
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
