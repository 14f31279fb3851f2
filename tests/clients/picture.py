"""The pictures of README.md, from a real run: `python -m tests.clients.picture --npm FOLDER`.

Claude Code and the relay run in terminals, upstreams are the scripted ones, and what the screens show becomes
docs/picker.svg and docs/log.svg.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path

from tests.clients.claude import ClaudeCode, go_on_to_prompt, switch
from tests.clients.screen import Screen, screen
from tests.clients.stage import ROOT, TOKEN, Stage, stage
from tests.upstreams import zai_error

ROUTE = '[routes]\n"claude-sonnet-*" = ["zai/glm-5.2", "anthropic/claude-sonnet-5-5"]\n'
OVERLOADED = zai_error(
    529, "overloaded_error", "1305", "The service may be temporarily overloaded, please try again later"
)
CELL, LINE, MARGIN = 8.4, 19, 16  # pixels, for a font of 14
BACKGROUND, TEXT = "#1e1e24", "#d8d8de"
COLOURS = ("#6b6b78", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8d8de")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.clients.picture", description=__doc__)
    parser.add_argument("--npm", type=Path, required=True, help="the folder that the npm packages are installed in")
    claude = ClaudeCode(parser.parse_args().npm)
    with stage() as built:
        config = built.home / "ccrelay" / "relay.toml"
        config.parent.mkdir()
        config.write_text(configuration(built), "utf-8")
        config.chmod(0o600)
        env = built.env(CCRELAY_CONFIG=str(config), ZAI_API_KEY="zai-key-of-the-relay")
        with screen([sys.executable, "ccrelay.py"], env, ROOT, built.folder / "tmux-relay") as log:
            log.wait("listening on ")
            picker = session(claude, built, env)
            time.sleep(1)
            draw(log.styled(), ROOT / "docs" / "log.svg")
        draw(picker, ROOT / "docs" / "picker.svg")
    return 0


def configuration(built: Stage) -> str:
    """The default one, with the upstreams in place of the real ones."""
    text = (ROOT / "relay.toml").read_text("utf-8")
    for address, upstream in (
        ("https://api.anthropic.com", built.anthropic),
        ("https://api.z.ai", built.zai),
        ("http://127.0.0.1:11434", built.ollama),
    ):
        text = text.replace(address, upstream.url)
    text = re.sub(r"(?m)^  \{ id = \"glm-(?!5\.3\"|5\.2|4\.7\").*\n", "", text)  # a screen holds ten rows
    return text.replace("[routes]\n", ROUTE, 1)


def session(claude: ClaudeCode, built: Stage, env: dict[str, str]) -> list[str]:
    """One conversation that moves from Claude to GLM, to Qwen and back; gives the screen with the picker."""
    quiet = dict.fromkeys(("DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"), "1")
    env = {**env, **quiet, "CCRELAY_CLAUDE": claude.program, "ANTHROPIC_AUTH_TOKEN": TOKEN}
    command = [sys.executable, str(ROOT / "ccrelay.py"), "claude"]
    with screen(command, env, built.work, built.folder / "tmux") as terminal:
        go_on_to_prompt(terminal)
        say(terminal, "What is in this folder?")
        terminal.type("/model")
        terminal.wait(r"Select model(.|\n)*GLM-5\.2")
        screen_lines = terminal.styled()
        picker = screen_lines[next(at for at, line in enumerate(screen_lines) if "Select model" in line) :]
        terminal.press("Escape")
        for model, label in (("zai/glm-5.2", "GLM-5.2"), ("ollama/qwen3:8b", "qwen3:8b"), ("opus", "Opus")):
            switch(terminal, model, label)
            say(terminal, f"And now, {model}?")
        built.zai.script(OVERLOADED, match="/api/anthropic")
        switch(terminal, "sonnet", "Sonnet")
        say(terminal, "And if GLM is overloaded?")
    return picker


def say(terminal: Screen, words: str) -> None:
    """One turn, to its end."""
    terminal.type(words)
    terminal.wait(rf"❯ {re.escape(words)}(.|\n)*✻")


# --- from a screen to a picture


def draw(lines: list[str], path: Path) -> None:
    """Lines with the terminal's colours in them, as SVG."""
    width = max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in lines)
    size = f'width="{width * CELL + 2 * MARGIN:.0f}" height="{len(lines) * LINE + 2 * MARGIN}"'
    rows = [
        f'<tspan x="{MARGIN + column * CELL:.1f}" y="{MARGIN + (row + 1) * LINE - 5}"{style}>{escape(text)}</tspan>'
        for row, line in enumerate(lines)
        for column, style, text in runs(line)
        if text.strip()
    ]
    font = 'font-family="ui-monospace, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="14"'
    body = "\n".join(rows)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} xml:space="preserve">\n'
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>\n'
        f'<text fill="{TEXT}">\n{body}\n</text>\n</svg>\n',
        "utf-8",
    )


def runs(line: str) -> Iterator[tuple[int, str, str]]:
    """(column, style, text) of every stretch of one colour; words that are far apart are stretches of their own."""
    column, codes = 0, [0]
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b"):
            codes = codes + [int(code or 0) for code in part[2:-1].split(";")]
            codes = codes[len(codes) - codes[::-1].index(0) :] if 0 in codes and not is_colour_part(codes) else codes
        else:
            for words in re.finditer(r"\S+(?: \S+)*", part):
                yield column + words.start(), style(codes), words[0]
            column += len(part)


def is_colour_part(codes: list[int]) -> bool:
    """Whether the last zero belongs to a colour such as 38;2;0;0;0, and resets nothing."""
    zero = len(codes) - codes[::-1].index(0) - 1
    return any(codes[at : at + 2] in ([38, 2], [48, 2]) and at < zero < at + 5 for at in range(len(codes)))


def style(codes: list[int]) -> str:
    """The attributes of a stretch, from the terminal's codes since the last reset."""
    fill, more, rest = "", "", list(codes)
    while rest:
        code = rest.pop(0)
        if code in (38, 48) and rest:
            colour = true_colour(rest)
            fill = colour if code == 38 else fill
        elif 30 <= code <= 37 or 90 <= code <= 97:
            fill = COLOURS[code % 10]
        elif code == 39:
            fill = ""
        elif code in (1, 2):
            more += ' font-weight="bold"' if code == 1 else ' opacity="0.6"'
        elif code == 22:
            more = ""
    return (f' fill="{fill}"' if fill else "") + more


def true_colour(rest: list[int]) -> str:
    """Takes what follows 38 or 48: `2;R;G;B`, or `5;N` of the 256."""
    if rest.pop(0) == 2:
        red, green, blue = rest.pop(0), rest.pop(0), rest.pop(0)
        return f"#{red:02x}{green:02x}{blue:02x}"
    number = rest.pop(0)
    if number < 16:
        return COLOURS[number % 8]
    if number > 231:
        return "#" + f"{8 + 10 * (number - 232):02x}" * 3
    levels = (0, 95, 135, 175, 215, 255)
    return "#" + "".join(f"{levels[(number - 16) // base % 6]:02x}" for base in (36, 6, 1))


if __name__ == "__main__":
    sys.exit(main())
