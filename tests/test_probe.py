"""What a provider's answer to a harmless question means."""

from __future__ import annotations

import unittest
from collections.abc import Sequence
from pathlib import Path

from ccrelay_providers.commands.probe import probe, probes
from ccrelay_providers.core.catalog import Catalog
from ccrelay_providers.core.relay import Answer
from ccrelay_providers.core.settings import Config, Provider, Routing, Server
from ccrelay_providers.wire.errors import UpstreamFailure
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.provider import Model, UpstreamRequest

JSON = Headers([("content-type", "application/json")])
KEYED = Provider("zai", "zai", "http://z", api_key="k", models=(Model("m"),))
PASSED = Provider("claude", "anthropic", "http://a")


def catalog(answer: Answer | UpstreamFailure, *providers: Provider) -> Catalog:
    def fetch(provider: Provider, request: UpstreamRequest) -> Answer:
        if isinstance(answer, UpstreamFailure):
            raise answer
        return answer

    return Catalog(Config(Path("relay.toml"), Server(), Routing(), (), providers, ()), fetch)


def outcome(provider: Provider, answer: Answer | UpstreamFailure) -> tuple[str, bool, bool]:
    """(key, whether there is a problem, whether there is a warning)."""
    found = probe(provider, catalog(answer, provider))
    return found.key, bool(found.problem), bool(found.warning)


class TestAnswers(unittest.TestCase):
    def test_what_each_status_means(self) -> None:
        for provider, status, body, expected in (
            (KEYED, 200, b'{"data":[]}', ("key accepted", False, False)),
            (PASSED, 200, b"{}", ("no key", False, False)),
            (PASSED, 401, b"{}", ("client's key", False, False)),
            (KEYED, 401, b"{}", ("no key", True, False)),
            (KEYED, 404, b"{}", ("key not tried", False, True)),
            (KEYED, 429, b"{}", ("key accepted", False, True)),
            (KEYED, 500, b"{}", ("no key", True, False)),
            (PASSED, 200, b"<html>", ("no key", True, False)),
        ):
            with self.subTest(provider=provider.name, status=status, body=body):
                self.assertEqual(outcome(provider, Answer(status, JSON, body)), expected)

    def test_no_answer(self) -> None:
        found = probe(KEYED, catalog(UpstreamFailure("zai: cannot connect"), KEYED))
        self.assertEqual((found.problem, found.seconds), ("zai: cannot connect", None))

    def test_who_answers_by_himself_is_not_asked(self) -> None:
        echo = Provider("echo", "echo", models=(Model("echo"),))
        found = probe(echo, catalog(UpstreamFailure("never"), echo))
        self.assertEqual((found.problem, found.seconds, found.models), ("", None, (Model("echo"),)))

    def test_the_order_is_the_configuration_s_and_who_is_off_is_not_asked(self) -> None:
        off = Provider("off", "zai", off="X is not set")
        providers: Sequence[Provider] = (off, KEYED, PASSED)
        found = probes(providers, catalog(Answer(200, JSON, b"{}"), *providers))
        self.assertEqual([each.provider.name for each in found], ["off", "zai", "claude"])
        self.assertEqual([each.seconds is None for each in found], [True, False, False])


if __name__ == "__main__":
    unittest.main()
