"""Claude Code, started with a clean environment in a home of its own, and only ever against the relay under test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.screen import Screen, screen
from tests.clients.stage import TOKEN, Finished, Stage, expect, run

PROMPT = r"(?m)^❯\s*$"

# What a new home is asked at the first start, and the key that goes on from there.
ONBOARDING = (
    (r"Choose the text style", "Enter"),
    (r"Press Enter to continue", "Enter"),
    (r"❯ No, exit\s+Yes, I trust this folder", "Down"),
    (r"No, exit\s+❯ Yes, I trust this folder", "Enter"),
)


class ClaudeCode:
    """The installed program."""

    def __init__(self, npm: Path) -> None:
        self._npm = npm

    @property
    def program(self) -> str:
        """The binary, which lies in the package of this platform."""
        found = sorted(self._npm.glob("node_modules/@anthropic-ai/claude-code-*/claude"))
        expect(found, "Claude Code is not installed")
        return str(found[0])

    def print(self, stage: Stage, prompt: str, *flags: str, **variables: str) -> Finished:
        """One turn of `claude -p`."""
        env = environment(stage, CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1", **variables)
        return run([self.program, "-p", prompt, *flags], env, stage.work)

    @contextmanager
    def interactive(self, stage: Stage) -> Iterator[Screen]:
        """The client in a terminal, with model discovery, past its first questions."""
        env = environment(stage, CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY="1")
        with screen([self.program], env, stage.work, stage.folder / "tmux") as terminal:
            go_on_to_prompt(terminal)
            yield terminal


def environment(stage: Stage, **more: str) -> dict[str, str]:
    """What the client knows of the world."""
    return stage.env(
        ANTHROPIC_BASE_URL=stage.url, ANTHROPIC_AUTH_TOKEN=TOKEN, DISABLE_TELEMETRY="1", DISABLE_AUTOUPDATER="1", **more
    )


def go_on_to_prompt(terminal: Screen) -> None:
    """Answers the questions of a first start. A key that a screen was not ready for yet is pressed again."""
    anything = "|".join([PROMPT, *(question for question, _ in ONBOARDING)])
    while not re.search(PROMPT, text := terminal.wait(anything)):
        for question, key in ONBOARDING:
            if re.search(question, text):
                terminal.press(key)
                terminal.wait_change(text)


def switch(terminal: Screen, model: str, label: str = "") -> None:
    """Switches by `/model NAME`; the label is what the client calls a model that it knows."""
    terminal.type(f"/model {model}")
    confirm_switch(terminal, re.escape(label or model))


def pick(terminal: Screen, label: str, confirmed: str = "") -> None:
    """Switches by a row of the /model picker. confirmed: what the client calls it then, if that is not the label."""
    terminal.type("/model")
    text = terminal.wait(rf"❯ +\d+\. (.|\n)*\d+\. +{label} ")
    wanted = int(re.findall(rf"(\d+)\. +{label} ", text)[0])
    while (current := int(re.findall(r"❯ +(\d+)\. ", text)[0])) != wanted:
        terminal.press("Down" if wanted > current else "Up")
        text = terminal.wait_change(text)
    terminal.press("Enter")
    confirm_switch(terminal, confirmed or label)


def confirm_switch(terminal: Screen, label: str) -> None:
    """A conversation that has answers is asked whether it really wants to be read again by another model."""
    done, question = f"Set model to .*{label}", "❯ 1. Yes, switch to"
    text = terminal.wait(f"{done}|{question}")
    if re.search(question, text):
        terminal.press("Enter")
        terminal.wait(done)
