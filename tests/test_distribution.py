"""However it got here: copied, linked, read-only, as one file. And whatever the console can show."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest
import zipapp
from importlib.metadata import PackagePath
from pathlib import Path
from unittest import mock

import ccrelay
from tests import nursery
from tests.relay import ECHO, PATIENCE, ROOT, UNSET

BROKEN = "prot = 1\n" + ECHO
OWN = ECHO + '[routes]\nmine = ["echo/echo"]\n'


class DistributionTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="ccrelay ü ")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()

    def copy(self) -> Path:
        """The program, as somebody would copy it."""
        to = self.folder / "app"
        shutil.copytree(
            ROOT / "ccrelay_providers", to / "ccrelay_providers", ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in ("ccrelay.py", "relay.toml"):
            shutil.copy(ROOT / name, to)
        return to

    def run_it(self, program: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **UNSET, "PYTHONDONTWRITEBYTECODE": "", "PYTHONIOENCODING": "utf-8", **environ}
        command = [sys.executable, str(program), *arguments]
        options = {"capture_output": True, "encoding": "utf-8", "timeout": PATIENCE, "env": env}
        return subprocess.run(command, cwd=self.folder, **options)  # type: ignore[call-overload,no-any-return]

    def assertFinds(self, program: Path, config: Path) -> None:
        """The start says which configuration it took."""
        env = {**os.environ, **UNSET, "PYTHONDONTWRITEBYTECODE": "", "HOME": "/nowhere"}
        command = [sys.executable, str(program), "--port", "0"]
        with subprocess.Popen(command, cwd=self.folder, env=env, stdout=subprocess.PIPE, encoding="utf-8") as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            said = [first, *iter(process.stdout.readline, "")] if process.poll() is not None else [first]
            process.kill()
        self.assertIn(str(config), "".join(said))


class TestDirectory(DistributionTest):
    def test_it_runs_where_it_was_copied_to_and_through_a_link(self) -> None:
        app = self.copy()
        self.assertFinds(app / "ccrelay.py", app / "relay.toml")
        link = self.folder / "ccrelay"
        try:
            link.symlink_to(app / "ccrelay.py")
        except OSError:
            self.skipTest("no links here")
        self.assertFinds(link, app / "relay.toml")

    @unittest.skipIf(os.name == "nt", "permissions are of another kind")
    def test_a_folder_that_cannot_be_written_to(self) -> None:
        app = self.copy()
        for folder in (app, *(each for each in app.rglob("*") if each.is_dir())):
            folder.chmod(0o555)
            self.addCleanup(folder.chmod, 0o755)
        self.assertRegex(self.run_it(app / "ccrelay.py", "--version").stdout, r"^ccrelay \d+\.\d+\.\d+\n$")
        self.assertIn("anthropic/claude-opus-5-5", self.run_it(app / "ccrelay.py", "--port", "1", "models").stdout)

    def test_a_missing_default_is_named(self) -> None:
        app = self.copy()
        (app / "relay.toml").unlink()
        done = self.run_it(app / "ccrelay.py")
        self.assertEqual((done.returncode, done.stderr), (2, f"{app / 'relay.toml'}: cannot be read: {NO_FILE}\n"))


class TestArchive(DistributionTest):
    def archive(self) -> Path:
        to = self.folder / "ccrelay.pyz"
        zipapp.create_archive(self.copy(), to, main="ccrelay:console")
        return to

    def test_the_configuration_is_inside_or_beside(self) -> None:
        archive = self.archive()
        self.assertFinds(archive, archive / "relay.toml")
        (self.folder / "relay.toml").write_text(OWN, "utf-8")
        self.assertFinds(archive, self.folder / "relay.toml")
        self.assertIn("echo/echo", self.run_it(archive, "--port", "1", "models").stdout)

    def test_exit_codes(self) -> None:
        archive = self.archive()
        (self.folder / "relay.toml").write_text(BROKEN, "utf-8")
        done = self.run_it(archive, "models")
        self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1))


class TestInstalled(unittest.TestCase):
    """What pip installs is tried by .ci/run; here, that the list of installed files is read right."""

    def test_the_configuration_that_was_installed_with_it(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = PackagePath("../../../share/ccrelay/relay.toml")
            path.dist = mock.Mock(locate_file=lambda file: Path(folder) / "lib/python3/site-packages" / file)
            with mock.patch("importlib.metadata.files", return_value=[PackagePath("ccrelay.py"), path]):
                found = ccrelay.default_config(Path(folder))
        self.assertEqual(found, (Path(folder) / "share/ccrelay/relay.toml").resolve())

    def test_every_package_is_in_the_list(self) -> None:
        listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
        folders = {path.parent.relative_to(ROOT) for path in (ROOT / "ccrelay_providers").rglob("*.py")}
        self.assertEqual({".".join(folder.parts) for folder in folders}, set(listed))


class TestConsoles(DistributionTest):
    def test_a_console_that_lacks_a_sign_ends_nothing(self) -> None:
        config = self.folder / "relay.toml"
        config.write_text(
            OWN.replace("mine", '"→ü"').replace('"echo"', '"echo"\nmodels = [{ id = "echo", name = "E·ü→" }]'), "utf-8"
        )
        for encoding in ("ascii", "cp1252"):
            for arguments in (("models",), ("env",), ("--help",)):
                done = self.run_in(encoding, "--config", str(config), "--port", "1", *arguments)
                self.assertNotIn("Traceback", done.stderr, (encoding, arguments))
                self.assertEqual(done.returncode, 0, (encoding, arguments, done.stderr))
        config.write_text('"→" = 1\n' + ECHO, "utf-8")
        done = self.run_in("ascii", "--config", str(config))
        self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1), done.stderr)

    def run_in(self, encoding: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **UNSET, "PYTHONIOENCODING": encoding, "HOME": str(self.folder)}
        command = [sys.executable, str(ROOT / "ccrelay.py"), *arguments]
        return nursery.run(command, env)


NO_FILE = os.strerror(2)

if __name__ == "__main__":
    unittest.main()
