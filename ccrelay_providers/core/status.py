"""What `/status` tells: how every provider, key and model is, and how much is running. No secret is in it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from .. import __version__
from .catalog import Catalog
from .gate import Gate
from .health import Health
from .keys import Keys
from .router import Router
from .sessions import Sessions
from .settings import Config, Provider

Json = dict[str, Any]


class Status:
    def __init__(
        self,
        config: Config,
        catalog: Catalog,
        health: Health,
        router: Router,
        gates: Mapping[str, Gate],
        keys: Keys,
        sessions: Sessions,
    ) -> None:
        self._config, self._catalog, self._health = config, catalog, health
        self._router, self._gates, self._keys, self._sessions = router, gates, keys, sessions
        self._started = time.monotonic()

    def snapshot(self, session: str | None = None) -> Json:
        """With what is known of a session, if one is named.

        Times are whole seconds; None: never, or not known. The fields are explained in docs/reliability.md.
        """
        providers = [self._provider(provider) for provider in self._config.providers]
        return {
            "version": __version__,
            "uptime_seconds": int(time.monotonic() - self._started),
            "running": sum(provider["running"] for provider in providers),
            "queued": sum(provider["queued"] for provider in providers),
            "strategy": self._config.routing.strategy,
            "fallback": list(self._config.routing.fallback),
            "providers": providers,
            **({} if session is None else {"session": self._sessions.told(session)}),
        }

    def _provider(self, provider: Provider) -> Json:
        queued = self._gates[provider.name].waiting
        discovered = self._catalog.discovery_error(provider)
        return {
            "name": provider.name,
            "type": provider.type,
            "base_url": provider.base_url or None,
            "off": provider.off,
            **self._rest(provider.name),
            "unreachable": discovered,
            "running": max(0, self._router.load(provider.name) - queued),
            "queued": queued,
            "max_concurrent": provider.max_concurrent or None,
            "max_queue": provider.max_queue,
            "keys": self._key_rows(provider),
            "models": [] if provider.off else self._models(provider),
        }

    def _key_rows(self, provider: Provider) -> list[Json]:
        """Of one key its provider's row tells all."""
        if len(provider.keys) < 2:
            return [{"name": "key 1 of 1"} for _ in provider.keys]
        names = [provider.key_name(number) for number in range(len(provider.keys))]
        return [
            {
                "name": name.removeprefix(f"{provider.name} (").removesuffix(")"),
                "used": self._keys.used(provider, number),
                **self._rest(name),
            }
            for number, name in enumerate(names)
        ]

    def _models(self, provider: Provider) -> list[Json]:
        ids = [model.id for model in self._catalog.models(provider)]
        return [{"id": f"{provider.name}/{id}", **self._rest(f"{provider.name}/{id}")} for id in ids]

    def _rest(self, name: str) -> Json:
        """health: `well`, `resting`, or `probing`: the rest is over, and nobody has had an answer since."""
        state = self._health.state(name)
        left = state.resting_until - self._health.clock()
        forever = left == float("inf")
        return {
            "health": "well" if not state.failures else "resting" if left > 0 else "probing",
            "resting_seconds": round(left) if left > 0 and not forever else None,
            "resting_until": None if left <= 0 or forever else _stamp(time.time() + left),
            "failures": state.failures,
            "reason": state.reason or None,
        }


def _stamp(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
