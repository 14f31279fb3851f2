"""The matrix: from every provider to every other and back, in every situation, through the socket.

The upstreams refuse what the real ones refuse, Anthropic with thinking bound to its prefix. A conversation has three
turns: one that brings about the situation, one at the other provider, and one back where it began. The move is made by
the model's name, where the client leaves out other models' thinking; or behind one name by three relays that differ in
their route, as if the route had been changed and the relay restarted each time.
"""

from __future__ import annotations

import inspect
import itertools
import re
import unittest
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from ccrelay_providers.wire import history, plain
from tests.conversations import LONG_NAME, PNG, calls_in
from tests.relay import CLIENT, Json, Relay
from tests.upstreams import Upstream, rules

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
[routes]
smart = ["{route}"]
[providers.anthropic]
type = "anthropic"
base_url = "{anthropic}"
models = ["claude-opus-5-5"]
[providers.zai]
type = "zai"
base_url = "{zai}/api/anthropic"
api_key = "zai-secret"
models = [{{ id = "glm-5.2", context = 1000000, max_output = 131072 }}, {{ id = "glm-4.5v", context = 64000 }}]
[providers.ollama]
type = "ollama"
base_url = "{ollama}"
"""
MODELS = {"anthropic": "anthropic/claude-opus-5-5", "zai": "zai/glm-5.2", "ollama": "ollama/qwen3:8b"}
PATHS = ("/v1/messages?beta=true", "/api/anthropic/v1/messages", "/api/chat")
HEADERS = {**CLIENT, "anthropic-beta": "claude-code-20250219,context-management-2025-06-27"}
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}}
BASH = {"name": "Bash", "description": "runs", "input_schema": SCHEMA}
LONG = {**BASH, "name": LONG_NAME}
FOUND = {**BASH, "name": "Found", "defer_loading": True}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
THOUGHT = re.compile(r"Let me think about: (?:[^\"\\]|\\n)*?(w-\d+-x)")
WORD = re.compile(r"w-\d+-x")


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def document(words: str) -> Json:
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": words}}


PDF: Json = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}


@dataclass
class Expected:
    """What a provider must have been asked: with these words, with the thinking about these and about no others."""

    situation: str
    kind: str
    words: set[str]
    thoughts: set[str]


@dataclass
class Session:
    """A client and its conversation."""

    ask: Callable[[str, Json], Json]
    moving: bool
    situation: str
    expected: list[Expected]
    words: Callable[[], str]
    messages: list[tuple[Json, str]] = field(default_factory=list)
    tools: list[Json] = field(default_factory=lambda: [BASH])

    def say(self, kind: str, *content: Any) -> list[Json]:
        """Says something, with the results of the calls that wait for them; the answer's blocks."""
        self.tell("user", *content)
        return self.answered(kind)

    def tell(self, role: str, *content: Any, name: str = "") -> None:
        whole: Any = content[0] if len(content) == 1 and isinstance(content[0], str) else list(content)
        self.messages.append(({"role": role, "content": whole}, name))

    def answered(self, kind: str) -> list[Json]:
        model = "smart" if self.moving else MODELS[kind]
        body: Json = {"model": model, "max_tokens": 1000, "thinking": {"type": "adaptive"}, "tools": self.tools}
        body["messages"] = [self.sent(message, name, model) for message, name in self.messages]
        self.expect(kind, body)
        content: list[Json] = self.ask(kind, body)["content"]
        self.messages.append(({"role": "assistant", "content": content}, f"{kind} {model}"))
        return content

    def sent(self, message: Json, name: str, model: str) -> Json:
        """As Claude Code sends it: a block with its cache mark left out, and the thinking of models by another name."""
        if message["role"] != "assistant" or not name or name.endswith(f" {model}"):
            return message
        return {**message, "content": [block for block in message["content"] if "thinking" not in block["type"]]}

    def expect(self, kind: str, body: Json) -> None:
        plain, thoughts = set(), set()
        for (_, name), message in zip(self.messages, body["messages"], strict=True):
            blocks = message["content"] if isinstance(message["content"], list) else [text(message["content"])]
            for block in blocks:
                if block["type"] != "thinking":
                    plain |= set(WORD.findall(str(block)))
                elif name.startswith(f"{kind} "):
                    thoughts |= set(THOUGHT.findall(f"{block['thinking']}"))
        self.expected.append(Expected(self.situation, kind, plain, thoughts))

    def results(self, content: Any = None) -> list[Json]:
        """The results of the calls that were made last."""
        made = calls_in(self.messages[-1][0]) if self.messages else []
        return [{"type": "tool_result", "tool_use_id": call["id"], "content": content or self.words()} for call in made]


# --- the situations: each a first turn at one provider, and what the client says next


def plain_text(session: Session, at: str) -> list[Any]:
    session.say(at, text(session.words()))
    return [text(session.words())]


def thinking(session: Session, at: str) -> list[Any]:
    answer = session.say(at, text(session.words()))
    assert answer[0]["type"] == "thinking"
    return [text(session.words())]


def parallel_tools(session: Session, at: str) -> list[Any]:
    session.say(at, text(f"{session.words()} USETWO"))
    results = session.results()
    assert len({result["tool_use_id"] for result in results}) == 2
    return results


def long_tool_name(session: Session, at: str) -> list[Any]:
    session.tools = [LONG]
    session.say(at, text(f"{session.words()} USETOOL"))
    assert calls_in(session.messages[-1][0])[0]["name"] == LONG_NAME
    return session.results()


def images_and_documents(session: Session, at: str) -> list[Any]:
    session.say(at, IMAGE, document(session.words()), PDF, text(session.words()))
    return [text(session.words()), IMAGE]


def images_and_documents_in_results(session: Session, at: str) -> list[Any]:
    session.say(at, text(f"{session.words()} USETOOL"))
    return session.results([text(session.words()), IMAGE, document(session.words()), PDF])


def server_tools(session: Session, at: str) -> list[Any]:
    session.tools = [BASH, SEARCH]
    answer = session.say(at, text(f"{session.words()} USESEARCH"))
    assert (at == "anthropic") == any(block["type"] == "web_search_tool_result" for block in answer)
    return [text(session.words())]


def redacted_thinking(session: Session, at: str) -> list[Any]:
    answer = session.say(at, text(f"{session.words()} USEREDACTED"))
    assert (at == "anthropic") == any(block["type"] == "redacted_thinking" for block in answer)
    return [text(session.words())]


def tool_reference(session: Session, at: str) -> list[Any]:
    session.tools = [BASH, FOUND]
    session.say(at, text(f"{session.words()} USETOOL"))
    return session.results([{"type": "tool_reference", "tool_name": "Found"}])


def system_turn(session: Session, at: str) -> list[Any]:
    session.tell("user", text(session.words()))
    session.tell("system", session.words())
    session.answered(at)
    return [text(session.words())]


def system_turn_in_a_loop(session: Session, at: str) -> list[Any]:
    session.say(at, text(f"{session.words()} USETOOL"))
    session.tell("user", *session.results())
    session.tell("system", text(session.words()))
    session.answered(at)
    return [text(session.words())]


def compaction_summary(session: Session, at: str) -> list[Any]:
    session.say(at, f"This session is being continued from a previous conversation: {session.words()}")
    return [text(session.words())]


def compaction_block(session: Session, at: str) -> list[Any]:
    session.tell("user", text(session.words()))
    session.tell("assistant", {"type": "compaction", "content": f"Summary: {session.words()}"}, text(session.words()))
    session.say(at, text(session.words()))
    return [text(session.words())]


def string_content(session: Session, at: str) -> list[Any]:
    session.tell("user", session.words())
    session.tell("assistant", session.words())
    session.say(at, session.words())
    return [session.words()]


def anything(session: Session, random: Random) -> list[Any]:
    """What a client may say next."""
    if random.random() < 0.2:
        session.tell("user", *session.results(), text(session.words()))
        session.tell("system", session.words())
        return []
    pasted = random.choice(([], [], [IMAGE], [document(session.words())], [PDF]))
    wanted = random.choice(("", "", "USETOOL", "USETWO", "USESEARCH", "USEREDACTED"))
    content = random.choice((None, [text(session.words()), IMAGE], [{"type": "tool_reference", "tool_name": "Found"}]))
    return [*session.results(content), *pasted, text(f"{session.words()} {wanted}")]


SITUATIONS = (
    plain_text, thinking, parallel_tools, long_tool_name, images_and_documents, images_and_documents_in_results,
    server_tools, redacted_thinking, tool_reference, system_turn, system_turn_in_a_loop, compaction_summary,
    compaction_block, string_content,
)  # fmt: skip


class MatrixTests(unittest.TestCase):
    upstreams: ClassVar[dict[str, Upstream]]
    relays: ClassVar[dict[str, Relay]]

    @classmethod
    def setUpClass(cls) -> None:
        with ExitStack() as stack:
            bound = {"anthropic": ("--bind-prefix",)}
            cls.upstreams = {kind: stack.enter_context(Upstream(kind, *bound.get(kind, ()))) for kind in MODELS}
            urls = {kind: upstream.url for kind, upstream in cls.upstreams.items()}
            configs = {kind: CONFIG.format(route=model, **urls) for kind, model in MODELS.items()}
            cls.relays = {kind: stack.enter_context(Relay(config)) for kind, config in configs.items()}
            cls.addClassCleanup(stack.pop_all().close)

    def setUp(self) -> None:
        self.count = 0
        for upstream in self.upstreams.values():
            upstream.control("POST", "/__reset")

    def words(self) -> str:
        self.count += 1
        return f"w-{self.count}-x"

    def ask(self, kind: str, body: Json) -> Json:
        answer = self.relays[kind].messages(body, HEADERS)
        self.assertEqual(200, answer.status, f"at {kind}: {answer.body.decode()}")
        self.assertEqual(kind, answer.headers["x-ccrelay-provider"])
        message: Json = answer.json
        return message

    def cell(self, begin: str, other: str, *, moving: bool) -> None:
        """All situations for one way of going from one provider to another and back."""
        expected: list[Expected] = []
        for situation in SITUATIONS:
            name = situation.__name__
            with self.subTest(begin=begin, other=other, moving=moving, situation=name):
                session = Session(self.ask, moving, f"{name} {begin} {other} {moving}", expected, self.words)
                session.say(other, *situation(session, begin))
                session.say(begin, *session.results(), text(f"{self.words()} and back"))
        self.check({begin, other}, expected)

    def check(self, kinds: set[str], expected: list[Expected]) -> None:
        """Every provider was asked with the words, and with the thinking, that it had to be asked with."""
        for kind in kinds:
            asked = [request for request in self.upstreams[kind].requests() if request.path in PATHS]
            wanted = [each for each in expected if each.kind == kind]
            for each, request in zip(wanted, asked, strict=True):
                with self.subTest(situation=each.situation, at=kind):
                    body = request.body.decode()
                    self.assertEqual(each.thoughts, set(THOUGHT.findall(body)))
                    self.assertEqual(each.words | each.thoughts, set(WORD.findall(body)))

    def test_by_the_models_name(self) -> None:
        for begin, other in product(MODELS, MODELS):
            self.setUp()
            self.cell(begin, other, moving=False)

    def test_a_window_that_is_too_small_is_told_before_anything_is_sent(self) -> None:
        session = Session(self.ask, False, "overflow", [], self.words)
        session.say("anthropic", text("prose " * 80_000))
        body: Json = {"max_tokens": 1000, "messages": [message for message, _ in session.messages]}
        body["messages"].append({"role": "user", "content": "and now?"})
        for kind, model, window in (("zai", "zai/glm-4.5v", 64_000), ("ollama", "ollama/qwen3:8b", 40_960)):
            for stream in (True, False):
                answer = self.relays[kind].messages({**body, "model": model, "stream": stream}, HEADERS)
                message = answer.json["error"]["message"]
                self.assertEqual((400, "invalid_request_error"), (answer.status, answer.json["error"]["type"]))
                self.assertRegex(message, rf"\Aprompt is too long: 1[0-9]{{5}} tokens > {window} maximum\Z")
            self.assertFalse([request for request in self.upstreams[kind].requests() if request.path in PATHS])

    def test_walks(self) -> None:
        """Longer conversations, with everything in them; tests/walks.py has more, without sockets."""
        for seed in range(12):
            self.setUp()
            random, expected = Random(seed), list[Expected]()
            session = Session(self.ask, seed % 2 == 0, f"walk {seed}", expected, self.words)
            session.tools = [BASH, FOUND, SEARCH]
            for _ in range(8):
                kind = random.choice(list(MODELS))
                if said := anything(session, random):
                    session.tell("user", *said)
                session.answered(kind)
            self.check(set(MODELS), expected)

    def test_by_the_relay_behind_one_name(self) -> None:
        for begin, other in product(MODELS, MODELS):
            self.setUp()
            self.cell(begin, other, moving=True)


# --- the page

OWN, OTHERS = "its own", "another's"
SEES, BLIND = frozenset({"image/png"}), frozenset[str]()
KNOWN = """
    text image document search_result thinking redacted_thinking tool_use tool_result server_tool_use
    web_search_tool_result web_fetch_tool_result code_execution_tool_result bash_code_execution_tool_result
    text_editor_code_execution_tool_result tool_search_tool_result container_upload mcp_tool_use mcp_tool_result
    mcp_tool_listing advisor_tool_result compaction fallback tool_addition tool_removal tool_reference browser_state
""".split()


def result(kind: str, content: Any, name: str = "srvtoolu_1") -> tuple[Json, frozenset[str]]:
    return {"type": kind, "tool_use_id": name, "content": content}, SEES


SPECIMENS: dict[str, tuple[Json, frozenset[str]]] = {
    "`text`": (text("hi"), SEES),
    "`text`, blank": (text(" \n"), SEES),
    "`thinking`, its own": ({"type": "thinking", "thinking": "x", "signature": OWN}, SEES),
    "`thinking`, another's": ({"type": "thinking", "thinking": "x", "signature": OTHERS}, SEES),
    "`thinking`, unsigned": ({"type": "thinking", "thinking": "x", "signature": ""}, SEES),
    "`redacted_thinking`, its own": ({"type": "redacted_thinking", "data": OWN}, SEES),
    "`redacted_thinking`, another's": ({"type": "redacted_thinking", "data": OTHERS}, SEES),
    "`tool_use`": ({"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}, SEES),
    "`tool_result`": result("tool_result", "done", "toolu_1"),
    "`image`, for a model that sees": (IMAGE, SEES),
    "`image`, for one that does not": (IMAGE, BLIND),
    "`image`, by URL or file id": ({"type": "image", "source": {"type": "url", "url": "u"}}, SEES),
    "`document`, of text or blocks": (document("read me"), SEES),
    "`document`, PDF, by URL or file id": (PDF, SEES),
    "`search_result`": ({"type": "search_result", "source": "s", "title": "t", "content": [text("x")]}, SEES),
    "`tool_reference`": ({"type": "tool_reference", "tool_name": "Found"}, SEES),
    "`tool_addition`": ({"type": "tool_addition", "tool": {"type": "tool_reference", "name": "Found"}}, SEES),
    "`tool_removal`": ({"type": "tool_removal", "tool": {"type": "tool_reference", "name": "Found"}}, SEES),
    "`compaction`": ({"type": "compaction", "content": "They spoke."}, SEES),
    "`server_tool_use`": ({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}, SEES),
    "`server_tool_use`, of Z.AI's own": ({"type": "server_tool_use", "id": "zai_1", "name": "look", "input": {}}, SEES),
    "`web_search_tool_result`": result("web_search_tool_result", [{"type": "web_search_result", "url": "u"}]),
    "`web_search_tool_result`, of Z.AI's own": result("web_search_tool_result", [], "zai_1"),
    "`web_fetch_tool_result`": result("web_fetch_tool_result", {"type": "web_fetch_result", "url": "u"}),
    "`code_execution_tool_result`": result("code_execution_tool_result", {"stdout": "x"}),
    "`bash_code_execution_tool_result`": result("bash_code_execution_tool_result", {"stdout": "x"}),
    "`text_editor_code_execution_tool_result`": result("text_editor_code_execution_tool_result", {"lines": []}),
    "`tool_search_tool_result`": result("tool_search_tool_result", {"tool_references": []}),
    "`advisor_tool_result`": result("advisor_tool_result", {"text": "x"}),
    "`mcp_tool_use`": ({"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "x", "input": {}}, SEES),
    "`mcp_tool_result`": result("mcp_tool_result", [text("x")], "mcptoolu_1"),
    "`mcp_tool_listing`": ({"type": "mcp_tool_listing", "mcp_server_name": "x", "tools": []}, SEES),
    "`container_upload`": ({"type": "container_upload", "file_id": "file_1"}, SEES),
    "`browser_state`": ({"type": "browser_state"}, SEES),
    "`fallback`": ({"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}, SEES),
    "one that nobody knows yet": ({"type": "hologram"}, SEES),
}


class PageTests(unittest.TestCase):
    """docs/switching.md says what becomes of every block, and it is what becomes of it."""

    page = (ROOT / "docs" / "switching.md").read_text("utf-8")

    def rows(self, heading: str) -> dict[str, list[str]]:
        """First cell → the others, of the first table under a heading."""
        lines = self.page.partition(f"## {heading}\n")[2].splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith("|---"))
        table = itertools.takewhile(lambda line: line.startswith("|"), lines[start + 1 :])
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
        return {first: rest for first, *rest in cells}

    def test_every_block_is_there(self) -> None:
        rows = self.rows("What becomes of each block")
        self.assertEqual(set(SPECIMENS), set(rows))
        described = {str(block["type"]) for block, _ in SPECIMENS.values()}
        self.assertLessEqual({*KNOWN, *rules.BLOCK_FIELDS, *plain._WORDS}, described)

    @unittest.skipUnless(find_spec("anthropic"), "the types of Anthropic's SDK are looked up in the package anthropic")
    def test_every_block_of_the_sdk_is_known(self) -> None:
        from anthropic.types.beta import beta_content_block_param

        for name in re.findall(
            r"Beta(?:Request)?(?!Content)(\w+)BlockParam\b", inspect.getsource(beta_content_block_param)
        ):
            snake = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
            self.assertIn(snake, {*KNOWN, *rules.BLOCK_FIELDS})

    def test_each_becomes_what_the_page_says(self) -> None:
        for label, cells in self.rows("What becomes of each block").items():
            for provider, cell in zip(("anthropic", "zai", "ollama"), cells, strict=True):
                with self.subTest(label=label, provider=provider):
                    self.assertEqual(self.outcome(*SPECIMENS[label], provider), self.said(cell))

    def said(self, cell: str) -> tuple[str, set[str]]:
        verb = re.split(r"[:,; ]", cell)[0]
        names = re.search(r"(?:dropped|stated|text): `(\w+)`", cell)
        return verb, {names[1]} if names else set()

    def outcome(self, block: Json, images: frozenset[str], provider: str) -> tuple[str, set[str]]:
        """(what becomes of the block, what is reported)"""
        given = {**block}
        for key in ("signature", "data"):
            if block.get(key) == OWN:
                given[key] = "EqQB" if provider == "anthropic" else history.mark(provider, "own")
            elif block.get(key) == OTHERS:
                given[key] = history.mark("zai" if provider == "anthropic" else "another", "x")
        body: Json = {"messages": [{"role": "assistant", "content": [given, {"type": "text", "text": "rest"}]}]}
        dropped: Counter[str] = Counter()
        if provider == "anthropic":
            repaired = history.for_anthropic(body, dropped)
        else:
            repaired = plain.for_other(body, provider, images, dropped)
        left = repaired["messages"][0]["content"][:-1]
        if not left:
            return "dropped", set(dropped)
        if left[0]["type"] == block["type"]:
            return "kept", set(dropped)
        return "stated" if " omitted" in left[0]["text"] else "text", set(dropped)

    def test_every_name_of_a_loss_is_explained(self) -> None:
        explained = set(re.findall(r"`(\w+)`", " ".join(self.rows("`x-ccrelay-dropped`"))))
        sources = [*(ROOT / "ccrelay_providers").rglob("*.py")]
        counted = {name for path in sources for name in re.findall(r"dropped\[\"(\w+)\"\]", path.read_text("utf-8"))}
        self.assertTrue(counted)
        self.assertLessEqual(counted, explained)


if __name__ == "__main__":
    unittest.main()
