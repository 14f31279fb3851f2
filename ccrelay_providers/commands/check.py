"""check: what is configured, what answers, how Claude Code is set; with --send, how each model does."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from .. import __version__
from ..core.catalog import Catalog
from ..core.config import ConfigError
from ..core.log import Log, count, seconds
from ..core.server import RelayServer
from ..core.settings import Config, Server
from ..core.tls import context
from ..core.upstream import Origin
from ..wire.errors import RelayError, UpstreamFailure
from ..wire.messages import loads
from ..wire.provider import Model, UpstreamRequest
from . import client, trial
from .probe import Probe, probes
from .running import ask, url
from .screen import number, program, short
from .serve import build
from .terminal import Terminal

SHOWN_MODELS = 6
Row = tuple[str, ...]


@dataclass(slots=True)
class Findings:
    """A sentence each. Problems make the exit code 1."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def run(options: argparse.Namespace, config: Config) -> int:
    """1 if a provider that is on cannot be used, the port is taken, or a model that was asked did not answer."""
    terminal = Terminal(sys.stdout, os.environ)
    quiet = Log("text", io.StringIO())  # what goes wrong is told here
    own = replace(config.server, host="127.0.0.1", port=0, tls_cert=None, tls_key=None)
    try:
        if config.server.tls_cert:
            context(config)
        server, catalog = build(replace(config, server=own), quiet)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if server is None:
        return 1
    findings = Findings(warnings=list(config.warnings))
    try:
        _check(config, catalog, terminal, findings)
        if options.send is not None:
            _send(options.send, server, catalog, terminal, findings)
    except KeyboardInterrupt:
        terminal.line()
        return 130
    _sum_up(terminal, findings)
    return 1 if findings.problems else 0


def _check(config: Config, catalog: Catalog, terminal: Terminal, findings: Findings) -> None:
    paint = terminal.paint
    terminal.line(f"{paint('bold', 'ccrelay')} {__version__}  {paint('dim', short(config.path))}")
    with terminal.working("asking the providers"):
        found = probes(config.providers, catalog)
    findings.problems += [probe.problem for probe in found if probe.problem]
    findings.warnings += [probe.warning for probe in found if probe.warning]
    findings.warnings += routes_to_nobody(config, catalog)
    _section(terminal, "Providers", [_provider(probe, terminal) for probe in found])
    state, problem = port_state(config.server)
    findings.problems += [problem] if problem else []
    _section(terminal, "Relay", [("port", f"{config.server.port or 'any'}: {state}")])
    with terminal.working("looking for Claude Code"):
        claude = client.look(os.environ, Path.cwd())
    _section(terminal, "Claude Code", list(_client(claude, config.server)))
    passes = (one.name for one in catalog.providers if one.type == "anthropic" and not one.api_key)
    findings.warnings += client.warnings(claude, config.server, next(passes, None))


def _section(terminal: Terminal, title: str, rows: Sequence[Row]) -> None:
    terminal.line()
    terminal.line(terminal.paint("bold", title))
    terminal.table(rows)


# ---- the providers ----


def _provider(probe: Probe, terminal: Terminal) -> Row:
    provider, paint = probe.provider, terminal.paint
    if provider.off:
        return provider.name, paint("dim", "off"), paint("dim", provider.off)
    if probe.problem:
        reason = probe.problem.removeprefix(f"{provider.name}: ").partition("; ")[0]
        return provider.name, paint("red", "broken"), reason
    answered = seconds(probe.seconds) if probe.seconds is not None else "offline"
    return provider.name, paint("green", "on"), answered, probe.key, models_words(probe.models)


def models_words(models: Sequence[Model]) -> str:
    """`4 models: a, b, c, d`; of many the first."""
    names = ", ".join(model.id for model in models[:SHOWN_MODELS])
    more = f" and {len(models) - SHOWN_MODELS} more" if len(models) > SHOWN_MODELS else ""
    return f"{number(len(models), 'model')}{': ' if names else ''}{names}{more}"


def routes_to_nobody(config: Config, catalog: Catalog) -> Iterator[str]:
    """A warning for each target that no provider offers. Those at a provider that is off have theirs already."""
    off = {provider.name for provider in config.providers if provider.off}
    for route in config.routes:
        for target in route.targets:
            if target.model.partition("/")[0] not in off and not catalog.offered(target.model):
                yield f"the route {route.pattern!r} leads to {target.model}, which no provider that is on offers"


# ---- the port ----


def port_state(server: Server) -> tuple[str, str]:
    """Who listens where the relay would, and a sentence if that is in its way."""
    if not server.port:
        return "one that is free", ""
    here = Origin("the port", url(server.host, server.port, bool(server.tls_cert)), 1.0, 3.0)
    try:
        answer = ask(here, UpstreamRequest("GET", "/api/hello", (("connection", "close"),)))
        if answer.status == 200 and loads(answer.body).get("name") == "ccrelay":
            return "a ccrelay listens", ""
    except (ValueError, AttributeError):
        pass  # it answers with something else than an object
    except RelayError as error:
        if type(error) is UpstreamFailure:  # nobody took the connection; its children are about what came over one
            return "free" if "cannot connect" in error.message else error.message.removeprefix("the port: "), ""
    return "something else listens", f"port {server.port} is taken by another program; choose one with --port N"


# ---- the client ----


def _client(claude: client.Client, server: Server) -> Iterator[Row]:
    version = client.version(claude.program) if claude.program else ""
    yield "program", f"{version or 'version not told'}  {claude.program}" if claude.program else "not found"
    base = claude.settings.get("ANTHROPIC_BASE_URL")
    where = "this relay" if client.calls(claude, server) else "elsewhere"
    yield "calls", f"{base.value}  ({base.source}): {where}" if base else "Anthropic: ANTHROPIC_BASE_URL is not set"
    names = [name for name in ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY") if claude.value(name)]
    shows = [f"{name} ({claude.source(name)})" for name in names] + ["apiKeyHelper"] * claude.key_helper
    yield "shows", " and ".join(shows) or "its own login"
    discovers = claude.value("CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY") not in ("", "0", "false")
    hindered = claude.value("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC") not in ("", "0", "false")
    yield "picker", "all models" if discovers and shows and not hindered else "Claude's models; others by /model NAME"


# ---- messages ----


def _send(names: Sequence[str], server: RelayServer, catalog: Catalog, terminal: Terminal, findings: Findings) -> None:
    chosen = chosen_models(names, catalog)
    rows = []
    with trial.running(server) as address:
        for position, name in enumerate(chosen, 1):
            with terminal.working(f"{position} of {len(chosen)}: {name}"):
                done = _tried(address, name, server.config, catalog)
            findings.problems += [problem_of(done)] if problem_of(done) else []
            rows.append(_trial(done, terminal))
    head = tuple(terminal.paint("dim", word) for word in ("", "first", "tok/s", "tool", "thinking", "stop", "in/out"))
    title = "Messages" if names else "Messages, to the first model of each provider"
    _section(terminal, title, [head, *rows] if rows else [("none: no model to send one to",)])


def chosen_models(names: Sequence[str], catalog: Catalog) -> list[str]:
    """Those named, patterns filled in from the list; without any the first of each provider that is on."""
    if not names:
        firsts = [(provider, catalog.models(provider)) for provider in catalog.providers]
        return [f"{provider.name}/{models[0].id}" for provider, models in firsts if models]
    listed = [candidate.id for candidate in catalog.listed()]
    found = [[one for one in listed if fnmatchcase(one, name)] or [name] for name in names]
    return list(dict.fromkeys(one for some in found for one in some))


def _tried(address: str, name: str, server: Server, catalog: Catalog) -> trial.Trial:
    try:
        candidates, _ = catalog.resolve(name)
    except RelayError as error:
        return trial.Trial(name, error.message)
    first = candidates[0].provider
    headers = {"x-ccrelay-token": server.token} if server.token else {}
    if first.type == "anthropic" and not first.api_key:
        own = client.credentials(os.environ)
        if not own:
            return trial.Trial(name, note="no message: only Claude Code has your Claude login; try it there")
        headers |= own
    return trial.send(address, name, first.type == "echo", headers)


def problem_of(done: trial.Trial) -> str:
    if done.problem:
        return f"{done.model}: {done.problem.removeprefix(done.model.partition('/')[0] + ': ')}"
    return f"{done.model}: called the tool with arguments that do not fit its schema" if done.tool is False else ""


def _trial(done: trial.Trial, terminal: Terminal) -> Row:
    paint = terminal.paint
    name = f"{done.model} → {done.answered_by}" if done.answered_by not in ("", done.model) else done.model
    if done.problem:
        return name, paint("red", "failed: ") + done.problem.removeprefix(done.model.partition("/")[0] + ": ")
    if done.note:
        return name, paint("yellow", done.note)
    tool = {True: paint("green", "ok"), False: paint("red", "wrong"), None: paint("yellow", "no")}[done.tool]
    speed = f"{done.speed:.0f}" if done.speed else "-"
    thought = paint("green", "ok") if done.thought else "no"
    tokens = f"{count(done.input_tokens)}/{count(done.output_tokens)}"
    return name, seconds(done.first), speed, tool, thought, done.stop_reason, tokens


def _sum_up(terminal: Terminal, findings: Findings) -> None:
    for colour, noun, sentences in (
        ("red", "problem", findings.problems),
        ("yellow", "warning", findings.warnings),
    ):
        if sentences:
            terminal.line()
            terminal.line(terminal.paint(colour, number(len(sentences), noun)))
            terminal.table([("-", sentence) for sentence in sentences])
    terminal.line()
    if not findings.problems:
        terminal.line(f"{terminal.paint('green', 'Nothing is broken.')} Next: {program()}")
