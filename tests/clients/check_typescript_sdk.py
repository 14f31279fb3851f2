"""The TypeScript SDK through the relay: the checks of sdk.mjs, each in a node process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.clients.stage import CLAUDE, ECHO, GLM, QWEN, TOKEN, Stage, expect, expect_discretion, run
from tests.upstreams import anthropic_error, zai_error

Check = tuple[str, Callable[[Stage], None]]
Node = Callable[..., None]


def checks(npm: Path) -> Iterator[Check]:
    """Every check with its name."""
    node = partial(run_node, npm)
    for model in (CLAUDE, GLM, QWEN, ECHO):
        yield f"typescript sdk, create, {model}", partial(node, "create", model)
        yield f"typescript sdk, stream, {model}", partial(node, "stream", model)
    for model in (CLAUDE, GLM, QWEN):
        yield f"typescript sdk, tools, {model}", partial(node, "tools", model)
        yield f"typescript sdk, countTokens, {model}", partial(node, "countTokens", model)
        yield f"typescript sdk, error in the stream, {model}", partial(error_in_stream, node, model)
    yield "typescript sdk, models", partial(node, "models", "")
    yield "typescript sdk, refusals", partial(node, "errors", "")
    yield "typescript sdk, rate limit", partial(rate_limit, node)
    yield "typescript sdk, overloaded after retries", partial(overloaded, node)


def run_node(npm: Path, check: str, model: str, stage: Stage) -> None:
    """One check of sdk.mjs; the folder it runs in is the one that its imports are looked up from."""
    script = Path(__file__).with_name("sdk.mjs").read_text("utf-8")
    command = ["node", "--input-type=module", "-", stage.url, TOKEN, check, model]
    done = run(command, stage.env(), npm, feed=script, timeout=30)
    expect(done.code == 0, f"{done}")
    expect_discretion(stage)


def error_in_stream(node: Node, model: str, stage: Stage) -> None:
    stage.upstream_of(model).script({"default": True, "take": 12, "end": "cut"})
    node("errorInStream", model, stage)


def rate_limit(node: Node, stage: Stage) -> None:
    limited = zai_error(429, "rate_limit_error", "1302", "Rate limit reached for requests")
    stage.zai.script(limited, match="/api/anthropic", repeat=True)
    node("rateLimit", GLM, stage)


def overloaded(node: Node, stage: Stage) -> None:
    stage.anthropic.script(anthropic_error(529, "overloaded_error", "Overloaded"), match="/v1/messages", repeat=True)
    node("overloaded", CLAUDE, stage)
