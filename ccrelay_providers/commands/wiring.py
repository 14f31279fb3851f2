"""What Claude Code's environment has to say so that it talks to the relay, each variable with its reason.

Nothing is written; the user's settings are only looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..core.settings import Config
from .client import OTHER_CLOUDS, Client
from .lineup import Lineup
from .picker import foreign, named, tier_slots

ANY_WORD = "ccrelay"
SMALLEST_WINDOW = 32_000  # tokens; what is smaller cannot hold Claude Code's own prompt
LONGEST_SILENCE = 1_800_000  # ms; Claude Code takes no more


@dataclass(frozen=True, slots=True)
class Variable:
    """value: None takes the variable away. live: False only shows what one might set."""

    name: str
    value: str | None
    reason: str
    live: bool = True


def variables(offered: Lineup, config: Config, url: str, client: Client, wanted: str = "") -> Iterator[Variable]:
    """What `env` and `claude` have in common. wanted: the model that the session begins with, if that is known."""
    yield Variable("ANTHROPIC_BASE_URL", url, "where the relay listens")
    yield from credentials(offered, config, client, wanted)
    for name in OTHER_CLOUDS:
        if client.value(name):
            yield Variable(name, None, "it would send Claude Code past the relay")
    if any(client.value(name) for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")):
        yield Variable("NO_PROXY", _without_proxy(client, url), "the relay is reached without the proxy")
    yield Variable("CLAUDE_CODE_GATEWAY_HINT_HEADERS", "1", "says which calls are in the background: yours go first")
    yield from slots(offered, config, client)
    yield from default_model(offered, config, client)
    if any(provider.type == "ollama" and not provider.off for provider in config.providers):
        reason = "a local model may load and read for many minutes before its first word"
        yield Variable("CLAUDE_STREAM_IDLE_TIMEOUT_MS", str(LONGEST_SILENCE), reason)


# --- credentials


def credentials(offered: Lineup, config: Config, client: Client, wanted: str) -> Iterator[Variable]:
    """The relay's token where it wants one; else any word where Claude Code would ask for a login that nobody needs."""
    key = client.value("ANTHROPIC_API_KEY")
    passes = passes_through(config)
    own = _has_own(client)
    if config.server.token and passes and own:
        headers = _with_header(client.value("ANTHROPIC_CUSTOM_HEADERS"), config.server.token)
        yield Variable("ANTHROPIC_CUSTOM_HEADERS", headers, "the relay's token; your own credential goes to Anthropic")
    elif config.server.token:
        yield Variable("ANTHROPIC_AUTH_TOKEN", config.server.token, "the relay's token (server.token)")
    elif passes and not own and not _own_token(config, client):
        reason = "no Claude login found; any word will do for the other providers' models. Claude's own need a login"
        needed = bool(foreign(offered.models, config)) or wanted.partition("/")[0] in _without_client(config)
        yield Variable("ANTHROPIC_AUTH_TOKEN", ANY_WORD, reason, live=needed)
    elif not passes:
        yield Variable("ANTHROPIC_AUTH_TOKEN", ANY_WORD, "Claude Code wants a credential; the relay takes any word")
    if passes and own and client.value("ANTHROPIC_AUTH_TOKEN") and not _own_token(config, client):
        yield Variable("ANTHROPIC_AUTH_TOKEN", None, "it was for the relay alone, and would go before your own")
    if key and not passes:
        yield Variable("ANTHROPIC_API_KEY", None, "the relay needs none from you, and Claude Code would ask about it")
    elif key and client.logged_in:
        reason = "is set, so Claude Code uses it instead of your login, and Anthropic bills it; this takes it away"
        yield Variable("ANTHROPIC_API_KEY", None, reason, live=False)


def passes_through(config: Config) -> bool:
    """Whether a provider is asked with the client's own credential."""
    return any(each.type == "anthropic" and not each.off and not each.api_key for each in config.providers)


def _has_own(client: Client) -> bool:
    """Whether Claude Code has a credential for Anthropic."""
    return client.logged_in or client.key_helper or bool(client.value("ANTHROPIC_API_KEY"))


def _own_token(config: Config, client: Client) -> str:
    """Not what an earlier `env` has set for the relay's sake."""
    token = client.value("ANTHROPIC_AUTH_TOKEN")
    return "" if token in (ANY_WORD, config.server.token) else token


def _without_client(config: Config) -> set[str]:
    """The providers that need nothing from the client."""
    return {each.name for each in config.providers if not each.off and (each.type != "anthropic" or each.api_key)}


def _with_header(headers: str, token: str) -> str:
    kept = [line for line in headers.splitlines() if line and not line.lower().startswith("x-ccrelay-token:")]
    return "\n".join([*kept, f"x-ccrelay-token: {token}"])


def _without_proxy(client: Client, url: str) -> str:
    host = url.partition("://")[2].rpartition(":")[0].strip("[]")
    names = [name for name in (client.value("NO_PROXY") or client.value("no_proxy")).split(",") if name]
    return ",".join(names if host in names or "*" in names else [*names, host])


# --- models


def slots(offered: Lineup, config: Config, client: Client) -> Iterator[Variable]:
    """The rows Opus, Sonnet, Haiku and Fable, where a route answers them; what the user has set stays."""
    for tier, name, route in tier_slots(offered.models, config):
        slot = f"ANTHROPIC_DEFAULT_{tier}_MODEL"
        if client.value(slot):
            continue
        first = next(iter(named(route.targets[0].model, offered.models)), None)
        label = first["display_name"] if first else route.targets[0].model
        yield Variable(slot, name, f"the route {route.pattern} answers it")
        yield Variable(f"{slot}_NAME", f"{label} as {tier.capitalize()}", "what it is then")
        yield Variable(f"{slot}_DESCRIPTION", (first or {}).get("description") or f"route {route.pattern}", "the same")


def default_model(offered: Lineup, config: Config, client: Client) -> Iterator[Variable]:
    """Where Claude's own models cannot answer, a session that names none begins with the first that can."""
    others = foreign(offered.models, config)
    claudes = any(each.type == "anthropic" and not each.off for each in config.providers)
    able = claudes and (not passes_through(config) or _has_own(client) or _own_token(config, client))
    if others and not able and not client.value("ANTHROPIC_DEFAULT_MODEL"):
        reason = "for sessions that name no model: Claude's own cannot answer here"
        yield Variable("ANTHROPIC_DEFAULT_MODEL", others[0]["id"], reason)


def shared_window(windows: list[int | None]) -> int | None:
    """The one number that Claude Code takes for all models it knows nothing of: the smallest in which it can work."""
    return min((window for window in windows if window and window >= SMALLEST_WINDOW), default=None)
