"""docs/contributing.md: its example of a provider keeps the contract, plays its transcript, and the relay speaks it."""

from __future__ import annotations

import ast
import http.client
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from types import ModuleType
from typing import cast

from ccrelay_providers.wire.provider import Provider
from tests import transcripts
from tests.relay import CLIENT, ROOT, turn
from tests.upstreams import Upstream

PAGE = (ROOT / "docs" / "contributing.md").read_text("utf-8")
ROWS = {  # what the page's second step says, in the files as they are
    "ccrelay_providers/__init__.py": [
        ("import ccrelay_providers.zai as zai\n", "import ccrelay_providers.parrot as parrot\n"),
        ('"echo": echo', ', "parrot": parrot'),
    ],
    "ccrelay_providers/core/settings.py": [
        ('ProviderType = Literal["anthropic"', ', "parrot"'),
        ('"echo": {"models": ["echo"]},', '\n    "parrot": {},'),
        ('"base_url": ("anthropic"', ', "parrot"'),
        ('"api_key": ("anthropic"', ', "parrot"'),
    ],
}


def block(language: str, marker: str) -> str:
    """The fenced block of a language that holds the marker."""
    found = re.findall(rf"(?s)```{language}\n(.*?)```", PAGE)
    return str(next(text for text in found if marker in text))


CODE = block("python", "def prepare")


class ExampleTests(unittest.TestCase):
    module: ModuleType

    @classmethod
    def setUpClass(cls) -> None:
        cls.module = ModuleType("ccrelay_providers.parrot")
        cls.module.__package__ = "ccrelay_providers"
        sys.modules[cls.module.__name__] = cls.module
        cls.addClassCleanup(sys.modules.pop, cls.module.__name__)
        exec(compile(CODE, "docs/contributing.md", "exec"), vars(cls.module))

    def test_it_keeps_the_contract(self) -> None:
        for name, function in vars(Provider).items():
            if inspect.isfunction(function) and name[0] != "_":
                expected = list(inspect.signature(function).parameters)[1:]
                self.assertEqual(expected, list(inspect.signature(getattr(self.module, name)).parameters), name)
        self.assertLessEqual({"LABEL", "ABILITIES"}, set(vars(self.module)))

    def test_it_imports_from_wire_only(self) -> None:
        imports = [node for node in ast.walk(ast.parse(CODE)) if isinstance(node, ast.ImportFrom) and node.level]
        self.assertGreater(len(imports), 5)
        for node in imports:
            self.assertTrue(str(node.module).startswith("wire."), node.module)

    def test_the_transcript_of_the_page(self) -> None:
        transcript = self.transcript()
        prepared, report = transcript.prepare()
        self.assertEqual((transcript.upstream_request, ""), (json.loads(prepared.body), report.dropped_header()))
        for pieces in ([transcript.answer], [bytes([byte]) for byte in transcript.answer]):
            outcome = transcript.play(pieces)
            self.assertEqual((None, json.loads(transcript.client)), (outcome.error, json.loads(outcome.client)))

    def test_what_it_cannot_take_is_told_or_counted(self) -> None:
        transcript = self.transcript()
        call = {"type": "tool_use", "id": "toolu_1", "name": "Look", "input": {"at": "x"}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}
        body = turn("parrot/grey", tools=[{"name": "Look", "input_schema": {}}], system="Be brief.", top_k=3)
        body["messages"] += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
        transcript.body = json.dumps(body).encode()
        prepared, report = transcript.prepare()
        said = [one["what"] for one in json.loads(prepared.body)["say"]]
        self.assertEqual(["Be brief.", "hi", '[called Look with {"at":"x"}]', "seen"], said)
        self.assertEqual("tools=1, top_k=1", report.dropped_header())

    def test_an_answer_that_is_cut_off_is_a_failure(self) -> None:
        outcome = self.transcript().play([b"hello\n"])
        self.assertEqual("502 api_error parrot: the answer ended without its last line", outcome.error)

    def test_its_errors_say_who_answers_next(self) -> None:
        transcript, provider = self.transcript(), cast(Provider, self.module)
        for status, type_name, next_one in (
            (401, "api_error", True),
            (503, "api_error", True),
            (400, "invalid_request_error", False),
        ):
            error = provider.error(status, transcript.headers, b"", transcript.target)
            self.assertEqual((type_name, next_one), (error.type, error.try_next))

    def transcript(self) -> transcripts.Transcript:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "parrot" / "message.txt"
            path.parent.mkdir()
            path.write_text(block("text", "--- request"), "utf-8")
            return transcripts.load(path)


class RelayTests(unittest.TestCase):
    """The page's steps, done to a copy of the relay, and the answer through its socket."""

    def test_a_copy_of_the_relay_speaks_it(self) -> None:
        with tempfile.TemporaryDirectory() as name, Upstream("scripted") as upstream:
            folder = Path(name)
            shutil.copytree(ROOT / "ccrelay_providers", folder / "ccrelay_providers")
            shutil.copy(ROOT / "ccrelay.py", folder)
            (folder / "ccrelay_providers" / "parrot.py").write_text(CODE, "utf-8")
            for file, rows in ROWS.items():
                self.write_rows(folder / file, rows)
            text = block("toml", "providers.parrot").replace("https://parrot.example", upstream.url)
            (folder / "relay.toml").write_text(text, "utf-8")
            upstream.script({"pieces": ["hello\n", "hello\n.\n"]}, match="/talk")
            self.assertEqual("hello\nhello\n", self.ask(folder))
            [request] = upstream.requests()
            self.assertEqual(("/talk", "k"), (request.path, request.header("x-parrot-key")))

    def write_rows(self, path: Path, rows: list[tuple[str, str]]) -> None:
        text = path.read_text("utf-8")
        for after, more in rows:
            self.assertEqual(1, text.count(after), f"{path.name}: {after}")
            text = text.replace(after, after + more)
        path.write_text(text, "utf-8")

    def ask(self, folder: Path) -> str:
        """What the relay in the folder answers to one question."""
        environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        command = [sys.executable, str(folder / "ccrelay.py"), "--port", "0"]
        pipe = subprocess.PIPE
        environ |= {"PARROT_KEY": "k", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        with subprocess.Popen(command, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environ) as process:
            try:
                assert process.stdout is not None
                port = next(int(line.rpartition(":")[2]) for line in process.stdout if line.startswith("listening on"))
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request("POST", "/v1/messages", json.dumps(turn("grey")), CLIENT)
                answer = json.loads(connection.getresponse().read())
                connection.close()
            finally:
                process.terminate()
        return str(answer["content"][0]["text"])


if __name__ == "__main__":
    unittest.main()
