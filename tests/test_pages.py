"""README.md and docs/: links lead somewhere, and what the code can drop or be is on its page."""

from __future__ import annotations

import configparser
import plistlib
import re
import unittest
from pathlib import Path

import ccrelay_providers.echo as echo
from ccrelay_providers import PROVIDERS
from ccrelay_providers.commands.serve import DRAIN_SECONDS
from tests.relay import run

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "ccrelay_providers").rglob("*.py")))


def page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


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


class ContentTests(unittest.TestCase):
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
