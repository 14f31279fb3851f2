"""Claude Code through the relay: `claude -p`, continued sessions, and the interactive client on its screen."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from tests.clients.claude import ClaudeCode, pick, switch
from tests.clients.stage import (
    CLAUDE,
    ECHO,
    GLM,
    QWEN,
    ROOT,
    Finished,
    Stage,
    asked,
    expect,
    expect_discretion,
    last_asked,
    relay,
    wait_for,
)
from tests.upstreams import anthropic_error, zai_error

Check = tuple[str, Callable[[Stage], None]]

BASH = ("--allowedTools", "Bash")
OVERLOADED = anthropic_error(529, "overloaded_error", "Overloaded")


def checks(claude: ClaudeCode) -> Iterator[Check]:
    """Every check with its name."""
    for model in (CLAUDE, GLM, QWEN, ECHO):
        yield f"claude -p, first turn, {model}", partial(first_turn, claude, model)
    for model in (CLAUDE, GLM, QWEN):
        yield f"claude -p, tool loop, {model}", partial(tool_loop, claude, model)
        yield f"claude -p, two tools at once, {model}", partial(two_tools, claude, model)
        yield f"claude -c, continued, {model}", partial(continued, claude, model)
    for name, function in (
        ("claude -c, from provider to provider", switched),
        ("claude -c, failover is not seen", failed_over),
        ("claude -p, json output", json_output),
        ("claude -p, overloaded upstream", overloaded),
        ("claude -p, refused relay key", refused_key),
        ("claude -p, unknown model", unknown_model),
        ("claude -c, prompt too long is compacted", compacted),
        ("claude -c, a session that outgrows a small window goes on", outgrown),
        ("claude, discovery and the picker", discovery),
        ("claude, /model by name", model_by_name),
        ("claude -p, /use and what follows", use_printed),
        ("claude, /use behind a space, through a compaction, as a command", use_on_screen),
        ("claude, tool loop on the screen", tool_loop_on_screen),
        ("claude, a fallback says that it answers", fallen_back),
        ("claude, errors on the screen", errors_on_screen),
        ("claude, Esc stops the upstream", interrupted),
    ):
        yield name, partial(function, claude)


# --- claude -p


def first_turn(claude: ClaudeCode, model: str, stage: Stage) -> None:
    expected = "echo" if model == ECHO else "heard: say pineapple"
    answered(claude.print(stage, "say pineapple", "--model", model), expected)
    if model != ECHO:
        expect("say pineapple" in last_asked(stage.upstream_of(model)), "the prompt did not reach the upstream")
        expect_asked_only(stage, model)
    expect_discretion(stage)


def tool_loop(claude: ClaudeCode, model: str, stage: Stage) -> None:
    answered(claude.print(stage, "USETOOL", "--model", model, *BASH), "read the result: hi-from-tool")
    expect(len(asked(stage.upstream_of(model))) >= 2, "the tool's result was not sent")
    expect_tool_result(stage, model, "hi-from-tool")


def two_tools(claude: ClaudeCode, model: str, stage: Stage) -> None:
    answered(claude.print(stage, "USETWO", "--model", model, *BASH), r"read the result: hi-\S+ \| hi-\S+")
    expect_tool_result(stage, model, "hi-from-tool")
    expect_tool_result(stage, model, "hi-again")


def continued(claude: ClaudeCode, model: str, stage: Stage) -> None:
    answered(claude.print(stage, "first apple", "--model", model), "first apple")
    answered(claude.print(stage, "second pear", "-c", "--model", model), "second pear")
    seen = last_asked(stage.upstream_of(model))
    expect("first apple" in seen and "second pear" in seen, "the upstream did not see both turns")


def switched(claude: ClaudeCode, stage: Stage) -> None:
    """Every provider sees the whole history, with the tool turns that the others made."""
    turns = [
        (CLAUDE, "one USETOOL"), (GLM, "two USETOOL"), (QWEN, "three USETOOL"), (CLAUDE, "four USETOOL"),
        (QWEN, "five"), (GLM, "six"), (CLAUDE, "seven"),
    ]  # fmt: skip
    for number, (model, prompt) in enumerate(turns):
        flags = ["-c"] if number else []
        expected = "read the result: hi-from-tool" if "USETOOL" in prompt else f"heard: {prompt}"
        answered(claude.print(stage, prompt, *flags, "--model", model, *BASH), expected)
        seen = last_asked(stage.upstream_of(model))
        for _, earlier in turns[: number + 1]:
            expect(earlier in seen, f"turn {number + 1}: {model} did not see {earlier!r}")
        expect("hi-from-tool" in seen, f"turn {number + 1}: {model} did not see the tool's result")
    expect_discretion(stage)


def failed_over(claude: ClaudeCode, stage: Stage) -> None:
    """One model name, three providers, each answering when the one before is down: thinking of all in one history."""
    answered(claude.print(stage, "one USETOOL", "--model", "anywhere", *BASH), "read the result: hi-from-tool")
    expect_tool_result(stage, CLAUDE, "hi-from-tool")
    stage.anthropic.script(OVERLOADED, match="/v1/messages", repeat=True)
    answered(claude.print(stage, "two USETOOL", "-c", "--model", "anywhere", *BASH), "read the result: hi-from-tool")
    expect("one USETOOL" in last_asked(stage.zai), "Z.AI did not see the history")
    stage.zai.script(zai_error(429, "rate_limit_error", "1305", "overloaded"), match="/api/anthropic", repeat=True)
    answered(claude.print(stage, "three", "-c", "--model", "anywhere"), "heard: three")
    expect("two USETOOL" in last_asked(stage.ollama), "Ollama did not see the history")


def json_output(claude: ClaudeCode, stage: Stage) -> None:
    for model in (CLAUDE, GLM, QWEN):
        done = answered(claude.print(stage, "say plum", "--model", model, "--output-format", "json"), "heard: say plum")
        used = re.search(r'"input_tokens":\s*(\d+)', done.out)
        expect(used and int(used[1]) > 0, f"{model}: no usage in {done.out.strip()!r}")


def overloaded(claude: ClaudeCode, stage: Stage) -> None:
    stage.anthropic.script(OVERLOADED, match="/v1/messages", repeat=True)
    failed(claude.print(stage, "hello", "--model", CLAUDE, CLAUDE_CODE_MAX_RETRIES="1"), r"API Error: .*[Oo]verloaded")


def refused_key(claude: ClaudeCode, stage: Stage) -> None:
    """The relay's own key is refused: said at once, and nobody is sent to /login."""
    refusal = zai_error(401, "authentication_error", "1002", "Authorization Token is illegal")
    stage.zai.script(refusal, match="/api/anthropic", repeat=True)
    done = failed(claude.print(stage, "hello", "--model", GLM), r"API Error: .*")
    expect("/login" not in done.out and "authenticate" not in done.out, f"the user is sent to sign in: {done}")
    expect(len(asked(stage.zai)) <= 2, f"a final refusal was asked for {len(asked(stage.zai))} times")


def unknown_model(claude: ClaudeCode, stage: Stage) -> None:
    failed(claude.print(stage, "hello", "--model", "zai/glm-99"), r"issue with the selected model \(zai/glm-99\)")
    expect(not asked(stage.zai), "an unknown model was asked for upstream")


def compacted(claude: ClaudeCode, stage: Stage) -> None:
    """A provider's own words for an overflow reach the client as those that make it compact and go on by itself."""
    for prompt, flags in (("first apple", ()), ("second pear", ("-c",))):
        answered(claude.print(stage, prompt, "--model", GLM, *flags), f"heard: {prompt}")
    stage.zai.reset()
    stage.zai.script(zai_error(400, "invalid_request_error", "1261", "Prompt too long"), match="/api/anthropic")
    answered(claude.print(stage, "third plum", "-c", "--model", GLM), "heard: (.|\n)*third plum")
    expect(len(asked(stage.zai)) >= 3, f"{len(asked(stage.zai))} requests cannot be overflow, summary and answer")


def outgrown(claude: ClaudeCode, stage: Stage) -> None:
    """A window of 40,960 tokens, turns of 6000: the client is told in time, compacts by itself, and no turn fails."""
    for number in range(6):
        facts = " ".join(f"fact{number}x{position}" for position in range(2200))
        done = claude.print(stage, f"turn {number}: {facts}", *(("-c",) if number else ()), "--model", QWEN)
        answered(done, f"heard: (.|\n)*fact{number}x2199")
    sizes = [len(request.body) for request in asked(stage.ollama)]
    expect(len(sizes) > 7, f"{len(sizes)} requests: nothing was compacted")
    expect(sizes[-1] < max(sizes) * 0.7, f"the conversation did not become smaller: {sizes}")


# --- the interactive client


def discovery(claude: ClaudeCode, stage: Stage) -> None:
    cache = stage.home / ".claude" / "cache" / "gateway-models.json"
    with claude.interactive(stage) as terminal:
        wait_for(cache.exists, "the client's list of discovered models")
        pick(terminal, r"GLM-5\.2")
        terminal.type("say papaya")
        terminal.wait(r"● glm-5\.2 heard: say papaya")
        pick(terminal, "qwen3:8b")
        terminal.type("say guava")
        terminal.wait(r"● qwen3:8b heard: (.|\n)*say guava\n✻")
    expect("say papaya" in last_asked(stage.ollama), "Ollama did not see the turn before the switch")


def model_by_name(claude: ClaudeCode, stage: Stage) -> None:
    with claude.interactive(stage) as terminal:
        for model, label in ((GLM, GLM), (QWEN, QWEN), ("anthropic/claude-fable-5-2", "Fable 5.2")):
            switch(terminal, model, label)
            name = model.partition("/")[2]
            terminal.type(f"say kiwi to {name}")
            terminal.wait(rf"● {re.escape(name)} heard: (.|\n)*say kiwi to {re.escape(name)}\n✻")
        terminal.type("/model zai/glm-99")
        terminal.wait("'zai/glm-99' not found")


def use_printed(claude: ClaudeCode, stage: Stage) -> None:
    """As the first words of a session; what the client says about an unknown command does not reach the model."""
    answered(claude.print(stage, f"/use {GLM}", "--model", CLAUDE), f"ccrelay: this session uses {GLM} from here on")
    expect(not any(map(asked, stage.upstreams.values())), "an upstream was asked")
    answered(claude.print(stage, "say fig", "-c", "--model", CLAUDE), "glm-5.2 heard: say fig")
    expect("/use" not in last_asked(stage.zai), "the model was shown the line")
    answered(claude.print(stage, "/use auto\nsay lime", "-c", "--model", CLAUDE), f"{CLAUDE} heard: say lime")
    expect("/use" not in last_asked(stage.anthropic), "the model was shown the line")


def use_on_screen(claude: ClaudeCode, stage: Stage) -> None:
    command = stage.home / ".claude" / "commands" / "use.md"
    command.parent.mkdir(parents=True)
    command.write_text(documented_command(), "utf-8")
    with claude.interactive(stage) as terminal:
        terminal.type(f" /use {GLM}")
        terminal.wait(f"● ccrelay: this session uses {GLM} from here on")
        terminal.type("say kiwi")
        terminal.wait("● glm-5.2 heard: say kiwi")
        expect("/use" not in last_asked(stage.zai), "the model was shown the line")
        terminal.type("/compact")
        terminal.wait("Compacted")
        terminal.type("say pear")
        terminal.wait("● glm-5.2 heard: say pear")
        terminal.type("/use auto")
        terminal.wait("● ccrelay: the model is the one that the client asks for again")
        terminal.type("say plum")
        terminal.wait("● claude-opus-5-5 heard: say plum")


def documented_command() -> str:
    """The custom command as docs/switching.md says to write it."""
    page = (ROOT / "docs" / "switching.md").read_text("utf-8")
    found = re.search(r"use\.md <<'END'\n(.*?) *END\n", page, re.DOTALL)
    expect(found, "docs/switching.md shows no command")
    return textwrap.dedent(found[1] if found else "")


def tool_loop_on_screen(claude: ClaudeCode, stage: Stage) -> None:
    with claude.interactive(stage) as terminal:
        for model in (GLM, QWEN):
            switch(terminal, model)
            terminal.type(f"please USETOOL with {model}")
            terminal.wait(f"● {re.escape(model.partition('/')[2])} read the result: hi-from-tool")


def fallen_back(claude: ClaudeCode, stage: Stage) -> None:
    """Who asked sees that another answers and why; no model ever reads that."""
    with relay(stage, "fallback", f'[routing]\nfallback = ["{GLM}"]\nannounce = true\n') as url:
        stage.anthropic.script(OVERLOADED, match="/v1/messages", repeat=True)
        with claude.interactive(replace(stage, url=url)) as terminal:
            terminal.type("say plum")
            terminal.wait(rf"● \[ccrelay: {re.escape(GLM)} answers instead of claude-opus-5-5; anthropic: Overloaded\]")
            terminal.wait("glm-5.2 heard: say plum")
            terminal.type("say pear")
            terminal.wait("glm-5.2 heard: say pear")
    seen = last_asked(stage.zai)
    expect("heard: say plum" in seen and "[ccrelay" not in seen, f"Z.AI saw the relay's own words: {seen}")


def errors_on_screen(claude: ClaudeCode, stage: Stage) -> None:
    refusal = anthropic_error(400, "invalid_request_error", "bananas are out")
    stage.anthropic.script(refusal, match="/v1/messages", repeat=True)
    with claude.interactive(stage) as terminal:
        terminal.type("hello")
        terminal.wait("API Error: 400 .*bananas are out")
        stage.anthropic.reset()
        stage.anthropic.script(OVERLOADED, match="/v1/messages", repeat=True)
        terminal.type("hello again")
        terminal.wait("API Error: .*529 Overloaded", timeout=60)
        stage.anthropic.reset()
        terminal.type("and again")
        terminal.wait("heard: and again")


def interrupted(claude: ClaudeCode, stage: Stage) -> None:
    with claude.interactive(stage) as terminal:
        switch(terminal, QWEN)
        stage.ollama.script({"default": True, "gap": 0.05}, match="/api/chat", repeat=True)
        terminal.type("please USELONG=1000")
        terminal.wait("word0 word1 word2")
        terminal.press("Escape")
        stage.ollama.wait_for_closed()
        terminal.wait("Interrupted")


# --- what is expected


def answered(done: Finished, pattern: str) -> Finished:
    """The client ended well and printed this."""
    expect(done.code == 0 and re.search(pattern, done.out), f"expected /{pattern}/, got {done}")
    return done


def failed(done: Finished, pattern: str) -> Finished:
    """The client ended with an error that reads like this."""
    expect(done.code != 0 and re.search(pattern, done.out), f"expected an error /{pattern}/, got {done}")
    return done


def expect_tool_result(stage: Stage, model: str, text: str) -> None:
    """The upstream was given a tool's result in the form of its own protocol."""
    messages = asked(stage.upstream_of(model))[-1].json["messages"]
    if model == QWEN:
        results = [message for message in messages if message["role"] == "tool"]
    else:
        results = [
            block
            for message in messages if isinstance(message["content"], list)
            for block in message["content"] if block["type"] == "tool_result"
        ]  # fmt: skip
    expect(any(text in str(result) for result in results), f"no tool result with {text!r} in {results}")


def expect_asked_only(stage: Stage, model: str) -> None:
    """No other upstream got the conversation."""
    for upstream in stage.upstreams.values():
        expect(upstream is stage.upstream_of(model) or not asked(upstream), f"{upstream.kind} was asked, too")
