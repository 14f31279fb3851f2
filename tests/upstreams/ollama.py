"""Ollama: the native API, at a version of one's choice.

    --version 0.33.0     what it says it is, and behaves like where the versions differ
    --key KEY            ollama.com: answers under any Host, to whoever shows the key
    POST /__models       {"models": [{"name", "capabilities", "context", "native"}, ...]} replaces what is installed

A `native` model takes Ollama's own chat path (0.30 and later): its tool calls come on the last line. A prompt counts
as many tokens as its JSON has fours of bytes; images are left out of that.
"""

from __future__ import annotations

import json
import re
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from .answers import Answer, Call, Prompt, answer, mint, words
from .gojson import Unmarshal, check_chat
from .replies import Reply, Request, json_reply, text_reply
from .scripted import Behaviour, arguments, serve

Json = dict[str, Any]
Version = tuple[int, ...]

DEFAULT_CONTEXT = 4096

THINK_SINCE = (0, 9, 0)
LEVELS_SINCE = (0, 11, 1)
MAX_SINCE = (0, 22, 0)
CAPABILITIES_SINCE = (0, 6, 4)
NO_SILENCE_SINCE = (0, 12, 4)
CALL_IDS_SINCE = (0, 12, 10)

TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the prompt, adjust the "
    "context length in settings, or use a model with a longer context length"
)


class Refusal(Exception):
    """An answer that is `{"error": ...}`."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


@dataclass(frozen=True)
class Model:
    """An installed model."""

    name: str
    capabilities: tuple[str, ...]
    context: int
    native: bool = False

    @property
    def family(self) -> str:
        """The architecture, under which /api/show keeps its numbers."""
        return re.split(r"[\d.:-]", self.name)[0]

    @property
    def details(self) -> Json:
        """What all listings say about it."""
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.family,
            "families": [self.family],
            "parameter_size": "8.0B",
            "quantization_level": "Q4_K_M",
        }


INSTALLED = (
    Model("qwen3:8b", ("completion", "tools", "thinking"), 40_960),
    Model("llama3.2:3b", ("completion", "tools"), 131_072),
    Model("gemma3:4b", ("completion", "vision"), 131_072),
    Model("nomic-embed-text:latest", ("embedding",), 2048),
)


@dataclass
class Ollama:
    """One Ollama server. The lock guards what is installed and what is loaded."""

    version: str
    key: str | None = None
    models: tuple[Model, ...] = INSTALLED
    loaded: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request) -> Reply:
        """Answers one request."""
        if not self.key and not local_host(request.header("host")):
            return text_reply("", 403)
        if self.key and request.header("authorization") != f"Bearer {self.key}":
            return json_reply({"error": "unauthorized"}, 401)
        routes: dict[str, dict[str, Behaviour]] = {
            "/": {"GET": self._hello, "HEAD": self._hello},
            "/api/version": {"GET": self._version, "HEAD": self._version},
            "/api/tags": {"GET": self._tags, "HEAD": self._tags},
            "/api/ps": {"GET": self._ps},
            "/api/show": {"POST": self._show},
            "/api/generate": {"POST": self._load},
            "/api/chat": {"POST": self._chat},
        }
        if request.path not in routes:
            return text_reply("404 page not found", 404)
        if request.method not in routes[request.path]:
            return text_reply("405 method not allowed", 405)
        try:
            return routes[request.path][request.method](request)
        except Refusal as refusal:
            return json_reply({"error": str(refusal)}, refusal.status)

    def install(self, request: Request) -> Json:
        """The control that replaces the installed models."""
        entries = json.loads(request.body)["models"]
        models = tuple(Model(**{**entry, "capabilities": tuple(entry["capabilities"])}) for entry in entries)
        with self.lock:
            self.models = models
            self.loaded.clear()
        return {}

    def since(self, version: Version) -> bool:
        """Whether this server is at least so new."""
        return tuple(map(int, self.version.split("-")[0].split("."))) >= version

    def find(self, name: str) -> Model:
        """The installed model of this name."""
        if not name:
            raise Refusal(400, "model is required")
        full = name if ":" in name else f"{name}:latest"
        found = next((model for model in self.models if model.name == full), None)
        if found is None:
            raise Refusal(404, f"model '{name}' not found")
        return found

    # --- what it is and has

    def _hello(self, _: Request) -> Reply:
        return text_reply("Ollama is running")

    def _version(self, _: Request) -> Reply:
        return json_reply({"version": self.version})

    def _tags(self, _: Request) -> Reply:
        return json_reply({"models": [self._entry(model) for model in self.models]})

    def _entry(self, model: Model) -> Json:
        details = model.details
        if self.since((0, 19, 0)):
            details["context_length"] = model.context
        entry: Json = {"name": model.name, "model": model.name, "modified_at": "2026-05-10T08:06:48.639712648-07:00"}
        entry |= {"size": 4_683_075_271, "digest": mint(64, model.name), "details": details}
        return {**entry, "capabilities": model.capabilities} if self.since((0, 32, 0)) else entry

    def _show(self, request: Request) -> Reply:
        body = parsed(request)
        model = self.find(body.get("model") or body.get("name") or "")
        info = {"general.architecture": model.family, f"{model.family}.context_length": model.context}
        template = (
            "{{ if .Tools }}{{ .Tools }}{{ end }}{{ .Prompt }}" if "tools" in model.capabilities else "{{ .Prompt }}"
        )
        shown = {"parameters": 'stop "<|im_end|>"', "template": template, "details": model.details, "model_info": info}
        return json_reply({**shown, "capabilities": model.capabilities} if self.since(CAPABILITIES_SINCE) else shown)

    def _ps(self, _: Request) -> Reply:
        entries = []
        for model in (self.find(name) for name in list(self.loaded)):
            entry: Json = {
                "name": model.name,
                "model": model.name,
                "size": 6_654_289_920,
                "digest": mint(64, model.name),
            }
            entry |= {"details": model.details, "expires_at": now(), "size_vram": 5_333_539_264}
            if self.since((0, 10, 0)):
                entry["context_length"] = self.loaded[model.name]
            entries.append(entry)
        return json_reply({"models": entries})

    def _load(self, request: Request) -> Reply:
        """/api/generate without a prompt: loads a model, or unloads it."""
        body = parsed(request)
        line = {"model": body.get("model"), "created_at": now(), "response": ""}
        return json_reply({**line, **self._loading(body, self.find(body.get("model") or ""))})

    def _loading(self, body: Json, model: Model) -> Json:
        if body.get("keep_alive") == 0:
            with self.lock:
                self.loaded.pop(model.name, None)
            return {"done": True, "done_reason": "unload"}
        with self.lock:
            self.loaded[model.name] = self._num_ctx(body, model)
        return {"done": True, "done_reason": "load"}

    def _num_ctx(self, body: Json, model: Model) -> int:
        """The context that the model is loaded with: never more than it was trained for, in the cloud all of it."""
        default = model.context if self.key or model.name.endswith("cloud") else DEFAULT_CONTEXT
        return min(int((body.get("options") or {}).get("num_ctx") or default), model.context)

    # --- /api/chat

    def _chat(self, request: Request) -> Reply:
        body = parsed(request)
        model = self.find(body.get("model") or "")
        if not body.get("messages"):
            line = {"model": body["model"], "created_at": now(), "message": {"role": "assistant", "content": ""}}
            return json_reply({**line, **self._loading(body, model)})
        self.check(body, model)
        size = self._fitted(prompt_tokens(body), body, model)
        self._loading({**body, "keep_alive": None}, model)
        said = answer(self._prompt(body, model, self._num_ctx(body, model) - size))
        lines = list(self._lines(said, body, model, size))
        if body.get("stream") is False:
            return json_reply(whole(lines))
        pieces = tuple(go_json(line) + "\n" for line in lines)
        return Reply(headers=(("content-type", "application/x-ndjson"),), pieces=pieces)

    def check(self, body: Json, model: Model) -> None:
        """What the request asks for, the model must be able to do."""
        name = body["model"]
        if "completion" not in model.capabilities:
            raise Refusal(400, f'"{name}" does not support chat')
        if body.get("tools") and "tools" not in model.capabilities:
            raise Refusal(400, f"registry.ollama.ai/library/{name} does not support tools")
        if self._thinks(body) and "thinking" not in model.capabilities:
            raise Refusal(400, f'"{name}" does not support thinking')
        check_order(body["messages"])

    def _thinks(self, body: Json) -> bool:
        """Whether thinking is asked for, in a form that this version knows."""
        think = body.get("think")
        if think is None or not self.since(THINK_SINCE):
            return False
        if isinstance(think, str) and not self.since(LEVELS_SINCE):
            raise Refusal(400, "json: cannot unmarshal string into Go struct field ChatRequest.think of type bool")
        levels = ["high", "medium", "low", *(["max"] if self.since(MAX_SINCE) else [])]
        if isinstance(think, str) and think not in levels:
            allowed = ", ".join(f'"{level}"' for level in levels)
            raise Refusal(400, f'invalid think value: "{think}" (must be {allowed}, true, or false)')
        return bool(think)

    def _fitted(self, size: int, body: Json, model: Model) -> int:
        """The tokens of the prompt that the model sees; refused or cut by the rules of this version."""
        limit = self._num_ctx(body, model)
        if size <= limit:
            return size
        truncate, shift = body.get("truncate", True), body.get("shift", True)
        if self.since(NO_SILENCE_SINCE) and not shift:
            raise Refusal(400, TOO_LONG if truncate else exceeded(size, limit))
        return limit - max((limit - 4) // 2, 1)

    def _prompt(self, body: Json, model: Model, room: int) -> Prompt:
        """What the model is shown, with room for so many tokens of an answer."""
        last = last_turn(body["messages"])
        options = body.get("options") or {}
        limit = options.get("num_predict", -1)
        schema = body.get("format")
        can_think = "thinking" in model.capabilities and self.since(THINK_SINCE)
        return Prompt(
            model=model.name,
            texts=[message["content"] for message in last if message["role"] == "user"],
            results=[message["content"] for message in last if message["role"] == "tool"],
            tools=[tool["function"]["name"] for tool in body.get("tools") or ()],
            thinking=can_think and body.get("think", True) is not False,
            max_tokens=room if limit < 0 else min(limit, room),
            stop_sequences=tuple(options.get("stop") or ()),
            schema={} if schema == "json" else schema or None,
        )

    def _lines(self, said: Answer, body: Json, model: Model, size: int) -> Iterator[Json]:
        """The lines of an answer: thinking and text a word each, every call whole, and the counts."""
        start = {"model": body["model"], "created_at": now()}
        for word in words(said.thinking):
            yield {**start, "message": {"role": "assistant", "content": "", "thinking": word}, "done": False}
        for word in words(said.text):
            yield {**start, "message": {"role": "assistant", "content": word}, "done": False}
        calls = [self._call(call, position, body, model) for position, call in enumerate(said.calls)]
        for call in [] if model.native else calls:
            yield {**start, "message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": False}
        last: Json = {"role": "assistant", "content": ""}
        if model.native and calls:
            last["tool_calls"] = calls
        yield {**start, "message": last, **ending(said, size)}

    def _call(self, call: Call, position: int, body: Json, model: Model) -> Json:
        """A tool call, with an id where this version gives one."""
        function: Json = {"name": call.name, "arguments": call.arguments}
        if not self.since(CALL_IDS_SINCE):
            return {"function": function}
        seeds = (json.dumps(body["messages"]), position)
        name = mint(32, *seeds) if model.native else f"call_{mint(8, *seeds)}"
        return {"id": name, "function": {"index": position, **function}}


# --- reading a request


def parsed(request: Request) -> Json:
    """The body, checked as Go's decoder checks it."""
    if not request.body:
        raise Refusal(400, "missing request body")
    try:
        body = json.loads(request.body)
        check_chat(body)
    except Unmarshal as error:
        raise Refusal(400, str(error)) from error
    except ValueError as error:
        found = chr(request.body[0])
        raise Refusal(400, f"invalid character '{found}' looking for beginning of value") from error
    return dict(body)


def check_order(messages: list[Json]) -> None:
    """What its templates cannot render."""
    roles = [message["role"] for message in messages]
    if "system" in roles[1:]:
        raise Refusal(500, "system message must be at the beginning")
    if "user" not in roles:
        raise Refusal(500, "no user query found in messages")
    if strange := set(roles) - {"system", "user", "assistant", "tool"}:
        raise Refusal(400, f"invalid role: {', '.join(sorted(strange))}")


def local_host(host: str) -> bool:
    """Whether the Host header names a machine that a server on loopback answers to."""
    name = re.sub(r":\d+$", "", host).strip("[]").lower()
    if name in ("", "localhost") or name.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


def last_turn(messages: list[Json]) -> list[Json]:
    """The messages since the last answer."""
    answered = [position for position, message in enumerate(messages) if message["role"] == "assistant"]
    return messages[answered[-1] + 1 :] if answered else messages


def prompt_tokens(body: Json) -> int:
    """The size of the prompt: a token for every four bytes, and 768 an image."""
    messages = [{**message, "images": []} for message in body["messages"]]
    images = sum(len(message.get("images") or ()) for message in body["messages"])
    return len(json.dumps([messages, body.get("tools")], ensure_ascii=False).encode()) // 4 + 768 * images


def exceeded(size: int, limit: int) -> str:
    """llama-server's refusal, which Ollama hands on as a string."""
    message = f"request ({size} tokens) exceeds the available context size ({limit} tokens), try increasing it"
    error = {"code": 400, "message": message, "type": "exceed_context_size_error"}
    return json.dumps({"error": {**error, "n_prompt_tokens": size, "n_ctx": limit}}, separators=(",", ":"))


# --- writing an answer


def go_json(value: Json) -> str:
    """As Go's encoding/json writes it: no spaces, and what HTML would mind is escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def now() -> str:
    """The time as Go writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09}Z"


def ending(said: Answer, size: int) -> Json:
    """What the last line adds. A stop sequence is not told from any other stop."""
    return {
        "done": True,
        "done_reason": "length" if said.stop == "length" else "stop",
        "total_duration": 182_242_375,
        "load_duration": 41_295_167,
        "prompt_eval_count": size,
        "prompt_eval_duration": 24_573_166,
        "eval_count": said.tokens,
        "eval_duration": 115_959_084,
    }


def whole(lines: list[Json]) -> Json:
    """The one object of an answer that is not streamed."""
    messages = [line["message"] for line in lines]
    message: Json = {"role": "assistant", "content": "".join(part["content"] for part in messages)}
    if thinking := "".join(part.get("thinking", "") for part in messages):
        message["thinking"] = thinking
    if calls := [call for part in messages for call in part.get("tool_calls", ())]:
        message["tool_calls"] = calls
    return {**lines[-1], "message": message}


def options() -> Namespace:
    """The command line."""
    parser = arguments()
    parser.add_argument("--version", default="0.33.0", help="the version it says it is")
    parser.add_argument("--key", help="answer as ollama.com does, to whoever shows this key")
    return parser.parse_args()


if __name__ == "__main__":
    chosen = options()
    server = Ollama(chosen.version, chosen.key)
    serve(server, chosen.port, {"/__models": server.install})
