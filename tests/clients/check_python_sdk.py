"""The Python SDK through the relay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import anthropic
from anthropic import Anthropic
from anthropic.types import ContentBlock, MessageParam, TextBlock, ToolParam, ToolUseBlock

from tests.clients.stage import CLAUDE, ECHO, GLM, QWEN, TOKEN, Stage, expect, expect_discretion
from tests.upstreams import anthropic_error, zai_error

Check = tuple[str, Callable[[Stage], None]]

BASH: ToolParam = {
    "name": "Bash",
    "description": "Runs a command",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
}


def checks() -> Iterator[Check]:
    """Every check with its name."""
    for model in (CLAUDE, GLM, QWEN, ECHO):
        yield f"python sdk, create, {model}", partial(create, model)
        yield f"python sdk, stream, {model}", partial(stream, model)
    for model in (CLAUDE, GLM, QWEN):
        yield f"python sdk, tools, {model}", partial(tools, model)
        yield f"python sdk, count_tokens, {model}", partial(count_tokens, model)
    yield "python sdk, models", models
    yield "python sdk, not found", not_found
    yield "python sdk, bad request", bad_request
    yield "python sdk, rate limit", rate_limit
    yield "python sdk, overloaded after retries", overloaded
    yield "python sdk, error in the stream", error_in_stream


def client(stage: Stage, retries: int = 0) -> Anthropic:
    """A client of the relay."""
    return Anthropic(base_url=stage.url, auth_token=TOKEN, api_key=None, max_retries=retries, timeout=30)


def says(text: str) -> MessageParam:
    """A user's turn."""
    return {"role": "user", "content": text}


# --- messages


def create(model: str, stage: Stage) -> None:
    message = client(stage).messages.create(model=model, max_tokens=100, messages=[says("say cherry")])
    expect(text_of(message.content).strip() and message.stop_reason == "end_turn", f"an odd answer: {message}")
    expect(model == ECHO or "heard: say cherry" in text_of(message.content), f"another answer: {message}")
    expect(message.model == model, f"message.model is {message.model}")
    expect(message.usage.input_tokens > 0 and message.usage.output_tokens > 0, f"usage is {message.usage}")
    expect_discretion(stage)


def stream(model: str, stage: Stage) -> None:
    with client(stage).messages.stream(model=model, max_tokens=100, messages=[says("say cherry")]) as streaming:
        pieces = list(streaming.text_stream)
        message = streaming.get_final_message()
    expect("".join(pieces) == text_of(message.content) != "", f"{pieces} is not the text of {message}")
    word = "echo" if model == ECHO else "cherry"
    expect(word in text_of(message.content) and message.stop_reason == "end_turn", f"an odd answer: {message}")
    expect(message.model == model, f"message.model is {message.model}")
    expect(message.usage.output_tokens > 0, f"usage is {message.usage}")


def tools(model: str, stage: Stage) -> None:
    messages = [says("USETOOL")]
    first = client(stage).messages.create(model=model, max_tokens=500, messages=messages, tools=[BASH])
    calls = [block for block in first.content if isinstance(block, ToolUseBlock)]
    expect(first.stop_reason == "tool_use" and len(calls) == 1, f"no tool call: {first}")
    expect(calls[0].input.get("command") == "echo hi-from-tool", f"the tool's input is {calls[0].input}")
    messages += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": calls[0].id, "content": "hi-from-tool"}]},
    ]
    with client(stage).messages.stream(model=model, max_tokens=500, messages=messages, tools=[BASH]) as streaming:
        text = streaming.get_final_text()
    expect("read the result: hi-from-tool" in text, f"the answer to the tool's result is {text!r}")


def count_tokens(model: str, stage: Stage) -> None:
    counts = [
        client(stage).messages.count_tokens(model=model, messages=[says("word " * number)]).input_tokens
        for number in (10, 1000)
    ]
    expect(0 < counts[0] < counts[1], f"the counts are {counts}")


# --- models


def models(stage: Stage) -> None:
    listed = {model.id: model for model in client(stage).models.list(limit=1000)}
    for name in ("anthropic/claude-sonnet-5-5", GLM, QWEN):
        expect(name in listed, f"{name} is not in {sorted(listed)}")
        found = client(stage).models.retrieve(name)
        expect(found == listed[name], f"{name} alone is {found}, in the list {listed[name]}")
    expect(listed[GLM].display_name == "GLM-5.2", f"{GLM} is shown as {listed[GLM].display_name!r}")
    pages = list(client(stage).models.list(limit=1))
    expect([model.id for model in pages] == list(listed), f"in pages of one: {[model.id for model in pages]}")
    refused(anthropic.NotFoundError, 404, lambda: client(stage).models.retrieve("zai/glm-99"))


# --- errors


def not_found(stage: Stage) -> None:
    error = refused(anthropic.NotFoundError, 404, partial(ask, stage, "zai/glm-99"))
    expect(error.type == "not_found_error" and error.request_id, f"type {error.type}, request id {error.request_id}")
    expect("model: zai/glm-99" in str(error), f"it says {error}")


def bad_request(stage: Stage) -> None:
    for model in (CLAUDE, GLM, QWEN):
        error = refused(anthropic.BadRequestError, 400, partial(ask, stage, model, messages=[]))
        expect(error.type == "invalid_request_error", f"{model}: type {error.type}")
        expect(error.request_id, f"{model}: no request id")


def rate_limit(stage: Stage) -> None:
    limited = zai_error(429, "rate_limit_error", "1302", "Rate limit reached for requests")
    stage.zai.script(limited, match="/api/anthropic", repeat=True)
    error = refused(anthropic.RateLimitError, 429, partial(ask, stage, GLM))
    expect(error.type == "rate_limit_error", f"type {error.type}")


def overloaded(stage: Stage) -> None:
    stage.anthropic.script(anthropic_error(529, "overloaded_error", "Overloaded"), match="/v1/messages", repeat=True)
    error = refused(anthropic.OverloadedError, 529, partial(ask, stage, CLAUDE, retries=2))
    expect(error.type == "overloaded_error" and "Overloaded" in str(error), f"type {error.type}: {error}")
    stage.anthropic.reset()
    stage.anthropic.script(anthropic_error(529, "overloaded_error", "Overloaded"), match="/v1/messages")
    ask(stage, CLAUDE, retries=2)


def error_in_stream(stage: Stage) -> None:
    """A stream that breaks off behind its first words is an error, not an end."""
    for model in (CLAUDE, GLM, QWEN):
        stage.upstream_of(model).script({"default": True, "take": 12, "end": "cut"})
        pieces: list[str] = []
        try:
            with client(stage).messages.stream(model=model, max_tokens=500, messages=[says("USELONG=50")]) as streaming:
                pieces.extend(streaming.text_stream)
        except anthropic.APIError as error:
            expect("".join(pieces).startswith("word0 word1"), f"{model}: {error} behind {pieces}")
        else:
            expect(False, f"{model}: a stream that was cut ended well with {pieces}")


# --- helpers


def ask(stage: Stage, model: str, *, messages: list[MessageParam] | None = None, retries: int = 0) -> None:
    """One question."""
    turns = [says("say cherry")] if messages is None else messages
    client(stage, retries).messages.create(model=model, max_tokens=100, messages=turns)


def refused(kind: type[anthropic.APIStatusError], status: int, call: Callable[[], object]) -> anthropic.APIStatusError:
    """The error that a call ends with, which must be of this type."""
    try:
        answer = call()
    except anthropic.APIStatusError as error:
        as_expected = isinstance(error, kind) and error.status_code == status
        expect(as_expected, f"{type(error).__name__} {error.status_code}: {error}")
        return error
    expect(False, f"no {kind.__name__}, but {answer}")
    raise AssertionError


def text_of(content: Sequence[ContentBlock]) -> str:
    """The text of an answer."""
    return "".join(block.text for block in content if isinstance(block, TextBlock))
