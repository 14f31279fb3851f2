"""What is installed at an Ollama, what of it can chat, and how its server and its models are told apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .errors import RelayError, UpstreamDisconnected
from .messages import Json, dumps, loads, loads_object
from .ollama_chat import headers
from .ollama_errors import error
from .provider import Ask, Listing, Model, Target, UpstreamRequest, UpstreamResponse, Version

PATIENCE = 5.0  # seconds for one question about the models

_WRITES_CALLS = re.compile(r"qwen|qwq|hermes|llama|smollm|glm", re.IGNORECASE)
"""Families known to write a call in words instead of in the form that their template, and Ollama's parser, expect."""


def listing(ask: Ask, target: Target, before: Listing) -> Listing:
    """All that can chat. A model that cannot be shown is listed, with unknown facts."""
    tags, version = ask([_get("/api/tags", target), _get("/api/version", target)])
    told = _object_of(tags, "/api/tags", target).get("models")
    entries = [entry for entry in told if isinstance(entry, dict)] if isinstance(told, list) else []
    shown = _shown(ask, entries, target, before.shown)
    models = [_model(entry, shown.get(_key(entry), {})) for entry in entries]
    known = {key: facts for key, facts in shown.items() if facts}
    return Listing(tuple(model for model in models if model), _version(version) or before.version, known)


def loaded_window(ask: Ask, target: Target) -> int | None:
    """Since 0.10; None if the model is not loaded any more."""
    [answer] = ask([_get("/api/ps", target)])
    for entry in _object_of(answer, "/api/ps", target).get("models") or []:
        if isinstance(entry, dict) and target.model.id in (entry.get("model"), entry.get("name")):
            length = entry.get("context_length")
            return length if isinstance(length, int) and length > 0 else None
    return None


def writes_calls(model: Model, *families: str) -> bool:
    """Whether calls are looked for in its text: as configured, else by its family."""
    if model.text_tools is not None:
        return model.text_tools
    return any(_WRITES_CALLS.search(name) for name in (model.id, *families))


def _get(path: str, target: Target) -> UpstreamRequest:
    return UpstreamRequest("GET", path, headers(target), patience=PATIENCE)


def _object_of(answer: UpstreamResponse | RelayError, path: str, target: Target) -> Json:
    """The object that came back. Raises RelayError."""
    if isinstance(answer, RelayError):
        raise answer
    raw = answer.read()
    if answer.status != 200:
        raise error(answer.status, answer.headers, raw, target)
    found = loads_object(raw)
    if found is None:
        raise UpstreamDisconnected(f"{target.provider}: answered {path} not with an object; is base_url right?")
    return found


def _version(answer: UpstreamResponse | RelayError) -> Version:
    """Empty for what tells none, and for 0.0.0: a build from source, which has everything."""
    try:
        told = loads(answer.read()) if not isinstance(answer, RelayError) and answer.status == 200 else {}
    except ValueError:
        told = {}
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", str(told.get("version"))) if isinstance(told, dict) else None
    version = tuple(int(part or 0) for part in match.groups()) if match else ()
    return version if any(version) else ()


# ---- one model ----


def _key(entry: Json) -> str:
    """Changes with the model: a pull under the same name gives another digest."""
    return f"{_name(entry)} {entry.get('digest') or ''}"


def _name(entry: Json) -> str:
    return str(entry.get("model") or entry.get("name"))


def _shown(ask: Ask, entries: list[Json], target: Target, before: Mapping[str, Any]) -> dict[str, Json]:
    """What /api/show tells of each; who was shown before, and is the same, is not asked for again."""
    known = {_key(entry): before[_key(entry)] for entry in entries if entry.get("digest") and _key(entry) in before}
    asked = [entry for entry in entries if _key(entry) not in known]
    requests = [
        UpstreamRequest("POST", "/api/show", headers(target), dumps({"model": _name(entry)}), patience=PATIENCE)
        for entry in asked
    ]
    answers = ask(requests) if requests else []
    return known | {_key(entry): _facts(answer, entry, target) for entry, answer in zip(asked, answers, strict=True)}


def _facts(answer: UpstreamResponse | RelayError, entry: Json, target: Target) -> Json:
    """The few facts that are kept: an answer holds the license and the whole template."""
    try:
        shown = _object_of(answer, "/api/show", replace(target, model=Model(_name(entry))))
    except RelayError:
        return {}
    return {"capabilities": _capabilities(entry, shown), "context": _context(entry, shown)}


def _model(entry: Json, facts: Json) -> Model | None:
    """None for what cannot chat: embeddings, images."""
    name = _name(entry)
    capabilities = facts.get("capabilities") or _told(entry)
    if capabilities is not None and "completion" not in capabilities:
        return None
    can = {fact: fact in capabilities for fact in ("vision", "tools", "thinking")} if capabilities else {}
    context = facts.get("context") or _context(entry, {})
    model = Model(name, name.removesuffix(":latest"), context, detail=_detail(entry), **can)
    details = _object(entry, "details")
    return replace(model, text_tools=writes_calls(model, str(details.get("family"))) or None)


def _told(*answers: Json) -> list[str] | None:
    told = next((answer["capabilities"] for answer in answers if answer.get("capabilities")), None)
    return [str(capability) for capability in told] if isinstance(told, list) else None


def _capabilities(entry: Json, shown: Json) -> list[str]:
    """What the model can do; told since 0.6.4, before that guessed from what was there then."""
    if told := _told(shown, entry):
        return told
    families = _object(entry, "details").get("families") or []
    if any("bert" in str(family) for family in families) or "embed" in str(entry.get("name")):
        return ["embedding"]
    sees = "projector_info" in shown or "clip" in families or "mllama" in families
    return ["completion", *["tools"] * (".Tools" in str(shown.get("template"))), *["vision"] * sees]


def _context(entry: Json, shown: Json) -> int | None:
    """The length the model was trained for."""
    info = _object(shown, "model_info")
    keys = [f"{info.get('general.architecture')}.context_length"]
    keys += [key for key in info if key.endswith(".context_length")]
    lengths = [info.get(key) for key in keys] + [_object(entry, "details").get("context_length")]
    return next((length for length in lengths if isinstance(length, int) and length > 0), None)


def _detail(entry: Json) -> str | None:
    details = _object(entry, "details")
    where = "cloud" if entry.get("remote_host") else None
    words = (details.get("parameter_size"), details.get("quantization_level"), where)
    return " ".join(str(word) for word in words if word) or None


def _object(value: Json, key: str) -> Json:
    found = value.get(key)
    return found if isinstance(found, dict) else {}
