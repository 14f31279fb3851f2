"""relay.toml → the frozen dataclasses of settings.py, read once at the start.

Their fields are the table that the file is checked against. After load() nobody sees a dict or an environment
variable. Every error is collected as `file: dotted.key: sentence`, one a key; no error and no repr shows a secret.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .settings import (
    DEFAULTS,
    ONLY,
    PICKER,
    SECRETS,
    TYPES,
    Config,
    Provider,
    Route,
    RouteTarget,
    Routing,
    Server,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class ConfigError(Exception):
    """The configuration cannot be used; `errors` has every reason, one sentence each."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = list(errors)
        super().__init__("\n".join(self.errors))


# --- What values may be ---

_FORMS = {  # strings: any but the empty one, except
    "api_key": (r"[!-~]+", "a string of visible ASCII characters"),
    "api_keys": (r"[!-~]+", "a string of visible ASCII characters"),
    "token": (r"[!-~]+", "a string of visible ASCII characters"),
    "base_url": (r"https?://([\w.-]+|\[[\da-fA-F:.]+\])(:\d{1,5})?(/[^\s@?#]*)?", "http://HOST or https://HOST"),
    "keep_alive": (r"-?(\d+(\.\d+)?(ns|us|ms|s|m|h))+", 'a duration such as "30m", or a number of seconds'),
}
# Numbers are above zero, except where zero means something, or -1: for ever.
_LOWEST = {"first_event_patience": 0, "max_attempts": 0, "max_concurrent": 0, "max_queue": 0, "keep_alive": -1}
_LONGEST = 1_000_000  # for seconds: a socket's time-out overflows at 24 days

_TABLES = ("server", "routing", "routes", "providers")
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", list: "a list"}
_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}|\$\{")

Errors = dict[str, str]  # dotted key → sentence; the first one about a key stays
T = TypeVar("T", bound="DataclassInstance")


_TRUTHS = {"true": True, "false": False}


class _Expanded(str):
    """A string that a variable went into: perhaps a secret, so errors do not show it."""


# --- From the file to the Config ---


def load(path: Path, environ: Mapping[str, str], **server: object) -> Config:
    """The configuration in `path`. `server` is what the command line says over [server]; None there: nothing said.

    Raises ConfigError with all that is wrong.
    """
    errors, unset = Errors(), Errors()
    raw = _tables(_parse(path), errors)
    raw["server"] |= {key: value for key, value in server.items() if value is not None}
    tables = _expand(raw, "", environ, unset, errors)
    off = {name: _off(table, _dot("providers", name), unset) for name, table in tables["providers"].items()}
    warnings = [*_missing_keys(unset)]
    for where, variable in unset.items():
        errors.setdefault(where, f"{variable} is not set; ${{{variable}:-…}} would give a default")
    _find_certificate(path, tables["server"], errors)
    settings = _read(Server, tables["server"], "server", errors)
    _check_exposure(tables["server"], errors)
    routing = _read(Routing, tables["routing"], "routing", errors)
    routes = [_route(pattern, value, errors) for pattern, value in tables["routes"].items()]
    providers = [_provider(name, table, off[name], errors) for name, table in tables["providers"].items()]
    _require_usable(off, errors)
    warnings += [*_check_targets(tables["routes"], off, errors)]
    warnings += [*_check_fallback(routing, providers, off, errors), *_readable_secrets(path, raw)]
    if errors or settings is None or routing is None:
        raise ConfigError(f"{path}: {where}: {message}" for where, message in errors.items())
    notes = tuple(f"{path}: {warning}" for warning in warnings)
    return Config(path, settings, routing, tuple(filter(None, routes)), tuple(filter(None, providers)), notes)


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_content(path).decode("utf-8-sig"))
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        message = f"not UTF-8 (at line {1 + error.object[: error.start].count(10)})"
    except ValueError as error:
        message = f"not TOML: {error}"
    except RecursionError:
        message = "not TOML that anybody wrote: nested too deeply"
    raise ConfigError([f"{path}: {message}"])


def _content(path: Path) -> bytes:
    """Of a file; the default one may stand inside the archive that this program is."""
    if path.parent.is_file():
        import zipfile

        if zipfile.is_zipfile(path.parent):
            return zipfile.Path(path.parent, path.name).read_bytes()
    return path.read_bytes()


def _tables(raw: dict[str, Any], errors: Errors) -> dict[str, Any]:
    for key, value in raw.items():
        if key not in _TABLES:
            errors[_dot("", key)] = _unknown("", key, _TABLES)
        elif not isinstance(value, dict):
            errors[key] = f"expected a table, got {_got(key, value)}"
    return {key: dict(raw[key]) if isinstance(raw.get(key), dict) else {} for key in _TABLES}


def _check_exposure(server: dict[str, Any], errors: Errors) -> None:
    host = server.get("host", Server().host)
    guarded = "token" in server or "server.token" in errors
    if isinstance(host, str) and not is_loopback(host) and not guarded:
        shown = _got("host", host).strip('"')
        errors.setdefault("server.host", f"{shown} is reachable from the network, so server.token must be set")


def _find_certificate(path: Path, server: dict[str, Any], errors: Errors) -> None:
    """Both files or none; relative to the configuration."""
    for key, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if key in server and other not in server:
            errors.setdefault(f"server.{other}", f"missing; server.{key} needs it")
        if isinstance(given := server.get(key), str) and given:
            server[key] = str(path.absolute().parent / given)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`; any name but localhost is taken for one the network knows."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _off(table: Any, where: str, unset: Errors) -> str | None:
    """Why a provider cannot be used; what `unset` says about it is forgiven then."""
    if not isinstance(table, dict):
        return None
    if table.get("enabled") is False:
        for key in [key for key in unset if key.startswith(where + ".")]:
            del unset[key]
        return "enabled = false"
    missing = [key for key in unset if key.startswith(where + ".api_key")]
    if missing and not table.get("api_keys"):  # of several keys those that are there will do
        missing = [unset.pop(key) for key in missing]
        return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set"
    given = table.get("api_key") or table.get("api_keys")
    return "api_key is missing" if table.get("type") == "zai" and not given else None


def _missing_keys(unset: Errors) -> Iterator[str]:
    """A warning for each of several keys whose variable is not set; `unset` forgets them."""
    for where in [where for where in unset if where.rpartition(".")[2].startswith("api_keys[")]:
        yield f"{where}: {unset.pop(where)} is not set; the other keys are used"


def _provider(name: str, table: Any, off: str | None, errors: Errors) -> Provider | None:
    where = _dot("providers", name)
    kind = table.get("type") if isinstance(table, dict) else None
    if not re.fullmatch(r"[a-z0-9_-]+", name) or name == PICKER:
        errors.setdefault(where, f"a provider's name is made of a-z, 0-9, _ and -, and is not {PICKER}")
    if kind not in TYPES:
        _read(Provider, table, where, errors, name=name, off=off)
        return None
    if "api_key" in table and table.get("api_keys"):
        errors.setdefault(f"{where}.api_keys", "stands beside api_key; write all keys here")
    for key, types in ONLY.items():
        if key in table and kind not in types:
            errors.setdefault(f"{where}.{key}", f"only for type {' or '.join(types)}; this provider is of type {kind}")
    provider = _read(Provider, DEFAULTS[kind] | table, where, errors, name=name, off=off)
    return provider and replace(provider, base_url=provider.base_url.rstrip("/"))


def _require_usable(off: dict[str, str | None], errors: Errors) -> None:
    if not off:
        errors.setdefault("providers", 'missing; expected one such as [providers.anthropic] with type = "anthropic"')
    elif all(off.values()):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in off.items())
        errors["providers"] = f'none can be used ({reasons}); set what is missing, or add one of type "echo" to try'


def _route(pattern: str, value: Any, errors: Errors) -> Route | None:
    where = _dot("routes", pattern)
    if isinstance(value, list):
        return Route(pattern, _value(tuple[RouteTarget, ...], value, where, errors))
    if isinstance(value, dict):
        return _read(Route, value, where, errors, pattern=pattern)
    errors.setdefault(where, f"expected a list of models or a table with targets, got {_got(where, value)}")
    return None


def _check_targets(routes: dict[str, Any], off: dict[str, str | None], errors: Errors) -> Iterator[str]:
    """Errors for targets at providers that do not exist; yields a warning for each at one that is off."""
    for pattern, targets in routes.items():
        where = _dot("routes", pattern)
        if isinstance(targets, dict):
            where, targets = f"{where}.targets", targets.get("targets")
        if targets == [] and f"{where}[0]" not in errors:
            errors.setdefault(where, "expected at least one target")
        for number, target in enumerate(targets if isinstance(targets, list) else ()):
            model = str(target.get("model") if isinstance(target, dict) else target)
            name = model.partition("/")[0]
            if "/" in model and name not in off:
                errors.setdefault(f"{where}[{number}]", f"no provider {name}; there are {', '.join(off)}")
            elif "/" in model and off[name]:
                yield f"{where}[{number}]: {model} is passed over, since {name} is off ({off[name]})"


def _check_fallback(
    routing: Routing | None, providers: list[Provider | None], off: dict[str, str | None], errors: Errors
) -> Iterator[str]:
    """Errors for what cannot answer, whoever failed; yields a warning for each at a provider that is off."""
    known = {provider.name: provider for provider in providers if provider is not None}
    for number, target in enumerate(routing.fallback if routing else ()):
        where = f"routing.fallback[{number}]"
        name, _, model = target.partition("/")
        if not model:
            errors.setdefault(where, f"expected provider/model, got {_got('fallback', target)}")
        elif name not in off:
            errors.setdefault(where, f"no provider {name}; there are {', '.join(off)}")
        elif off[name]:
            yield f"{where}: {target} is passed over, since {name} is off ({off[name]})"
        elif name in known and not _offers(known[name], model):
            has = ", ".join(each.id for each in known[name].models)
            errors.setdefault(where, f"{name} has no model {model}" + (f"; it has {has}" if has else ""))


def _offers(provider: Provider, model: str) -> bool:
    """As far as the file tells: what Ollama has, only Ollama knows, and Anthropic takes every claude-… name."""
    if provider.discover or (provider.type == "anthropic" and model.startswith("claude-")):
        return True
    return any(each.id in (model, f"{model}:latest") for each in provider.models)


# --- Variables and secrets ---


def _expand(value: Any, where: str, environ: Mapping[str, str], unset: Errors, errors: Errors) -> Any:
    """`value` with the variables in its strings filled in. A key whose variable has no value is left out and named in
    `unset`; an empty secret is left out as well.
    """
    if isinstance(value, dict):
        table = {key: _expand(each, _dot(where, key), environ, unset, errors) for key, each in value.items()}
        gone = {key for key in table if _dot(where, key) in unset or (key in SECRETS and table[key] == "")}
        return {key: each for key, each in table.items() if key not in gone}
    if isinstance(value, list):
        items = [_expand(each, f"{where}[{n}]", environ, unset, errors) for n, each in enumerate(value)]
        empty = "" if where.endswith(".api_keys") else None
        return [each for n, each in enumerate(items) if f"{where}[{n}]" not in unset and each != empty]
    if not isinstance(value, str) or "${" not in value:
        return value

    def fill(match: re.Match[str]) -> str:
        name, default = match.groups()
        if name is None and match[0] == "${":
            errors.setdefault(where, "has a ${ that begins neither ${VAR} nor ${VAR:-default}; $${ stands for itself")
        if name is None:
            return "${"
        if not environ.get(name) and default is None:
            unset.setdefault(where, name)
        return environ.get(name) or default or ""

    return _Expanded(_VARIABLE.sub(fill, value))


def others_read(path: Path) -> bool:
    return os.name == "posix" and path.is_file() and bool(path.stat().st_mode & 0o044)


def _readable_secrets(path: Path, raw: dict[str, Any]) -> Iterator[str]:
    """A warning for each secret written out in a file that other users of this machine can read."""
    key = raw["server"].get("tls_key")
    if isinstance(key, str) and others_read(path.absolute().parent / key):
        yield "server.tls_key: other users can read the file; chmod 600 it"
    if not others_read(path):
        return
    tables = {"server": raw["server"]} | {_dot("providers", name): table for name, table in raw["providers"].items()}
    found = [(_dot(where, key), table[key]) for where, table in tables.items() for key in SECRETS if key in table]
    for where, value in found:
        if _expand(value, where, {}, {}, {}):
            yield f"{where}: written out, and other users can read the file; chmod 600 it, or write ${{VAR}}"


# --- One reader for all dataclasses ---


def _read(cls: type[T], table: Any, where: str, errors: Errors, **given: Any) -> T | None:
    """`table` as a `cls`, whose fields in `given` the file cannot set; None when anything in it is wrong."""
    if not isinstance(table, dict):
        errors.setdefault(where, f"expected a table, got {_got(where, table)}")
        return None
    hints, known = get_type_hints(cls), {each.name: each for each in fields(cls) if each.name not in given}
    for key in table:
        if key not in known:
            errors.setdefault(_dot(where, key), _unknown(where, key, known))
    for name, each in known.items():
        if name in table:
            given[name] = _value(hints[name], table[name], _dot(where, name), errors)
        elif each.default is MISSING:
            errors.setdefault(_dot(where, name), f"missing; expected {_expected(hints[name])}")
    wrong = any(key == where or key.startswith((f"{where}.", f"{where}[")) for key in errors)
    return None if wrong else cls(**given)


def _value(hint: Any, value: Any, where: str, errors: Errors) -> Any:
    """`value` as a field of type `hint` holds it; None when it is wrong."""
    if isinstance(hint, type) and is_dataclass(hint):
        table = {fields(hint)[0].name: value} if isinstance(value, str) else value  # a string alone is the first key
        return _read(hint, table, where, errors)
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_value(get_args(hint)[0], each, f"{where}[{n}]", errors) for n, each in enumerate(value))
    given, value = value, _converted(hint, value)
    fits = any(_fits(each, value) for each in _alternatives(hint))
    key = where.rpartition(".")[2].partition("[")[0]
    if wanted := _refused(key, value) if fits else _expected(hint):
        errors.setdefault(where, f"expected {wanted}, got {_got(key, given)}")
        return None
    return str(value) if isinstance(value, str) else value


def _converted(hint: Any, value: Any) -> Any:
    """What a variable gave is a string; where a number or a truth is wanted, that is read out of it."""
    if not isinstance(value, _Expanded) or str in _alternatives(hint):
        return value
    for kind in set(_alternatives(hint)) & {int, float}:
        with suppress(ValueError):
            return kind(value)
    return _TRUTHS.get(value.lower(), value) if hint is bool else value


def _fits(hint: Any, value: object) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is float:
        return type(value) in (int, float)
    return isinstance(value, str) if hint is str else type(value) is hint  # a bool is no int here


def _alternatives(hint: Any) -> tuple[Any, ...]:
    union = get_origin(hint) in (Union, UnionType)
    return tuple(each for each in get_args(hint) if each is not NoneType) if union else (hint,)


def _refused(key: str, value: object) -> str | None:
    """What was expected of a value that is of the right type and still will not do."""
    if isinstance(value, str):
        form, words = _FORMS.get(key, (r"(?s).+", "a string that is not empty"))
        return None if re.fullmatch(form, value) else words
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if key == "port":
        return None if 0 <= value <= 65535 else "0 to 65535"
    if value > _LONGEST and (isinstance(value, float) or key.endswith(("_timeout", "_interval", "_patience"))):
        return f"at most {_LONGEST}"
    if key in _LOWEST:
        return None if value >= _LOWEST[key] else f"{_LOWEST[key]} or more"
    return None if value > 0 else "a number above 0"


def _dot(where: str, key: str) -> str:
    """The dotted key, quoted where TOML wants it quoted."""
    name = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
    return f"{where}.{name}" if where else name


def _expected(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(get_args(hint))
    if get_origin(hint) is tuple:
        return "a list"
    return " or ".join(_KINDS.get(each) or _expected(each) for each in _alternatives(hint))


def _got(key: str, value: object) -> str:
    """How an error shows a wrong value: never one that is a secret, or may hold one."""
    if isinstance(value, _Expanded):
        return "what the environment gave"
    if key in SECRETS or "@" in str(value) or isinstance(value, (list, dict)):  # @: an address with a credential
        return "a table" if isinstance(value, dict) else _KINDS.get(type(value), "something else")
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (str, bool)) else str(value)


def _unknown(where: str, key: str, known: Iterable[str]) -> str:
    near = get_close_matches(key, list(known), 1, 0.7)
    return "unknown key; " + (f"did you mean {_dot(where, near[0])}?" if near else f"known are {', '.join(known)}")
