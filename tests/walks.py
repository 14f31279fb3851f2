"""Random conversations that wander between the providers, through what the relay does to them and no socket.

    python -m tests.walks --walks 10000              with hypothesis, which makes what fails small
    python -m tests.walks --seed 7 --walks 100       without: the walks of the seeds 7 to 106

A walk is a client, three providers of the relay, and three upstreams that refuse what the real ones refuse. Each turn
is answered by any of them: by the model's name, where the client leaves out the thinking of other models, or by the
relay's own choice, of which the client knows nothing. What has to hold is said in the `check_` methods of `Walk`.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

import ccrelay_providers.anthropic as anthropic
import ccrelay_providers.ollama as ollama
import ccrelay_providers.zai as zai
from ccrelay_providers.wire import history
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.messages import MessagesRequest, fold
from ccrelay_providers.wire.names import safe_name
from ccrelay_providers.wire.provider import Model, Provider, Report, Target, UpstreamRequest
from ccrelay_providers.wire.sse import decode
from tests.conversations import ODD_NAMES, SEARCH, TOOLS, Author, calls_in, lines
from tests.transcripts import Answer
from tests.upstreams import ollama as ollama_upstream
from tests.upstreams import zai as zai_upstream
from tests.upstreams.gojson import check_chat
from tests.upstreams.messages import Refusal, Wire, blocks_of, event_text, events
from tests.upstreams.rules import check as check_anthropic
from tests.upstreams.rules import thinks
from tests.upstreams.signatures import prefix_of

Json = dict[str, Any]

WORD = re.compile(r"w-\d+-x")
PROVIDERS = cast("dict[str, Provider]", {"anthropic": anthropic, "zai": zai, "ollama": ollama})
BETAS = ["context-management-2025-06-27"]
WIRE = Wire("msg_1", "", lambda thinking: "", pings=False, counts_at_start=False)
OLLAMA = ollama_upstream.Ollama("0.33.0")


@dataclass
class Walk:
    """One conversation. `messages` is what the client holds, each with the name of the model that it came from."""

    random: Random
    messages: list[tuple[Json, str]] = field(default_factory=list)
    requests: int = 0

    def __post_init__(self) -> None:
        self.author = Author(self.random)
        self.by_name = self.random.choice((True, False, None))
        kinds = ({"type": "adaptive"}, {"type": "enabled", "budget_tokens": 1024}, None)
        self.thinking = self.random.choice(kinds)
        adaptive = self.thinking == kinds[0]
        self.claude = "claude-opus-5-5" if adaptive else "claude-sonnet-4-5"
        self.tools = [*TOOLS, SEARCH] if self.author.maybe(50) else TOOLS
        billing = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330.abc; cc_entrypoint=cli;"}
        self.system = [billing, {"type": "text", "text": self.author.word()}]

    def run(self) -> int:
        """Takes some turns; the number of requests that were made. Raises AssertionError."""
        for _ in range(self.random.randrange(2, 9)):
            self.turn()
        return self.requests

    def turn(self) -> None:
        """The user says something, or the tools have done what they were asked to; any provider answers."""
        kind = self.random.choice(list(PROVIDERS))
        target = self.target(kind)
        by_name = self.author.maybe(50) if self.by_name is None else self.by_name
        model = f"{kind}/{target.model.id}" if by_name else "smart"
        self.listen()
        body = self.request(model)
        sent = self.prepared(body, target)
        self.check_accepted(sent, target)
        self.check_nothing_lost(body, sent, kind)
        self.check_growth(body, sent, target)
        if kind == "anthropic":
            self.check_untouched(body, sent)
            self.check_once_is_enough(body)
        self.messages.append((self.answered(body, sent, target), model))
        self.requests += 1

    # --- the client

    def listen(self) -> None:
        calls = calls_in(self.messages[-1][0]) if self.messages else []
        if not calls and self.messages and self.author.maybe(5):
            self.messages = [(message, "") for message in self.author.summary()]
        elif calls:
            more = [self.author.text()] if self.author.maybe(30) else []
            self.messages.append(({"role": "user", "content": [*self.author.results(calls), *more]}, ""))
        else:
            self.messages.append(({"role": "user", "content": self.author.said()}, ""))
        if self.author.maybe(15):
            self.messages.append((self.author.reminder(), ""))

    def request(self, model: str) -> Json:
        """What the client sends. It knows of a switch only by the model's name."""
        messages: list[Json] = []
        for message, name in self.messages:
            after = messages[-1]["role"] if messages else "user"
            messages += without_others(message, name, model, after)
        body: Json = {"model": model, "messages": marked(messages), "system": self.system, "tools": self.tools}
        body |= {"max_tokens": 4000, "stream": self.author.maybe(70), "metadata": {"user_id": "u"}}
        return body | ({"thinking": self.thinking} if self.thinking else {})

    def target(self, kind: str) -> Target:
        model = {
            "anthropic": Model(self.claude),
            "zai": self.random.choice((Model("glm-5.2", context=10**6), Model("glm-4.6v", vision=True))),
            "ollama": self.random.choice(
                (
                    Model("qwen3:8b", thinking=True, tools=True, vision=True),
                    Model("gemma3:4b", thinking=False, tools=False, vision=False),
                )
            ),
        }[kind]
        return Target(kind, kind, "http://upstream.test", model, api_key="key", num_ctx=10**6)

    # --- the relay and the upstream

    def asked(self, body: Json) -> MessagesRequest:
        return MessagesRequest(json.dumps(body).encode(), Headers(), f"req_{self.requests}")

    def prepared(self, body: Json, target: Target) -> Json:
        request = self.asked(body)
        upstream = PROVIDERS[target.type].prepare(request, target, Report())
        assert isinstance(upstream, UpstreamRequest)
        sent: Json = json.loads(upstream.body)
        return sent

    def answered(self, body: Json, sent: Json, target: Target) -> Json:
        """The upstream's answer, as the client has it in the end."""
        said, pieces, whole = self.upstream(sent, target, stream=body["stream"] or target.type == "ollama")
        provider, request, report = PROVIDERS[target.type], self.asked(body), Report()
        provider.prepare(request, target, report)
        if body["stream"] or whole is None:
            stream = provider.stream(Answer(200, Headers(), pieces), request, target, report)
            message = fold(decode(stream))
        else:
            message = json.loads(provider.message(Answer(200, Headers(), [whole]), request, target, report))
        self.check_answer(said, message)
        content = message["content"]
        if target.type != "anthropic" and self.author.maybe(15):
            content = relabelled(content)
        return {"role": "assistant", "content": content}

    def upstream(self, sent: Json, target: Target, *, stream: bool) -> tuple[Any, list[bytes], bytes | None]:
        """(what it says, as the pieces of a stream, and whole)"""
        if target.type == "ollama":
            said = self.author.by_ollama(sent, bool(sent.get("think")))
            return said, [lines(said)], None
        if target.type == "anthropic":
            prefix = prefix_of(sent, len(sent["messages"]))
            said = self.author.by_anthropic(sent, prefix, thinks(sent))
        else:
            said = self.author.by_zai(sent, thinks(sent))
        reason = "tool_use" if any(block["type"] == "tool_use" for block in said) else "end_turn"
        message: Json = {
            "id": f"msg_{self.requests}",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": said,
        }
        message |= {"stop_reason": reason, "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 9}}
        pieces = [event_text(event).encode() for event in events(message, WIRE)] if stream else []
        return said, pieces, json.dumps(message).encode()

    # --- what has to hold

    def check_accepted(self, sent: Json, target: Target) -> None:
        """No request is refused."""
        try:
            if target.type == "anthropic":
                check_anthropic(sent, BETAS, counting=False, bind_prefix=True)
            elif target.type == "zai":
                zai_upstream.check(sent, zai_upstream.MODELS[sent["model"]])
            else:
                check_chat(sent)
                can = [name for name in ("tools", "thinking", "vision") if getattr(target.model, name)]
                OLLAMA.check(sent, ollama_upstream.Model(sent["model"], ("completion", *can), 10**6))
        except (Refusal, ollama_upstream.Refusal) as refusal:
            raise AssertionError(f"{target.type} refused: {refusal}\n{json.dumps(sent)}") from refusal

    def check_nothing_lost(self, body: Json, sent: Json, kind: str) -> None:
        """Every word arrives, but the thinking of others. Nobody's thinking arrives at another."""
        thought = {word for block in thinking_of(body) if maker(block) != kind for word in words(block)}
        expected = words([body["messages"], body["system"]])
        found = words(sent)
        assert found == expected - thought, (
            f"at {kind}: lost {expected - thought - found}, too many {found - expected | found & thought}\n"
            f"{json.dumps(body)}\n{json.dumps(sent)}"
        )

    def check_growth(self, body: Json, sent: Json, target: Target) -> None:
        """The same history gives the same bytes, and a longer one begins with them."""
        ends = [number for number, message in enumerate(body["messages"]) if message["role"] == "assistant"]
        cuts = [number for number in ends if number and body["messages"][number - 1]["role"] != "assistant"]
        assert self.prepared(body, target) == sent, "the same request was prepared in two ways"
        if cuts:
            cut = self.random.choice(cuts)
            shorter = self.prepared({**body, "messages": marked(body["messages"][:cut])}, target)
            before, after = flat(shorter), flat(sent)
            assert after[: len(before)] == before, f"at {target.type}: {before} does not begin {after}"

    def check_untouched(self, body: Json, sent: Json) -> None:
        """Anthropic's own blocks are neither edited nor moved."""
        for given, found in zip(body["messages"], sent["messages"], strict=True):
            own = [block for block in blocks_of(given["content"]) if is_anthropics(block)]
            kept = [block for block in blocks_of(found["content"]) if is_anthropics(block)]
            assert own == kept, f"{own} became {kept}"
        assert (body["system"], body["tools"]) == (sent["system"], sent["tools"])

    def check_once_is_enough(self, body: Json) -> None:
        """What was repaired needs no repair."""
        once = history.for_anthropic(body, Counter())
        assert history.for_anthropic(once, Counter()) == once, json.dumps(body)

    def check_answer(self, said: Any, message: Json) -> None:
        """The client gets every word, by names that it knows, and ids that are no one else's."""
        assert words(said) == words(message["content"]), f"{said} became {message}"
        known = {tool["name"] for tool in self.tools} | {safe_name(name) for name in ODD_NAMES}
        assert known.issuperset(block["name"] for block in calls_in(message)), f"{message} calls what nobody knows"
        ids = [block["id"] for block in calls_in(message)]
        before = {block["id"] for earlier, _ in self.messages for block in calls_in(earlier)}
        assert len(ids) == len(set(ids)), f"ids repeat: {ids}"
        assert not before & set(ids) - {"call_0"}, f"ids were used before: {before & set(ids)}"


# --- looking at conversations


def without_others(message: Json, name: str, model: str, after: str) -> list[Json]:
    """A message as Claude Code sends it to a model: other models' thinking left out, and what is nothing else."""
    if message["role"] != "assistant" or name == model:
        return [message]
    kept = [block for block in message["content"] if "thinking" not in block["type"]]
    if not kept and after == "system":  # which must precede an assistant's turn
        kept = [{"type": "text", "text": "(no content)"}]
    return [{**message, "content": kept}] if kept else []


def marked(messages: list[Json]) -> list[Json]:
    """With the cache mark that the client sets at the end, and moves each turn."""
    messages = [{**message, "content": message["content"]} for message in messages]
    last = next((message for message in reversed(messages) if message["role"] == "user"), None)
    if last and isinstance(last["content"], list):
        last["content"] = [*last["content"][:-1], {**last["content"][-1], "cache_control": {"type": "ephemeral"}}]
    return messages


def relabelled(content: list[Json]) -> list[Json]:
    """As a client may hold it from elsewhere: ids that repeat."""
    return [{**block, "id": "call_0"} if block["type"] == "tool_use" else block for block in content]


def words(value: Any) -> set[str]:
    return set(WORD.findall(json.dumps(value)))


def thinking_of(body: Json) -> Iterator[Json]:
    for message in body["messages"]:
        yield from (block for block in blocks_of(message["content"]) if "thinking" in block["type"])


def maker(block: Json) -> str | None:
    return history.provenance(block.get("signature") or block.get("data"))[0]


def is_anthropics(block: Json) -> bool:
    if "thinking" in block["type"]:
        return maker(block) == "anthropic"
    made = str(block.get("id") or block.get("tool_use_id"))
    return bool(re.match(r"srvtoolu_|toolu_01[0-9a-f]{20}\Z", made))


def flat(sent: Json) -> list[Any]:
    """The prompt as a model reads it: block after block, without marks."""
    blocks: list[Any] = [sent.get("system")]
    for message in sent["messages"]:
        rest = {name: value for name, value in message.items() if name != "content"}
        for block in blocks_of(message["content"]):
            bare = {name: value for name, value in block.items() if name != "cache_control"}
            blocks.append((rest, bare))
    return blocks


# --- by hand


def with_hypothesis(walks: int) -> int:
    """Walks whose failures are made as small as they can be; the number of requests."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    made = 0

    @settings(max_examples=walks, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def one(random: Random) -> None:
        nonlocal made
        made += Walk(random).run()

    one()
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--walks", type=int, default=10_000)
    parser.add_argument("--seed", type=int, help="walks by seeds, from this one on, without hypothesis")
    chosen = parser.parse_args()
    begun, requests = time.perf_counter(), 0
    if chosen.seed is None:
        requests = with_hypothesis(chosen.walks)
    else:
        for seed in range(chosen.seed, chosen.seed + chosen.walks):
            try:
                requests += Walk(Random(seed)).run()
            except AssertionError:
                print(f"seed {seed} fails")
                raise
    print(f"{chosen.walks} walks, {requests} requests, none refused, {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
