"""What a requested name means, and what stands in the list."""

from __future__ import annotations

import json
import threading
import time
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

from ccrelay_providers.core import catalog
from ccrelay_providers.core.catalog import Candidate, Catalog
from ccrelay_providers.core.relay import Answer
from ccrelay_providers.core.settings import Config, Provider, Route, RouteTarget, Routing, Server
from ccrelay_providers.wire.errors import NotFound, UpstreamFailure
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.provider import Model, UpstreamRequest, UpstreamResponse

ANTHROPIC = Provider("anthropic", "anthropic", models=(Model("claude-opus-5-5"), Model("claude-haiku-5-5")))
ZAI = Provider("zai", "zai", api_key="k", models=(Model("glm-5.2", name="GLM-5.2", context=1_000_000), Model("shared")))
LOCAL = Provider("local", "ollama", num_ctx=65536, models=(Model("qwen3:latest"), Model("shared")))
OLLAMA = Provider("ollama", "ollama", num_ctx=65536)
ECHO = Provider("echo", "echo", listed=False, models=(Model("echo"),))
CHEAP = Route("cheap", (RouteTarget("zai/glm-5.2", 3), RouteTarget("shared")))
HAIKU = Route("claude-haiku-*", (RouteTarget("zai/glm-5.2"),))


def never(provider: Provider, request: UpstreamRequest) -> UpstreamResponse:
    raise AssertionError("nothing is to be asked")


def catalog_of(*providers: Provider, routes: tuple[Route, ...] = (), fetch: catalog.Fetch = never) -> Catalog:
    return Catalog(Config(Path("relay.toml"), Server(), Routing(), routes, providers, ()), fetch)


class FakeOllama:
    """Has `qwen3:8b` and counts how often it is asked; fails while `down`."""

    def __init__(self) -> None:
        self.asked, self.down = 0, False
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, provider: Provider, request: UpstreamRequest) -> UpstreamResponse:
        self.asked += request.path == "/api/tags"
        self.gate.wait(20)
        if self.down:
            raise UpstreamFailure("ollama: cannot connect to 127.0.0.1:11434 (connection refused)")
        models = [{"name": "qwen3:8b", "model": "qwen3:8b", "details": {}}]
        body = (
            {"models": models}
            if request.path == "/api/tags"
            else {"capabilities": ["completion", "tools"], "model_info": {}, "version": "0.9.0"}
        )
        return Answer(200, Headers(), json.dumps(body).encode())


class TestResolving(unittest.TestCase):
    catalog = catalog_of(ANTHROPIC, ZAI, LOCAL, ECHO, routes=(CHEAP, HAIKU))

    def ids(self, name: str) -> list[str]:
        return [candidate.id for candidate in self.catalog.resolve(name)[0]]

    def test_each_kind_of_name(self) -> None:
        for name, ids in (
            ("zai/glm-5.2", ["zai/glm-5.2"]),
            ("anthropic-relay/zai/glm-5.2", ["zai/glm-5.2"]),
            ("zai/glm-5.2[1m]", ["zai/glm-5.2"]),
            ("claude-opus-5-5[1M]", ["anthropic/claude-opus-5-5"]),
            ("glm-5.2", ["zai/glm-5.2"]),
            ("shared", ["zai/shared", "local/shared"]),
            ("echo/echo", ["echo/echo"]),
            ("local/qwen3", ["local/qwen3:latest"]),
        ):
            self.assertEqual(self.ids(name), ids, name)

    def test_an_unknown_claude_model_is_anthropics(self) -> None:
        self.assertEqual(self.ids("claude-next-9"), ["anthropic/claude-next-9"])
        self.assertEqual(self.ids("anthropic/claude-next-9"), ["anthropic/claude-next-9"])

    def test_a_route_comes_after_an_exact_id_and_before_a_bare_name(self) -> None:
        self.assertEqual(self.ids("claude-haiku-5-5"), ["zai/glm-5.2"])
        self.assertEqual(self.ids("anthropic/claude-haiku-5-5"), ["anthropic/claude-haiku-5-5"])

    def test_a_routes_targets_carry_their_weights(self) -> None:
        candidates, route = self.catalog.resolve("cheap")
        self.assertIs(route, CHEAP)
        self.assertEqual(
            [(each.id, each.weight) for each in candidates],
            [("zai/glm-5.2", 3), ("zai/shared", 1), ("local/shared", 1)],
        )

    def test_unknown_names_are_told_the_near_ones(self) -> None:
        for name, near in (
            ("zai/glm-5.3", "zai/glm-5.2"),
            ("glm52", "zai/glm-5.2"),
            ("local/qwen", "local/qwen3:latest"),
        ):
            with self.assertRaisesRegex(NotFound, rf"^model: {name}; did you mean .*{near}"):
                self.catalog.resolve(name)

    def test_nothing_near_nothing_said(self) -> None:
        for name in ("xyzzy", "", "/", "anthropic-relay/", "a" * 100_000):
            with self.assertRaises(NotFound) as caught:
                self.catalog.resolve(name)
            self.assertEqual(caught.exception.message, f"model: {name}")

    def test_without_anthropic_a_background_call_still_resolves(self) -> None:
        found, _ = catalog_of(ZAI, ECHO).resolve("claude-haiku-5-5")
        self.assertEqual([each.id for each in found], ["zai/glm-5.2"])

    def test_a_bare_name_of_a_provider_that_is_off(self) -> None:
        off = Provider("zai", "zai", off="ZAI_API_KEY is not set", models=ZAI.models)
        with self.assertRaisesRegex(NotFound, "^model: glm-5.2; the provider zai is off: ZAI_API_KEY is not set$"):
            catalog_of(ANTHROPIC, off).resolve("glm-5.2")

    def test_a_provider_that_is_off_is_not_there(self) -> None:
        off = Provider("zai", "zai", off="ZAI_API_KEY is not set", models=ZAI.models)
        with self.assertRaisesRegex(NotFound, "the route 'cheap' leads to zai/glm-5.2, shared"):
            catalog_of(ANTHROPIC, off, routes=(CHEAP,)).resolve("cheap")


class TestList(unittest.TestCase):
    def test_in_order_and_without_what_is_not_listed(self) -> None:
        ids = [each.id for each in catalog_of(ZAI, ECHO, ANTHROPIC).listed()]
        self.assertEqual(ids, ["zai/glm-5.2", "zai/shared", "anthropic/claude-opus-5-5", "anthropic/claude-haiku-5-5"])

    def test_what_is_usual_for_the_type_is_filled_in_and_what_is_said_stays(self) -> None:
        blind = Provider("anthropic", "anthropic", models=(Model("a", vision=False), Model("b")))
        first, second = (each.model for each in catalog_of(blind).listed())
        self.assertEqual((first.vision, first.tools, second.vision), (False, True, True))

    def test_windows(self) -> None:
        for provider, model, window in (
            (ZAI, Model("m", context=1000), 1000),
            (ZAI, Model("m"), None),
            (OLLAMA, Model("m", context=40_960), 40_960),
            (OLLAMA, Model("m", context=262_144), 65_536),
        ):
            self.assertEqual(Candidate(provider, model).window, window)

    def test_a_target_has_all_a_provider_needs(self) -> None:
        target = Candidate(ZAI, Model("m")).target(1.5)
        self.assertEqual((target.label, target.api_key, target.calibration, target.type), ("zai/m", "k", 1.5, "zai"))
        self.assertNotIn("'k'", repr(target))


class TestDiscovery(unittest.TestCase):
    def setUp(self) -> None:
        self.ollama = FakeOllama()
        self.catalog = catalog_of(OLLAMA, fetch=self.ollama)

    def listed(self) -> list[str]:
        return [each.id for each in self.catalog.listed()]

    def test_the_list_comes_from_memory_while_the_upstream_is_asked(self) -> None:
        self.ollama.gate.clear()
        self.catalog.refresh()
        self.assertEqual(self.listed(), [])
        self.ollama.gate.set()
        self.catalog.refresh(wait=20)
        self.assertEqual(self.listed(), ["ollama/qwen3:8b"])

    def test_a_fresh_list_is_not_asked_for_again(self) -> None:
        for _ in range(3):
            self.catalog.refresh(wait=20)
            self.catalog._found["ollama"].asked_at -= catalog.RETRY
        self.assertEqual(self.ollama.asked, 1)

    def test_many_at_once_ask_once(self) -> None:
        threads = [threading.Thread(target=self.catalog.refresh, args=(20,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.ollama.asked, 1)

    def test_a_request_before_the_first_answer_waits_for_it(self) -> None:
        """Else the model would be loaded with the configured window, and then with its own."""
        self.ollama.gate.clear()
        self.catalog.refresh()
        threading.Timer(0.1, self.ollama.gate.set).start()
        [candidate], _ = self.catalog.resolve("ollama/qwen3:8b")
        self.assertTrue(candidate.model.tools)

    def test_but_not_for_ever(self) -> None:
        self.ollama.gate.clear()
        self.addCleanup(self.ollama.gate.set)
        self.catalog.refresh()
        with mock.patch.object(catalog, "FIRST_LOOK", 0.05):
            [candidate], _ = self.catalog.resolve("ollama/qwen3:8b")
        self.assertIsNone(candidate.model.tools)

    def test_a_failure_is_remembered_and_told(self) -> None:
        self.ollama.down = True
        self.catalog.refresh(wait=20)
        self.assertIn("connection refused", self.catalog.discovery_error(OLLAMA) or "")
        self.assertIsNone(self.catalog.discovery_error(ZAI))

    def test_what_an_upstream_that_is_down_has_is_not_known(self) -> None:
        self.ollama.down = True
        found, _ = self.catalog.resolve("ollama/anything")
        self.assertEqual(found[0].id, "ollama/anything")

    def test_an_unknown_model_is_looked_for_before_it_is_refused(self) -> None:
        self.assertEqual(self.catalog.resolve("ollama/qwen3:8b")[0][0].id, "ollama/qwen3:8b")
        with self.assertRaises(NotFound):
            self.catalog.resolve("ollama/nobody")

    def test_what_a_model_cannot_is_remembered(self) -> None:
        [candidate], _ = self.catalog.resolve("ollama/qwen3:8b")
        self.assertTrue(candidate.model.tools)
        self.assertIs(self.catalog.resolve("ollama/qwen3:8b")[0], self.catalog.resolve("ollama/qwen3:8b")[0])
        self.assertFalse(self.catalog.learn(candidate, "tools").model.tools)
        learned = self.catalog.learn(candidate, "thinking").model
        self.assertEqual((learned.tools, learned.thinking), (False, False))
        known = [self.catalog.resolve(name)[0][0] for name in ("ollama/qwen3:8b", "qwen3:8b")]
        for again in (*known, *self.catalog.listed()):
            self.assertIs(again.model.tools, False)

    def test_who_learned_is_still_a_fallback(self) -> None:
        [candidate], _ = self.catalog.resolve("ollama/qwen3:8b")
        self.assertTrue(self.catalog.learn(replace(candidate, fallback=True), "tools").fallback)

    def test_a_first_look_that_fails_is_the_start_page_s_to_tell(self) -> None:
        said: list[str] = []
        self.catalog._say, self.ollama.down = said.append, True
        self.catalog.refresh(wait=20)
        self.assertEqual(said, [])

    def test_a_target_knows_the_servers_version(self) -> None:
        self.catalog.refresh(wait=20)
        self.assertEqual(next(self.catalog.listed()).target().version, (0, 9, 0))

    def test_configured_models_are_completed(self) -> None:
        few = Provider("ollama", "ollama", models=(Model("qwen3:8b", tools=False), Model("other")))
        known = catalog_of(few, fetch=self.ollama)
        known.refresh(wait=20)
        first, second = (each.model for each in known.listed())
        self.assertEqual((first.tools, first.thinking, second), (False, False, Model("other")))

    def test_down_and_back_is_a_line_each(self) -> None:
        said: list[str] = []
        self.catalog._say = said.append
        for self.ollama.down in (False, True, True, False, False):
            self.catalog._found["ollama"].asked_at -= catalog.FRESH
            self.catalog.refresh(wait=20)
        self.assertEqual(len(said), 2)
        self.assertIn("connection refused", said[0])
        self.assertEqual(said[1], "ollama: is back")

    def test_nobody_has_to_ask(self) -> None:
        """The heartbeat does, at a time of its own, which is soon enough for a new model to appear within 30 s."""
        start = time.monotonic()
        self.assertLess(self.catalog.due() - start, 28)
        for now, asked in ((start, 0), (start + 26, 1), (start + 27, 1), (start + 52, 2)):
            self.catalog._found["ollama"].asked_at -= catalog.RETRY
            self.catalog.beat(now)
            for thread in threading.enumerate():
                if thread.name.startswith("discover"):
                    thread.join(20)
            self.assertEqual(self.ollama.asked, asked)
            self.assertGreater(self.catalog.due(), now)

    def test_who_tells_nothing_is_never_due(self) -> None:
        self.assertEqual(catalog_of(ZAI).due(), float("inf"))

    def test_an_upstream_over_the_internet_is_asked_less_often(self) -> None:
        cloud = catalog_of(replace(OLLAMA, base_url="https://ollama.com"), fetch=self.ollama)
        cloud.beat(time.monotonic() + 26)
        self.assertGreater(cloud.due(), time.monotonic() + 200)

    def test_questions_are_asked_at_the_same_time(self) -> None:
        both = threading.Barrier(3)

        def fetch(provider: Provider, request: UpstreamRequest) -> UpstreamResponse:
            both.wait(20)
            return Answer(200, Headers(), request.path.encode())

        requests = [UpstreamRequest("GET", f"/{number}", ()) for number in range(3)]
        answers = catalog_of(OLLAMA, fetch=fetch).ask(OLLAMA, requests)
        self.assertEqual([answer.read() for answer in answers if isinstance(answer, Answer)], [b"/0", b"/1", b"/2"])

    def test_a_later_failure_keeps_what_was_found(self) -> None:
        self.catalog.refresh(wait=20)
        self.ollama.down = True
        self.catalog._found["ollama"].asked_at -= catalog.FRESH
        self.catalog.refresh(wait=20)
        self.assertEqual(self.listed(), ["ollama/qwen3:8b"])
        self.assertIsNotNone(self.catalog.discovery_error(OLLAMA))


if __name__ == "__main__":
    unittest.main()
