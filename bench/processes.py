"""The processes of a run, and what the system says of them: processor time and memory, where there is a /proc."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from load import Job
from scenarios import Scenario, relay_toml

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
CHECK = """\
import sys
sys.version_info >= (3, 11) or sys.exit(1)
print(sys.executable, sys.version.split()[0], getattr(sys, "abiflags", ""))
"""


class BenchError(Exception):
    """What keeps the bench from measuring: one sentence."""


class Server:
    """A child process that prints where it listens; ended with the `with` block."""

    def __init__(self, command: list[str], log: Path, environ: dict[str, str] | None = None) -> None:
        self._command, self._log = command, log
        self._environ = {**without_proxies(), "PYTHONUNBUFFERED": "1", **(environ or {})}
        self.port = 0
        self.start_seconds = 0.0

    def __enter__(self) -> Self:
        began = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environ,
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("listening on "):
                self.port = int(re.split(r"[ :]", line.strip())[-1])
                self.start_seconds = time.monotonic() - began
                return self
        self.__exit__()
        raise BenchError(f"{' '.join(self._command)} did not start: {self._log.read_text('utf-8', 'replace')[-2000:]}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def pid(self) -> int:
        return self._process.pid


def without_proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


class Certificate:
    """A certificate for localhost, made by openssl in a folder."""

    def __init__(self, folder: Path) -> None:
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        if self.cert.exists():
            return
        make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
        where = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(self.key), "-out", str(self.cert)]
        try:
            subprocess.run([*make.split(), *where], check=True, capture_output=True)
        except FileNotFoundError:
            raise BenchError("a TLS upstream needs the program openssl, which is not there") from None
        except subprocess.CalledProcessError as error:
            raise BenchError(f"openssl made no certificate: {error.stderr.decode()[-300:]}") from None


def upstream(scenario: Scenario, folder: Path, fault: str | None) -> Server:
    command = [sys.executable, str(BENCH / "upstream.py"), "--events", str(scenario.events)]
    command += ["--interval", str(scenario.interval)]
    if scenario.tls:
        made = Certificate(folder)
        command += ["--cert", str(made.cert), "--key", str(made.key)]
    if fault:
        command += ["--fault", fault]
    return Server(command, folder / "upstream.log")


def relay(root: Path, python: str, upstream_port: int, tls: bool, folder: Path) -> Server:
    """The relay of a folder, run by an interpreter, with its log on."""
    name = re.sub(r"\W+", "-", f"{root.name}-{python}")
    config = folder / f"{name}.toml"
    scheme = "https" if tls else "http"
    config.write_text(relay_toml(f"{scheme}://localhost:{upstream_port}"), "utf-8")
    trust = {"SSL_CERT_FILE": str(Certificate(folder).cert)} if tls else {}
    command = [python, str(root / "ccrelay.py"), "--config", str(config), "--port", "0"]
    return Server(command, folder / f"{name}.log", trust)


def load(job: Job) -> dict[str, Any]:
    """One run of the client, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(BENCH / "load.py")],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        env=without_proxies(),
        check=False,
    )
    if done.returncode:
        raise BenchError(f"the client failed: {done.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


# ---- interpreters and revisions ----


def interpreter(wanted: str) -> tuple[str, str]:
    """(path, version) of a program, or of a version such as 3.12: from the PATH or pyenv. Raises BenchError."""
    candidates = [wanted, f"python{wanted}", *installed(wanted)]
    for path in filter(None, map(shutil.which, candidates)):
        found = subprocess.run([path, "-c", CHECK], capture_output=True, text=True, check=False)
        if found.returncode == 0:  # what was found may be a script that starts the interpreter
            executable, version, *flags = found.stdout.split()
            return executable, version + "".join(flags)
    raise BenchError(f"--python {wanted}: no such Python 3.11 or later on the PATH or in pyenv")


def installed(version: str) -> list[str]:
    """pyenv's interpreters of a version, the latest first."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = root.glob(f"{version}.*/bin/python") if re.fullmatch(r"[0-9.]+", version) else ()
    return [str(path) for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


@contextmanager
def worktree(revision: str) -> Iterator[Path]:
    """The files of a revision, in a folder that goes away with the block."""
    with tempfile.TemporaryDirectory(prefix="ccrelay-bench-") as parent:
        path = Path(parent) / "then"
        git("worktree", "add", "--detach", str(path), revision)
        try:
            yield path
        finally:
            git("worktree", "remove", "--force", str(path))


def git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


# ---- what the system says; None where it does not ----


def cpu_seconds(pid: int) -> float | None:
    """In steps of 10 ms as a rule."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return None


def memory_mb(pid: int, key: str) -> float | None:
    """VmRSS: now; VmHWM: at most, since the start or the last forget_peak()."""
    with suppress(OSError):
        found = re.search(rf"{key}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text("ascii", "replace"))
        return int(found[1]) * 1024 / 1e6 if found else None
    return None


def forget_peak(pid: int) -> None:
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def busy_seconds() -> float | None:
    """Processor time that the whole machine has spent, with what its host took away."""
    with suppress(OSError):
        user, nice, system, _, _, irq, softirq, steal, *_ = map(int, Path("/proc/stat").read_text().split()[1:11])
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return None
