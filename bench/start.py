"""How fast the relay is there, and what it takes when nobody asks."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from load import Job
from processes import Server, load, memory_mb

START = "start"
ABOUT = "from the command to the first streamed answer; then nothing for two seconds"
IDLE_SECONDS = 2.0


def start_run(server: Server, job: Job) -> dict[str, Any]:
    """The figures of a relay that has just been started.

    The client's own start is not in it: its first answer is counted from where it asks.
    """
    told = load(job)
    if told["whole"]:
        told["start_ms"] = 1000 * server.start_seconds + told["total_us"]["max"] / 1000
    before = switches(server.pid)
    time.sleep(IDLE_SECONDS)
    after = switches(server.pid)
    told["wakeups_s"] = None if before is None or after is None else (after - before) / IDLE_SECONDS
    told["idle_mb"] = memory_mb(server.pid, "VmRSS")
    return told


def switches(pid: int) -> int | None:
    """How often its threads have gone to sleep so far; None where the system does not say."""
    total = None
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(OSError):
            found = re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", status.read_text())
            total = (total or 0) + int(found[1] if found else 0)
    return total
