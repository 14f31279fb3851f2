"""What relay.toml can say: frozen dataclasses whose fields are its keys.

Names are the keys, types what is accepted, defaults what holds when a key is absent. `config.load` fills them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ..wire.provider import Model

Strategy = Literal["failover", "round-robin", "weighted", "shuffle", "least-busy"]
ProviderType = Literal["anthropic", "zai", "ollama", "echo"]
TYPES: tuple[str, ...] = get_args(ProviderType)


@dataclass(frozen=True, slots=True)
class Server:
    host: str = "127.0.0.1"
    port: int = 8787
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    max_body_mb: float = 32
    log: Literal["text", "json"] = "text"
    ping_interval: float = 10
    head_timeout: float = 10
    max_connections: int = 1024
    tls_cert: str | None = None  # absolute, as is the next
    tls_key: str | None = None


@dataclass(frozen=True, slots=True)
class RouteTarget:
    model: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Route:
    pattern: str
    targets: tuple[RouteTarget, ...]
    strategy: Strategy | None = None  # None: routing.strategy


@dataclass(frozen=True, slots=True)
class Routing:
    strategy: Strategy = "failover"
    sticky: bool = True
    use_lines: bool = True
    first_event_patience: float = 10
    max_attempts: int = 0  # 0: every candidate once
    total_patience: float = 600
    fallback: tuple[str, ...] = ()
    announce: bool = False


@dataclass(frozen=True, slots=True)
class Provider:
    name: str
    type: ProviderType
    base_url: str = ""
    api_key: str | None = field(default=None, repr=False)
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    enabled: bool = True
    listed: bool = True
    connect_timeout: float = 10
    idle_timeout: float = 300
    max_concurrent: int = 0  # 0: no limit
    max_queue: int = 64
    num_ctx: int | None = None
    keep_alive: str | int | None = None
    models: tuple[Model, ...] = ()
    off: str | None = None  # why it cannot be used; None when it can

    @property
    def keys(self) -> tuple[str, ...]:
        """Its own credentials; none where the client's is passed through, or none is needed."""
        return self.api_keys or ((self.api_key,) if self.api_key else ())

    def key_name(self, number: int) -> str:
        """`zai (key 2 of 3)`: all that is ever said of one of several keys."""
        return f"{self.name} (key {number + 1} of {len(self.keys)})"

    @property
    def tells(self) -> bool:
        """Whether the upstream is asked what it has, what that can do, and which version it is."""
        return self.type == "ollama"

    @property
    def discover(self) -> bool:
        """Whether everything that it has is offered."""
        return self.tells and not self.models


@dataclass(frozen=True, slots=True)
class Config:
    path: Path
    server: Server
    routing: Routing
    routes: tuple[Route, ...]
    providers: tuple[Provider, ...]
    warnings: tuple[str, ...]


# --- What types of providers differ in ---

DEFAULTS: dict[str, dict[str, Any]] = {  # on top of Provider's own
    "anthropic": {"base_url": "https://api.anthropic.com"},
    "zai": {"base_url": "https://api.z.ai/api/anthropic"},
    "ollama": {"base_url": "http://127.0.0.1:11434", "idle_timeout": 600, "num_ctx": 65536, "keep_alive": "30m"},
    "echo": {"models": ["echo"]},
}
ONLY = {  # keys that not every type takes
    "num_ctx": ("ollama",),
    "keep_alive": ("ollama",),
    "base_url": ("anthropic", "zai", "ollama"),
    "api_key": ("anthropic", "zai", "ollama"),
    "api_keys": ("anthropic", "zai", "ollama"),
}
SECRETS = ("api_key", "api_keys", "token")
PICKER = "anthropic-relay"  # begins the ids made for Claude Code's picker, so it can be no provider's name
