"""`ccrelay.py claude`: the real client, started as a user starts it, and what it shows then."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from tests.clients.claude import ClaudeCode, go_on_to_prompt, pick
from tests.clients.screen import Screen, screen
from tests.clients.stage import ECHO, GLM, QWEN, ROOT, Finished, Stage, asked, expect, last_asked, run, wait_for

Check = tuple[str, Callable[[Stage], None]]
SOCKETS = count()
LAUNCHER = [sys.executable, str(ROOT / "ccrelay.py")]


def checks(claude: ClaudeCode) -> Iterator[Check]:
    """Every check with its name."""
    for name, function in (
        ("launch, a relay of its own answers and ends", own_relay),
        ("launch, the relay that runs is used", running_relay),
        ("launch, arguments and the exit code pass through", passed_through),
        ("launch, SIGINT and SIGTERM end the client and the relay", signals),
        ("launch, env in a shell", env_in_a_shell),
        ("launch, the picker has a row for every model", rows),
        ("launch, Ctrl-Z and Ctrl-C as without the launcher", job_control),
        ("launch, windows are assumed as they are", windows),
        ("launch, a row of the client's that a route answers says so", slots),
    ):
        yield name, partial(function, claude)


def environment(claude: ClaudeCode, stage: Stage, **more: str) -> dict[str, str]:
    """Nothing points to a relay here: that is what the launcher is for."""
    quiet = dict.fromkeys(("DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"), "1")
    config = str(stage.folder / "relay.toml")
    return stage.env(CCRELAY_CLAUDE=claude.program, CCRELAY_CONFIG=config, **quiet, **more)


def launch(claude: ClaudeCode, stage: Stage, *arguments: str, relay: tuple[str, ...] = ("--port", "0")) -> Finished:
    return run([*LAUNCHER, *relay, "claude", *arguments], environment(claude, stage), stage.work)


# --- claude -p


def own_relay(claude: ClaudeCode, stage: Stage) -> None:
    for model, words in ((GLM, "heard: say plum"), (QWEN, "heard: say plum"), (ECHO, "echo/echo answers")):
        done = launch(claude, stage, "-p", "say plum", "--model", model)
        expect(done.code == 0 and words in done.out, f"{model}: {done}")
        expect("this session has a relay of its own on http://127.0.0.1:" in done.err, f"nothing said: {done}")
    expect(not list(stage.home.glob(".claude/settings*.json")), "the user's settings were written")
    [log] = re.findall(r"log in (\S+)", done.err)
    expect(not Path(log).parent.exists(), "the session's folder is still there")


def running_relay(claude: ClaudeCode, stage: Stage) -> None:
    port = stage.url.rpartition(":")[2]
    done = launch(claude, stage, "-p", "say plum", "--model", GLM, relay=("--port", port))
    expect(done.code == 0 and "heard: say plum" in done.out, str(done))
    expect("a relay of its own" not in done.err, str(done))
    expect("zai/glm-5.2" in stage.log.read_text("utf-8"), "it was not the running relay that answered")


def passed_through(claude: ClaudeCode, stage: Stage) -> None:
    done = launch(claude, stage, "-p", "say plum", "--model", "zai/glm-99")
    expect(done.code == 1 and "issue with the selected model (zai/glm-99)" in done.out, str(done))
    done = launch(claude, stage, "--version")
    expect(done.code == 0 and "Claude Code" in done.out, str(done))
    done = launch(claude, stage, "mcp", "list")
    expect(done.code == 0 and "No MCP servers" in done.out, str(done))
    settings = '{"env": {"ANTHROPIC_MODEL": "zai/glm-5.2"}}'
    done = launch(claude, stage, "-p", "say apple", "--settings", settings)
    expect(done.code == 0 and "say apple" in last_asked(stage.zai), f"the user's --settings: {done}")
    done = launch(claude, stage, "-p", "say pear", "-c", "--model", QWEN)
    expect(done.code == 0 and "say apple" in last_asked(stage.ollama), f"-c: {done}")


def signals(claude: ClaudeCode, stage: Stage) -> None:
    for number, code in ((signal.SIGINT, 0), (signal.SIGTERM, 143)):  # as Claude Code itself ends then
        stage.zai.script({"default": True, "gap": 0.2}, match="/api/anthropic", repeat=True)
        command = [*LAUNCHER, "--port", "0", "claude", "-p", "please USELONG=1000", "--model", GLM]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=stage.work, env=environment(claude, stage), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe,
            start_new_session=True,
        ) as process:  # fmt: skip
            wait_for(lambda: asked(stage.zai), "the model's request")
            os.kill(process.pid, number)
            _, err = process.communicate(timeout=20)
        expect(process.returncode == code, f"{number!r}: exit {process.returncode}")
        expect(b"Traceback" not in err, err.decode())
        stage.zai.wait_for_closed()
        stage.zai.reset()


def env_in_a_shell(claude: ClaudeCode, stage: Stage) -> None:
    port = stage.url.rpartition(":")[2]
    script = f'eval "$({" ".join(LAUNCHER)} --port {port} env)" && exec "$CCRELAY_CLAUDE" -p "say fig" --model {GLM}'
    done = run(["sh", "-c", script], environment(claude, stage), stage.work)
    expect(done.code == 0 and "heard: say fig" in done.out, str(done))


# --- the picker


def rows(claude: ClaudeCode, stage: Stage) -> None:
    with interactive(claude, stage) as terminal:
        terminal.type("/model")
        text = terminal.wait(r"Select model(.|\n)*llama3\.2:3b")
        for row in (r"GLM-5\.2 +Z\.AI · 1M context", r"qwen3:8b +Ollama · .*41k context", r"anywhere +route to "):
            expect(re.search(row, text), f"no row /{row}/ in:\n{text}")
        terminal.press("Escape")
        for label, name in (("GLM-5.2", "glm-5.2"), ("qwen3:8b", "qwen3:8b")):
            pick(terminal, re.escape(label))
            terminal.type(f"say guava to {label}")
            terminal.wait(rf"● {re.escape(name)} heard: (.|\n)*say guava to {re.escape(label)}\n✻")


def windows(claude: ClaudeCode, stage: Stage) -> None:
    for model, window in ((GLM, "1m"), ("zai/glm-4.7", "200k"), (QWEN, "41k"), ("anywhere", "41k")):
        with interactive(claude, stage, "--model", model) as terminal:
            terminal.type("/context")
            terminal.wait(rf"(?i)/{window} tokens")


def job_control(claude: ClaudeCode, stage: Stage) -> None:
    env = {**environment(claude, stage), "PS1": "shell> "}
    with screen(["bash", "--norc", "-i"], env, stage.work, stage.folder / "tmux") as terminal:
        terminal.type(f"{' '.join(LAUNCHER)} --port 0 claude --model {GLM}")
        go_on_to_prompt(terminal)
        terminal.press("C-z")
        terminal.wait(r"Stopped(.|\n)*shell> *$")
        terminal.type("fg")
        terminal.wait(r"(?m)^❯\s*$")
        terminal.type("say kiwi")
        terminal.wait("● glm-5.2 heard: say kiwi")
        terminal.press("C-c", "C-c")
        terminal.wait(r"ccrelay: to resume the session wired to the relay: (.|\n)* claude -c\s+shell> *$")


def slots(claude: ClaudeCode, stage: Stage) -> None:
    config = stage.folder / "relay.toml"
    routed = '[routes]\n"claude-haiku-*" = ["zai/glm-4.7", "anthropic/claude-haiku-5-5"]\n'
    config.write_text(config.read_text("utf-8").replace("[routes]\n", routed), "utf-8")
    with interactive(claude, stage) as terminal:
        pick(terminal, "GLM-4.7 as Haiku", confirmed="Haiku 4.5")
        terminal.type("say lychee")
        terminal.wait(r"● glm-4\.7 heard: (.|\n)*say lychee\n✻")
        terminal.type("/context")
        terminal.wait(r"/200k tokens")


@contextmanager
def interactive(claude: ClaudeCode, stage: Stage, *arguments: str) -> Iterator[Screen]:
    """Past the first questions."""
    command = [*LAUNCHER, "--port", "0", "claude", *arguments]
    socket = stage.folder / f"tmux-{next(SOCKETS)}"  # one that ends is in the way of the next for a moment
    with screen(command, environment(claude, stage), stage.work, socket) as terminal:
        go_on_to_prompt(terminal)
        yield terminal
