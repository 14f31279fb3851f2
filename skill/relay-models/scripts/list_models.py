#!/usr/bin/env python3
"""Prints the models that the relay at ANTHROPIC_BASE_URL offers, as a table, or one sentence that says why it cannot.

    python3 list_models.py [FILTER] [--json] [--session ID]

It asks the relay alone, and no model. The credential is what Claude Code itself would show there; it goes to that
address and nowhere else, and is never printed. The exit code is always 0: a skill that fails shows nothing at all.
Python 3.9 or later, standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

SECONDS = 3.0
ABILITIES = (("tools", "tool_use"), ("vision", "image_input"), ("thinking", "thinking"))
Json = dict[str, Any]


class Unavailable(Exception):
    """Why there is no list: one sentence."""


def main() -> None:
    parser = argparse.ArgumentParser(description="The models that the relay offers.")
    parser.add_argument("filter", nargs="?", default="", metavar="FILTER", help="a part of an id or a name")
    parser.add_argument("--session", default="", metavar="ID", help="say who answers this session")
    parser.add_argument("--json", action="store_true", help="for other programs")
    options = parser.parse_args()
    try:
        print("\n".join(page(options)))
    except Unavailable as reason:
        print(json.dumps({"error": str(reason)}) if options.json else f"UNAVAILABLE: {reason}")


def page(options: argparse.Namespace) -> list[str]:
    url = os.environ.get("ANTHROPIC_BASE_URL", "").rstrip("/")
    if not url:
        raise Unavailable(
            "ANTHROPIC_BASE_URL is not set in this shell, so this session goes through no relay; start one with "
            "`python ccrelay.py`, then Claude Code with `export ANTHROPIC_BASE_URL=http://127.0.0.1:8787`"
        )
    models = models_of(url)
    status = ask(url, "/status" + ("?session=" + quote(options.session) if options.session else ""), required=False)
    rows = [row(model, status) for model in models]
    word = options.filter.lower()
    chosen = [each for each in rows if word in each["id"].lower() or word in each["name"].lower()]
    if options.json:
        return [json.dumps({"relay": url, "session": session(status), "models": chosen}, indent=2)]
    if not chosen:
        raise Unavailable(f"no model is called like {word!r}; without a filter there are {len(rows)}")
    return [" · ".join([shown(url), f"{len(rows)} models", *now(status)]), "", *table(chosen)]


def models_of(url: str) -> list[Any]:
    listing = ask(url, "/v1/models?limit=1000")
    models = listing.get("data")
    if not isinstance(models, list):
        raise Unavailable(f"what answers at {shown(url)} is not ccrelay")
    if not models:
        raise Unavailable(f"the relay at {shown(url)} has no model to offer; `python ccrelay.py check` says why")
    return models


# ---- asking the relay ----


def ask(url: str, path: str, required: bool = True) -> Json:
    """The answer's object; an empty one where it is not required and not there. Raises Unavailable."""
    status, server, body = fetch(url, path)
    if status == 401:
        raise Unavailable(refused(url))
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if status == 200 and isinstance(told, dict):
        return told
    if not required:
        return {}
    if server != "ccrelay":
        raise Unavailable(f"what answers at {shown(url)} is not ccrelay (HTTP {status})")
    error = told.get("error") if isinstance(told, dict) else None
    words = error.get("message") if isinstance(error, dict) else None
    raise Unavailable("the relay at {} says: {}".format(shown(url), words or f"HTTP {status}"))


def fetch(url: str, path: str) -> tuple[int, str, bytes]:
    """Status, server and body. http.client follows no redirect: a credential stays where it was meant to go."""
    try:
        parts = urlsplit(url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=SECONDS)
    except ValueError:
        raise Unavailable(f"ANTHROPIC_BASE_URL is no address: {shown(url)!r}") from None
    try:
        connection.request("GET", parts.path + path, headers=headers())
        response = connection.getresponse()
        return response.status, response.getheader("server", ""), response.read()
    except TimeoutError:
        raise Unavailable(f"the relay at {shown(url)} did not answer within {SECONDS:g} s") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unavailable(
            f"no relay answers at {shown(url)} ({reason}); start it with `python ccrelay.py`, or let a sandbox reach "
            "that address"
        ) from None
    finally:
        connection.close()


def headers() -> dict[str, str]:
    """The client's credentials, as it shows them, and the relay's own token from ANTHROPIC_CUSTOM_HEADERS."""
    found = {"user-agent": "relay-models", "accept": "application/json"}
    if token := os.environ.get("ANTHROPIC_AUTH_TOKEN"):
        found["authorization"] = "Bearer " + token
    if key := os.environ.get("ANTHROPIC_API_KEY"):
        found["x-api-key"] = key
    for line in os.environ.get("ANTHROPIC_CUSTOM_HEADERS", "").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "x-ccrelay-token":
            found["x-ccrelay-token"] = value.strip()
    return found


def refused(url: str) -> str:
    if len(headers()) == 2:
        return (
            f"the relay at {shown(url)} wants its token, and there is no credential in this shell: "
            "ANTHROPIC_AUTH_TOKEN is not passed on to it"
        )
    return f"the relay at {shown(url)} refused the token: ANTHROPIC_AUTH_TOKEN must be its server.token"


def shown(url: str) -> str:
    """Without a password that somebody wrote into it."""
    scheme, _, rest = url.partition("://")
    return "{}://{}".format(scheme, rest.rpartition("@")[2]) if rest else url.rpartition("@")[2]


# ---- what is shown ----


def row(model: Json, status: Json) -> Json:
    """None: not known."""
    known = model.get("capabilities") or {}
    name = str(model.get("id"))
    return {
        "id": name,
        "name": str(model.get("display_name") or ""),
        "provider": str(model.get("description") or name.partition("/")[0]).partition(" · ")[0],
        "context": model.get("max_input_tokens"),
        "max_output": model.get("max_tokens"),
        **{word: (known.get(key) or {}).get("supported") for word, key in ABILITIES},
        "health": health(name, status),
    }


def health(model: str, status: Json) -> str | None:
    """`ok`, or why it would not answer now; None if the relay does not tell."""
    providers = [each for each in status.get("providers") or [] if isinstance(each, dict)]
    provider = next((each for each in providers if each.get("name") == model.partition("/")[0]), None)
    if provider is None:
        return None
    if provider.get("unreachable"):
        return f"down: {provider['unreachable']}"
    own: Json = next((each for each in provider.get("models") or [] if each.get("id") == model), {})
    resting = next((each for each in (own, provider) if each.get("health") == "resting"), None)
    if resting is None:
        return "ok"
    seconds = resting.get("resting_seconds")
    return f"resting{f' {seconds} s' if seconds else ''}: {resting.get('reason') or 'it failed'}"


def session(status: Json) -> Json | None:
    told = status.get("session")
    return told if isinstance(told, dict) else None


def now(status: Json) -> list[str]:
    """Who answered this session last."""
    told = session(status)
    if not told or not told.get("answered_by"):
        return []
    asked = "" if told.get("model") in (None, told["answered_by"]) else " (asked for {})".format(told["model"])
    return ["this session is answered by {}{}".format(told["answered_by"], asked)]


def table(rows: list[Json]) -> list[str]:
    columns = {
        "ID": [each["id"] for each in rows],
        "NAME": [each["name"] for each in rows],
        "PROVIDER": [each["provider"] for each in rows],
        "WINDOW": [tokens(each["context"]) for each in rows],
        "OUTPUT": [tokens(each["max_output"]) for each in rows],
        "ABILITIES": [abilities(each) for each in rows],
        "HEALTH": [each["health"] or "" for each in rows],
    }
    kept = {title: cells for title, cells in columns.items() if any(cells)}
    widths = [max(map(len, [title, *cells])) for title, cells in kept.items()]
    lines = [list(kept), *map(list, zip(*kept.values()))]  # noqa: B905  # strict is of Python 3.10
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def abilities(model: Json) -> str:
    """`tools, thinking`; with a question mark what nobody knows."""
    words = [name if model[name] else name + "?" for name, _ in ABILITIES if model[name] is not False]
    return ", ".join(words) or "text only"


def tokens(count: Any) -> str:
    if not isinstance(count, int):
        return "?"
    return f"{count / 1e6:.2g}M" if count >= 1_000_000 else f"{round(count / 1000)}k"


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    main()
