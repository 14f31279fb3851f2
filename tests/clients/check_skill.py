"""The skill in the real Claude Code: as a command, called by the model, without dynamic context, as a plugin."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from tests.clients.claude import ClaudeCode, environment
from tests.clients.stage import CLAUDE, ROOT, Finished, Stage, asked, expect, last_asked, run
from tests.upstreams import message_end, reply, sse

Check = tuple[str, Callable[[Stage], None]]

ROW = r"zai/glm-5\.2 +GLM-5\.2 +Z\.AI +1M "
SCRIPT = ".claude/skills/relay-models/scripts/list_models.py"


def checks(claude: ClaudeCode) -> Iterator[Check]:
    """Every check with its name."""
    for name, function in (
        ("skill, typed as a command", typed),
        ("skill, called by the model", called),
        ("skill, without dynamic context", without_dynamic_context),
        ("skill, valid and installed as a plugin", as_plugin),
    ):
        yield name, partial(function, claude)


def typed(claude: ClaudeCode, stage: Stage) -> None:
    install(stage)
    succeeded(claude.print(stage, "/relay-models glm", "--model", CLAUDE))
    expect_table(stage)
    expect("What the user asked for, if anything: glm" in last_asked(stage.anthropic), "the argument is missing")


def called(claude: ClaudeCode, stage: Stage) -> None:
    """In a terminal the client asks its user first; here the rule says so."""
    install(stage)
    stage.anthropic.script(calling("Skill", skill="relay-models"), match="/v1/messages")
    allowed = ("--allowedTools", "Skill(relay-models)")
    succeeded(claude.print(stage, "which models are there?", "--model", CLAUDE, *allowed))
    first = asked(stage.anthropic)[0]
    expect("relay-models: Lists the models that the local relay" in first.body.decode(), "the skill is not offered")
    expect_table(stage)


def without_dynamic_context(claude: ClaudeCode, stage: Stage) -> None:
    """The model is told in words to run the script, and may: the skill allows it."""
    install(stage)
    (stage.home / ".claude" / "settings.json").write_text('{"disableSkillShellExecution": true}')
    command = f"python3 {stage.home / SCRIPT}"
    stage.anthropic.script(calling("Bash", command=command, description="List"), match="/v1/messages")
    succeeded(claude.print(stage, "/relay-models", "--model", CLAUDE, "--allowedTools", "Bash"))
    first, *_, last = asked(stage.anthropic)
    told = json.dumps(first.json["messages"])
    expect("disabled by policy" in told and "it has not been run: run `scripts/list_models.py`" in told, told)
    expect(re.search(ROW, str(last.json["messages"])), "the script's table did not come back")


def as_plugin(claude: ClaudeCode, stage: Stage) -> None:
    for folder in (ROOT, ROOT / "skill"):
        valid = command(claude, stage, "validate", "--strict", str(folder))
        expect("Validation passed" in valid.out, str(valid))
    command(claude, stage, "marketplace", "add", str(ROOT))
    command(claude, stage, "install", "ccrelay@ccrelay")
    succeeded(claude.print(stage, "/ccrelay:relay-models", "--model", CLAUDE))
    expect_table(stage)


# --- steps


def install(stage: Stage) -> None:
    """As a user does it."""
    config = str(stage.folder / "relay.toml")
    succeeded(run([sys.executable, "ccrelay.py", "skill", "--install", "--config", config], stage.env(), ROOT))


def command(claude: ClaudeCode, stage: Stage, *arguments: str) -> Finished:
    """One `claude plugin …`."""
    return succeeded(run([claude.program, "plugin", *arguments], environment(stage), stage.work))


def calling(tool: str, **arguments: str) -> dict[str, Any]:
    """A scripted answer that is one tool call."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": CLAUDE}
    block = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": {}}
    delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
    events: tuple[tuple[str, dict[str, Any]], ...] = (
        ("message_start", {"message": {**message, "usage": {"input_tokens": 10, "output_tokens": 1}}}),
        ("content_block_start", {"index": 0, "content_block": block}),
        ("content_block_delta", {"index": 0, "delta": delta}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", message_end(20, "tool_use")),
        ("message_stop", {}),
    )
    return reply([sse(*events)])


def succeeded(done: Finished) -> Finished:
    expect(done.code == 0, str(done))
    return done


def expect_table(stage: Stage) -> None:
    """The model was shown the list, not the command that makes it."""
    seen = last_asked(stage.anthropic)
    expect(re.search(ROW, seen), f"no row of GLM-5.2 in {seen[-3000:]}")
    expect("ollama/qwen3:8b" in seen, "no row of Ollama")
    expect("!`python3" not in seen, "the command was not run")
