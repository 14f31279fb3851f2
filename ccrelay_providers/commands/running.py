"""The relay that listens already, asked as any client would ask it."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from ..core.relay import Answer, origin
from ..core.settings import Provider, Server
from ..core.upstream import Connection, ConnectionPool, Origin
from ..wire.errors import RelayError, UpstreamFailure, UpstreamTimeout
from ..wire.provider import UpstreamRequest

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # a client on this machine needs an address that it can call
CONNECT, PATIENCE = 1.0, 5.0  # seconds; it runs on this machine, or near it


@dataclass(frozen=True, slots=True)
class RunningRelay:
    """url: without a slash at the end. token: what it wants to be shown."""

    url: str
    token: str | None = field(default=None, repr=False)

    def get(self, path: str) -> Any:
        """The JSON of an answer with status 200. Raises RelayError with one sentence."""
        headers = (("x-ccrelay-token", self.token),) if self.token else ()
        here = Origin("the relay", self.url, CONNECT, PATIENCE)
        answer = ask(here, UpstreamRequest("GET", path, headers))
        try:
            told = json.loads(answer.body)
        except ValueError:
            raise RelayError(f"what listens on {self.url} is not ccrelay") from None
        if answer.status != 200:
            raise RelayError(_sentence(told) or f"what listens on {self.url} is not ccrelay")
        return told


def find(server: Server) -> RunningRelay:
    """The relay at the configured address. Raises RelayError if nobody answers there, or somebody else."""
    relay = RunningRelay(url(server.host, server.port, bool(server.tls_cert)), server.token)
    if server.port == 0:
        raise RelayError("no relay can be found, since server.port is 0")
    try:
        hello = relay.get("/api/hello")
    except (UpstreamFailure, UpstreamTimeout):
        raise RelayError(f"no relay listens on {relay.url}") from None
    if not isinstance(hello, dict) or hello.get("name") != "ccrelay":
        raise RelayError(f"what listens on {relay.url} is not ccrelay")
    relay.get("/v1/models?limit=1")  # is the token right?
    return relay


def url(host: str, port: int, tls: bool = False) -> str:
    """Where a client on this machine reaches a server that is bound to `host`."""
    return address(_ANYWHERE.get(host, host), port, tls)


def address(host: str, port: int, tls: bool = False) -> str:
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def fetch(provider: Provider, request: UpstreamRequest) -> Answer:
    """The whole answer to a question of a command's own. Raises RelayError."""
    return ask(origin(provider), request)


def ask(where: Origin, request: UpstreamRequest) -> Answer:
    with ExitStack() as closing:

        def watch(connection: Connection | None) -> None:  # one question: there is nothing to keep it for
            if connection is not None:
                closing.callback(connection.close)

        with ConnectionPool(os.environ).exchange(where, request, watch) as response:
            return Answer(response.status, response.headers, response.read())


def _sentence(told: Any) -> str | None:
    """Of an error in the shape of the Messages API."""
    error = told.get("error") if isinstance(told, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else None
