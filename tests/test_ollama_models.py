"""What is installed at an Ollama, and what of it is asked for again."""

from __future__ import annotations

import json
import unittest
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from ccrelay_providers.wire.errors import RelayError, UpstreamFailure
from ccrelay_providers.wire.ollama_models import listing, loaded_window, writes_calls
from ccrelay_providers.wire.provider import Listing, Model, UpstreamRequest, UpstreamResponse
from tests.test_ollama import Response
from tests.test_ollama_chat import QWEN

Json = dict[str, Any]


class Server:
    """Has one model; counts how often it shows it. Answers None with a failure."""

    DETAILS: ClassVar[Json] = {"parameter_size": "8.2B", "quantization_level": "Q4_K_M", "family": "qwen3"}

    def __init__(self, shown: Json | None, version: Json | None = None, **entry: Any) -> None:
        self.entry = {"model": "qwen3:8b", "details": self.DETAILS, **entry}
        self.answers = {"/api/tags": {"models": [self.entry]}, "/api/show": shown, "/api/version": version}
        self.shows = 0

    def __call__(self, requests: Sequence[UpstreamRequest]) -> list[UpstreamResponse | RelayError]:
        return [self.one(request) for request in requests]

    def one(self, request: UpstreamRequest) -> UpstreamResponse | RelayError:
        assert request.patience
        self.shows += request.path == "/api/show"
        answer = self.answers[request.path]
        return UpstreamFailure("down") if answer is None else Response(json.dumps(answer).encode())

    def models(self) -> list[Model]:
        return list(listing(self, QWEN, Listing()).models)


class Discovery(unittest.TestCase):
    SHOWN: ClassVar[Json] = {
        "capabilities": ["completion", "tools", "thinking"],
        "model_info": {"general.architecture": "qwen3", "qwen3.context_length": 40960, "x.context_length": 1},
    }

    def test_facts(self) -> None:
        wanted = Model("qwen3:8b", "qwen3:8b", 40960, None, False, True, True, "8.2B Q4_K_M", True)
        self.assertEqual(Server(self.SHOWN).models(), [wanted])

    def test_latest_goes_without_saying(self) -> None:
        [model] = Server(self.SHOWN, model="llava:latest").models()
        self.assertEqual((model.id, model.name), ("llava:latest", "llava"))

    def test_embeddings_are_left_out(self) -> None:
        self.assertEqual(Server({"capabilities": ["embedding"]}).models(), [])
        self.assertEqual(Server({"template": ""}, details={"families": ["nomic-bert"]}).models(), [])

    def test_old_servers_tell_no_capabilities(self) -> None:
        [model] = Server({"template": "{{ if .Tools }}", "model_info": {"llama.context_length": 8192}}).models()
        self.assertEqual((model.tools, model.vision, model.thinking, model.context), (True, False, False, 8192))
        [model] = Server({"template": "{{ .Prompt }}", "projector_info": {}}).models()
        self.assertEqual((model.tools, model.vision), (False, True))

    def test_a_model_that_cannot_be_shown_is_listed(self) -> None:
        [model] = Server(None).models()
        self.assertEqual((model.tools, model.context, model.detail), (None, None, "8.2B Q4_K_M"))

    def test_what_the_listing_itself_tells(self) -> None:
        details = {**Server.DETAILS, "context_length": 4096}
        can = ["completion", "vision"]
        [model] = Server(None, capabilities=can, details=details, remote_host="https://ollama.com").models()
        self.assertEqual((model.vision, model.context, model.detail), (True, 4096, "8.2B Q4_K_M cloud"))

    def test_something_else_than_a_list(self) -> None:
        for raw in (b"<html>", b"[]"):
            with self.assertRaises(RelayError):
                listing(lambda requests, raw=raw: [Response(raw) for _ in requests], QWEN, Listing())  # type: ignore[misc, arg-type]
        server = Server(None)
        server.answers["/api/tags"] = {"models": None}
        self.assertEqual(server.models(), [])

    def test_a_server_that_is_down_is_a_failure(self) -> None:
        server = Server(None)
        server.answers["/api/tags"] = None
        with self.assertRaisesRegex(UpstreamFailure, "down"):
            server.models()

    def test_only_what_is_new_is_shown_again(self) -> None:
        server = Server(self.SHOWN, digest="sha256:1")
        first = listing(server, QWEN, Listing())
        self.assertEqual(listing(server, QWEN, first), first)
        self.assertEqual(server.shows, 1)
        server.entry["digest"] = "sha256:2"
        listing(server, QWEN, first)
        self.assertEqual(server.shows, 2)

    def test_what_could_not_be_shown_is_asked_for_again(self) -> None:
        server = Server(None, digest="sha256:1")
        before = listing(server, QWEN, Listing())
        server.answers["/api/show"] = self.SHOWN
        self.assertEqual(listing(server, QWEN, before).models[0].context, 40960)

    def test_versions(self) -> None:
        for told, version in (
            ("0.32.14", (0, 32, 14)),
            ("0.12.4-rc0", (0, 12, 4)),
            ("v0.9", (0, 9, 0)),
            ("0.0.0", ()),
            (None, ()),
            ("new", ()),
        ):
            self.assertEqual(listing(Server(self.SHOWN, {"version": told}), QWEN, Listing()).version, version, told)

    def test_a_version_once_told_is_kept(self) -> None:
        self.assertEqual(listing(Server(self.SHOWN), QWEN, Listing(version=(0, 9, 0))).version, (0, 9, 0))


class LoadedWindow(unittest.TestCase):
    def window(self, *models: Json) -> int | None:
        return loaded_window(lambda _: [Response(json.dumps({"models": models}).encode())], QWEN)

    def test_of_this_model(self) -> None:
        other, this = {"model": "a", "context_length": 1}, {"model": "qwen3:8b", "context_length": 2}
        self.assertEqual(self.window(other, this), 2)

    def test_unknown(self) -> None:
        self.assertIsNone(self.window())
        self.assertIsNone(self.window({"name": "qwen3:8b"}))  # before 0.10


class Families(unittest.TestCase):
    def test_known_to_write_calls(self) -> None:
        for name in ("qwen2.5-coder:7b", "hf.co/x/Hermes-3", "llama3.2", "glm-4.7-flash"):
            self.assertTrue(writes_calls(Model(name)), name)
        self.assertFalse(writes_calls(Model("gpt-oss")))
        self.assertTrue(writes_calls(Model("mine"), "qwen2"))

    def test_the_configuration_counts_more(self) -> None:
        self.assertFalse(writes_calls(replace(Model("qwen3"), text_tools=False)))
        self.assertTrue(writes_calls(Model("gemma", text_tools=True)))


if __name__ == "__main__":
    unittest.main()
