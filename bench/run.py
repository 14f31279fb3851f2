"""Measures the relay against going direct, both interleaved, with a scripted upstream. All on this machine.

python bench/run.py                            every scenario, three repetitions: about four minutes
python bench/run.py first burst --json x.json
python bench/run.py first --against HEAD~5     this tree and an older revision, side by side
python bench/run.py --python 3.11 --python 3.13
python bench/run.py --quick                    does it all work? no figures worth reading
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import report
from bodies import body
from load import Job
from processes import (
    ROOT,
    BenchError,
    Certificate,
    Server,
    busy_seconds,
    cpu_seconds,
    forget_peak,
    git,
    interpreter,
    load,
    memory_mb,
    relay,
    upstream,
    worktree,
)
from scenarios import SCENARIOS, Scenario
from start import ABOUT, START, start_run
from upstream import FAULTS

Json = dict[str, Any]

TIMEOUT = 30.0  # seconds in which not one byte comes
WARM_UP = 8  # requests at least; one a connection, so that each has its own at the upstream


@dataclass(frozen=True)
class Target:
    """A relay to measure: its name in the tables, the folder of its code, the interpreter that runs it."""

    name: str
    root: Path
    python: str


@dataclass(frozen=True)
class Place:
    """Something that answers: the relay, or the upstream itself (`server` is then the upstream)."""

    name: str
    server: Server
    job: Job


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    scenarios: dict[str, Scenario]
    targets: list[Target]
    repetitions: int
    against: str | None
    fault: str | None
    start: bool
    warm: bool


# ---- one scenario ----


def measure(scenario: Scenario, plan: Plan, folder: Path) -> report.Runs:
    """Every target's runs, direct first in each repetition."""
    with ExitStack() as stack:
        up = stack.enter_context(upstream(scenario, folder, plan.fault))
        places = [Place("direct", up, job(scenario, up, folder, direct=True))]
        for target in plan.targets:
            server = stack.enter_context(relay(target.root, target.python, up.port, scenario.tls, folder))
            places.append(Place(target.name, server, job(scenario, server, folder, direct=False)))
        for place in places if plan.warm else []:
            load(replace(place.job, requests=min(max(WARM_UP, scenario.connections), scenario.requests)))
        runs: report.Runs = {place.name: [] for place in places}
        for _ in range(plan.repetitions):
            for place in places:
                runs[place.name].append(run(place, up, scenario, folder))
    return runs


def job(scenario: Scenario, server: Server, folder: Path, *, direct: bool) -> Job:
    model = scenario.upstream_model if direct else scenario.model
    path = folder / ("direct.json" if direct else "relay.json")
    path.write_bytes(body(model, scenario.body, messages=scenario.messages, foreign=scenario.foreign))
    return Job(
        port=server.port,
        path="/api/chat" if direct and scenario.translated else "/v1/messages?beta=true",
        body=str(path),
        connections=scenario.connections,
        requests=scenario.requests,
        events=scenario.events,
        translated=scenario.translated,
        certificate=str(Certificate(folder).cert) if direct and scenario.tls else None,
        timeout=TIMEOUT + scenario.interval,
    )


def run(place: Place, up: Server, scenario: Scenario, folder: Path) -> report.Run:
    """One run of the load at one place, with what it cost there."""
    measured = place.server is not up
    forget_peak(place.server.pid)
    before, shaken = usage(place, up), handshakes(up, folder) if scenario.tls else 0
    began = time.monotonic()
    told = load(place.job)
    after, wall = usage(place, up), time.monotonic() - began
    if scenario.tls:
        told["handshakes_request"] = (handshakes(up, folder) - shaken - 1) / told["requests"]  # one was for the count
    told["requests_s"] = told["whole"] / told["wall_s"]
    if before is not None and after is not None:
        busy, up_cpu, own_cpu = (later - earlier for earlier, later in zip(before, after, strict=True))
        told["others_cores"] = max(0.0, busy - up_cpu - own_cpu * measured - told["client_cpu_s"]) / wall
        if measured and told["whole"]:
            told |= costs(own_cpu, told["whole"], scenario.events, place.server.pid)
    return told


def usage(place: Place, up: Server) -> tuple[float, float, float] | None:
    """Processor seconds so far of the machine, of the upstream and of the place; None where the system has no /proc."""
    seconds = busy_seconds(), cpu_seconds(up.pid), cpu_seconds(place.server.pid)
    return None if None in seconds else seconds  # type: ignore[return-value]


def costs(seconds: float, requests: int, events: int, pid: int) -> Json:
    return {
        "cpu_request_ms": 1000 * seconds / requests,
        "cpu_event_us": 1_000_000 * seconds / (requests * max(1, events)),
        "peak_mb": memory_mb(pid, "VmHWM"),
    }


def handshakes(up: Server, folder: Path) -> int:
    """How many TLS connections the upstream has accepted, this question's own among them."""
    context = ssl.create_default_context(cafile=str(Certificate(folder).cert))
    connection = http.client.HTTPSConnection("localhost", up.port, timeout=TIMEOUT, context=context)
    try:
        connection.request("GET", "/__counts", headers={"connection": "close"})
        return int(json.loads(connection.getresponse().read())["handshakes"])
    finally:
        connection.close()


# ---- all of it ----


def results(plan: Plan) -> Iterator[tuple[str, str, report.Runs]]:
    """(name, what it is, runs) of each scenario, as they are done."""
    with tempfile.TemporaryDirectory(prefix="ccrelay-bench-") as folder:
        if plan.start:
            yield START, ABOUT, starts(plan, Path(folder))
        for name, scenario in plan.scenarios.items():
            yield name, scenario.about, measure(scenario, plan, Path(folder))


def starts(plan: Plan, folder: Path) -> report.Runs:
    scenario = replace(SCENARIOS["first"], requests=1, connections=1)
    runs: report.Runs = {target.name: [] for target in plan.targets}
    with upstream(scenario, folder, None) as up:
        for _ in range(plan.repetitions):
            for target in plan.targets:
                with relay(target.root, target.python, up.port, False, folder) as server:
                    runs[target.name].append(start_run(server, job(scenario, server, folder, direct=False)))
    return runs


def machine() -> Json:
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def measured(plan: Plan) -> Json:
    """Everything, printed as it comes."""
    told: Json = {"machine": machine(), "against": plan.against, "repetitions": plan.repetitions, "scenarios": {}}
    told["targets"] = {target.name: {"python": target.python} for target in plan.targets}
    for name, about, runs in results(plan):
        print(report.section(name, about, runs, plan.against) + "\n", flush=True)
        told["scenarios"][name] = {"about": about, "runs": runs}
    return told


def targets(pythons: list[str], then: Path | None, against: str | None) -> list[Target]:
    """The relay of this folder by each interpreter, then the other revision's."""
    found = [interpreter(wanted) for wanted in pythons] or [(sys.executable, platform.python_version())]
    if len(found) == 1:
        [(path, _)] = found
        now = Target("relay", ROOT, path)
        return [now, Target(str(against), then, path)] if then else [now]
    return [Target(f"relay {version}", ROOT, path) for path, version in found]


def chosen(options: argparse.Namespace) -> dict[str, Scenario]:
    names = options.scenarios or list(SCENARIOS)
    picked = {name: SCENARIOS[name] for name in names if name != START}
    if options.tls:
        picked = {name: replace(scenario, tls=True) for name, scenario in picked.items()}
    return {name: scenario.tiny() for name, scenario in picked.items()} if options.quick else picked


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join([START, *SCENARIOS])}")
    parser.add_argument("--against", metavar="REV", help="measure that revision as well, and compare")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every run there")
    parser.add_argument(
        "--python", action="append", default=[], help="runs the relay: a program or a version; repeat it"
    )
    parser.add_argument("--tls", action="store_true", help="the upstream speaks TLS in every scenario")
    parser.add_argument("--quick", action="store_true", help="one tiny repetition of each")
    parser.add_argument("--fault", choices=FAULTS, help="the upstream damages every stream: the bench must notice")
    options = parser.parse_args(argv)
    if unknown := set(options.scenarios) - {START, *SCENARIOS}:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join([START, *SCENARIOS])}")
    if options.against and len(options.python) > 1:
        parser.error("--against compares with one --python at a time")
    return options


def main() -> int:
    options = arguments()
    try:
        with ExitStack() as stack:
            then = stack.enter_context(worktree(options.against)) if options.against else None
            plan = Plan(
                scenarios=chosen(options),
                targets=targets(options.python, then, options.against),
                repetitions=1 if options.quick else options.repetitions,
                against=options.against,
                fault=options.fault,
                warm=not options.quick,
                start=not options.scenarios or START in options.scenarios,
            )
            told = {"revision": git("describe", "--always", "--dirty"), **measured(plan)}
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    if options.json:
        options.json.write_text(json.dumps(told, indent=1), "utf-8")
    return 1 if any(report.broken(each["runs"]) for each in told["scenarios"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
