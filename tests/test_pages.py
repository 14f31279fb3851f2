"""README.md and docs/: links lead somewhere, and what the code can drop or be is on its page."""

from __future__ import annotations

import configparser
import io
import json
import plistlib
import re
import shlex
import tempfile
import tomllib
import unittest
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path

import ccrelay
import ccrelay_providers.echo as echo
from ccrelay_providers import PROVIDERS
from ccrelay_providers.commands.serve import DRAIN_SECONDS
from ccrelay_providers.core.config import load
from ccrelay_providers.core.log import Entry, as_dict
from tests.relay import run

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = [ROOT / "ccrelay.py", *sorted((ROOT / "ccrelay_providers").rglob("*.py"))]
CODE = "\n".join(path.read_text("utf-8") for path in SOURCES)
SECRETS = dict.fromkeys(("ANTHROPIC_API_KEY", "ZAI_API_KEY", "ZAI_KEY_1", "ZAI_KEY_2", "CCRELAY_TOKEN"), "k")
VARIABLE = r"(?:CCRELAY|ANTHROPIC|CLAUDE|ZAI|OLLAMA)_[A-Z_]*[A-Z]|NO_COLOR|[A-Z]+_PROXY"


def page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def all_pages() -> str:
    return "\n".join(path.read_text("utf-8") for path in PAGES if path.name != "CHANGELOG.md")


def blocks(*languages: str) -> Iterator[tuple[str, str]]:
    """(page, text) of every fenced block in these languages; an indented one without its indent."""
    for path in PAGES:
        for indent, language, text in re.findall(r"(?ms)^( *)```(\w*)\n(.*?)^ *```$", path.read_text("utf-8")):
            if language in languages:
                yield path.name, re.sub(rf"(?m)^{indent}", "", text)


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to headings."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?s)```.*?```", "", text))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


class LinkTests(unittest.TestCase):
    def test_every_link_leads_somewhere(self) -> None:
        for path in PAGES:
            for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
                if not target.startswith("https://"):
                    file, _, anchor = target.partition("#")
                    other = path.parent / file if file else path
                    with self.subTest(page=path.name, target=target):
                        self.assertTrue(other.is_file())
                        self.assertIn(anchor, {"", *anchors(other.read_text("utf-8"))})

    def test_every_page_is_in_the_readme(self) -> None:
        for path in (ROOT / "docs").glob("*.md"):
            self.assertIn(f"(docs/{path.name})", page("README.md"))


class ServiceTests(unittest.TestCase):
    """The files of getting-started.md are what systemd and launchd take."""

    def block(self, language: str) -> str:
        return str(re.findall(rf"(?s)```{language}\n(.*?)```", page("docs/getting-started.md"))[0])

    def test_systemd(self) -> None:
        unit = configparser.RawConfigParser(strict=True)
        unit.read_string(self.block("ini"))
        self.assertIn("ccrelay.py", unit["Service"]["ExecStart"])
        self.assertGreater(int(unit["Service"]["TimeoutStopSec"]), DRAIN_SECONDS)

    def test_launchd(self) -> None:
        told = plistlib.loads(self.block("xml").encode())
        self.assertIn("ccrelay.py", told["ProgramArguments"][1])
        self.assertGreater(told["ExitTimeOut"], DRAIN_SECONDS)


class ExampleTests(unittest.TestCase):
    """What stands in a fence can be used as it is."""

    def test_every_toml_is_a_configuration(self) -> None:
        found = [
            each for each in blocks("toml") if "prot = 8787" not in each[1]
        ]  # that one shows what errors look like
        self.assertGreater(len(found), 12)
        for page_name, text in found:
            tables = tomllib.loads(text)
            with self.subTest(page=page_name, text=text), tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "relay.toml"
                path.write_text(self.with_usual_providers(text, set(tables.get("providers", {}))), "utf-8")
                path.chmod(0o600)
                if "parrot" not in tables.get("providers", {}):  # tests/test_contributing.py makes that one known
                    self.assertEqual(load(path, SECRETS).warnings, ())

    def with_usual_providers(self, text: str, own: set[str]) -> str:
        key = {"zai": 'api_key = "${ZAI_API_KEY}"\nmodels = ["glm-5.2"]'}
        others = [kind for kind in PROVIDERS if kind not in own]
        return text + "".join(f'\n[providers.{kind}]\ntype = "{kind}"\n{key.get(kind, "")}\n' for kind in others)

    def test_every_json_is_json(self) -> None:
        for page_name, text in blocks("json"):
            with self.subTest(page=page_name):
                json.loads(text)

    def test_every_command_line_is_one(self) -> None:
        """In fences and in words: `python ccrelay.py ...` with a command, options and nothing that does not exist."""
        fenced = "\n".join(text for _, text in blocks("", "sh", "powershell"))
        lines = re.findall(r"(?:python3?|py) (?:~/)?(?:ccrelay/)?ccrelay\.py(?!z)([^\n`|#;&)]*)", fenced + all_pages())
        self.assertGreater(len(lines), 30)
        for line in set(lines):
            words = shlex.split(line.split("  ")[0].replace('"', " ").replace("'", ""))
            words = ["9000" if word == "N" else word.strip("[],.") for word in words if word not in ("…", ",")]
            if words and not re.fullmatch(r"[a-z]+|-.*", words[0]):
                continue
            with self.subTest(line=line), redirect_stderr(io.StringIO()) as said:
                try:
                    ccrelay.parse(words)
                except SystemExit as end:
                    self.assertEqual((end.code, said.getvalue()), (0, ""))


class ContentTests(unittest.TestCase):
    def test_every_option_is_explained(self) -> None:
        listed = re.findall(r"(?m)^    (\w+) +\S", run("--help").stdout)
        options = {option for name in ["--help", *listed] if name != "claude" for option in self.options(name)}
        self.assertLessEqual({"--config", "--host", "--port", "--verbose", "--send", "--json", "--shell"}, options)
        for option in options - {"--help"}:
            self.assertTrue(re.search(rf"{option}\b", all_pages()), option)

    def options(self, command: str) -> list[str]:
        text = run(command, *([] if command == "--help" else ["--help"])).stdout
        return re.findall(r"(?m)^  (?:-\w(?: \w+)?, )?(--[\w-]+)", text)

    def test_every_endpoint_is_explained(self) -> None:
        paths = set(re.findall(r'(?m)^ +"(/[\w/]*)": \{"', CODE)) | {"/v1/models/ID"}
        self.assertLessEqual({"/", "/health", "/v1/messages", "/v1/models", "/status"}, paths)
        table = page("docs/design.md").split("## Endpoints", 1)[1]
        for path in paths:
            self.assertTrue(re.search(rf"(?:GET|POST) {path}`", table), path)

    def test_every_header_of_the_relays_own_is_explained(self) -> None:
        names = set(re.findall(r"x-ccrelay-[a-z]+", CODE))
        self.assertLessEqual(
            {"x-ccrelay-provider", "x-ccrelay-dropped", "x-ccrelay-token", "x-ccrelay-fallback"}, names
        )
        for name in names:
            self.assertTrue(f"`{name}" in all_pages(), name)

    def test_every_variable_is_explained(self) -> None:
        names = set(re.findall(rf'"({VARIABLE})"', CODE))
        self.assertLessEqual({"CCRELAY_CONFIG", "CCRELAY_CLAUDE", "NO_COLOR", "ANTHROPIC_BASE_URL"}, names)
        for name in names:
            self.assertTrue(re.sub("(?<=CLAUDE_CODE_USE_).*", "…", name) in all_pages(), name)

    def test_every_key_of_the_log_is_explained(self) -> None:
        log = page("docs/troubleshooting.md").split("## The log", 1)[1]
        for key in as_dict(Entry("req_1", "GET", "/")):
            self.assertTrue(f"`{key}`" in log, key)

    def test_every_command_is_explained(self) -> None:
        listed = re.findall(r"(?m)^    (\w+) +\S", run("--help").stdout)
        self.assertLessEqual({"serve", "models", "env", "claude"}, set(listed))
        pages = "".join(path.read_text("utf-8") for path in PAGES if path.name != "CHANGELOG.md")
        for command in listed:
            self.assertTrue(re.search(rf"ccrelay\.py {command}\b|`{command}`", pages), command)

    def test_every_provider_has_a_row_a_section_and_transcripts(self) -> None:
        for kind in PROVIDERS:
            self.assertIn(f"\n| `{kind}` |", page("README.md"))
            self.assertIn(f"\n## {kind}\n", page("docs/providers.md"))
            self.assertTrue(kind == "echo" or any((ROOT / "tests" / "transcripts" / kind).glob("*.txt")))

    def test_every_name_of_what_is_dropped_is_explained(self) -> None:
        names = set(re.findall(r'dropped\["(\w+)"\]|dropped\.update\(\["(\w+)"\]|dropped\.update\("(\w+)" for', CODE))
        found = {name for groups in names for name in groups if name}
        self.assertLessEqual({"thinking", "image", "beta", "effort"}, found)
        for name in found:
            self.assertRegex(page("docs/switching.md"), rf"(?m)^\| .*`{name}`.* \|")

    def test_every_directive_of_echo_is_explained(self) -> None:
        directives = re.findall(r"(?m)^    (echo:\w+ (?:[A-Z]+|\w+))", echo.__doc__ or "")
        self.assertGreater(len(directives), 5)
        for directive in directives:
            self.assertIn(f"`{directive}", page("docs/providers.md"))

    def test_every_module_is_in_the_house(self) -> None:
        for path in (ROOT / "ccrelay_providers").rglob("*.py"):
            if path.name != "__init__.py":
                self.assertIn(path.name, page("docs/design.md"))


if __name__ == "__main__":
    unittest.main()
