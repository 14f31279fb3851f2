"""Anthropic: the Messages API as it answers and as it refuses.

Its own thinking carries a signature that it checks when the thinking comes back; the rules it applies to a request
are in `rules`. Credentials: any, except those that contain `bad`. Models: every name that begins with `claude-`.
"""

from __future__ import annotations

import gzip
import json
from argparse import Namespace
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from .answers import mint
from .messages import Refusal, Wire, asks_for_thinking, count_tokens, prompt_of, reply_to
from .replies import Headers, Reply, Request, json_reply
from .rules import check
from .scripted import arguments, serve
from .signatures import encrypted, prefix_of, redacted, signature

Json = dict[str, Any]

MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-fable-5-2", "claude-opus-4-8")
MAX_BODY = 32 * 1024 * 1024


class Anthropic:
    """One organization's API, with the size of its models' windows, and thinking bound to its prefix or not."""

    def __init__(self, window: int, *, bind_prefix: bool) -> None:
        self._window = window
        self._bind_prefix = bind_prefix
        self._served = 0

    def __call__(self, request: Request) -> Reply:
        """Answers one request."""
        self._served += 1
        request_id = "req_" + mint(24, self._served, request.target)
        headers = standard_headers(request_id)
        try:
            return self._answer(request, headers)
        except Refusal as refusal:
            error = {"type": refusal.kind, "message": str(refusal)}
            return json_reply({"type": "error", "error": error, "request_id": request_id}, refusal.status, headers)

    def _answer(self, request: Request, headers: Headers) -> Reply:
        if (request.method, request.path) in (("HEAD", "/"), ("HEAD", "/api/hello")):
            return json_reply({}, headers=headers)
        authenticate(request)
        if not request.header("anthropic-version"):
            raise Refusal(400, "invalid_request_error", "anthropic-version: header is required")
        match request.method, request.path:
            case "POST", "/v1/messages":
                return self._messages(request, headers)
            case "POST", "/v1/messages/count_tokens":
                self._checked(request, counting=True)
                return json_reply({"input_tokens": count_tokens(request)}, headers=headers)
            case "GET", path if path.startswith("/v1/models"):
                return json_reply(models(unquote(path[11:])), headers=headers)
        raise Refusal(404, "not_found_error", "Not Found")

    def _messages(self, request: Request, headers: Headers) -> Reply:
        body = self._checked(request, counting=False)
        total = count_tokens(request)
        if total > self._window:
            message = f"prompt is too long: {total} tokens > {self._window} maximum"
            raise Refusal(400, "invalid_request_error", message)
        wire = Wire(
            message_id="msg_" + mint(24, request.body),
            tool_prefix="toolu_",
            sign=lambda thinking: signature(thinking, prefix_of(body, len(body["messages"]))),
            pings=True,
            counts_at_start=True,
            extra={"stop_details": None, "container": None},
            before_text=tuple(own_blocks(body)),
        )
        return reply_to(request, body, wire, headers, thinking=asks_for_thinking(body))

    def _checked(self, request: Request, *, counting: bool) -> Json:
        body = parsed(request)
        betas = [beta.strip() for beta in request.header("anthropic-beta").split(",")]
        check(body, betas, counting=counting, bind_prefix=self._bind_prefix)
        return body


def own_blocks(body: Json) -> Iterator[Json]:
    """What no other provider makes: thinking that is hidden, and a search on the server's side, if offered."""
    said = prompt_of(body, thinking=False).said
    if "USEREDACTED" in said:
        yield {
            "type": "redacted_thinking",
            "data": redacted("what was thought", prefix_of(body, len(body["messages"]))),
        }
    if "USESEARCH" in said and any(str(tool.get("type")).startswith("web_search_") for tool in body.get("tools") or ()):
        name = "srvtoolu_" + mint(24, said)
        page = {"type": "web_search_result", "url": "https://example.com/found", "title": f"Found for: {said[-100:]}"}
        found = {**page, "encrypted_content": encrypted(page["url"]), "page_age": None}
        yield {"type": "server_tool_use", "id": name, "name": "web_search", "input": {"query": said[-100:]}}
        yield {"type": "web_search_tool_result", "tool_use_id": name, "content": [found]}


def authenticate(request: Request) -> None:
    """Refuses a request without a credential, or with a bad one."""
    key, bearer = request.header("x-api-key"), request.header("authorization")
    if not key and not bearer.startswith("Bearer "):
        raise Refusal(401, "authentication_error", "x-api-key header is required")
    if "bad" in key:
        raise Refusal(401, "authentication_error", "invalid x-api-key")
    if "bad" in bearer:
        raise Refusal(401, "authentication_error", "Invalid bearer token")


def parsed(request: Request) -> Json:
    """The body as a JSON object."""
    if len(request.body) > MAX_BODY:
        raise Refusal(413, "request_too_large", "Request exceeds the maximum size")
    body = gzip.decompress(request.body) if request.header("content-encoding") == "gzip" else request.body
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Refusal(400, "invalid_request_error", f"The request body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise Refusal(400, "invalid_request_error", "Input should be a valid dictionary")
    return value


def standard_headers(request_id: str) -> Headers:
    """The headers that every answer carries."""
    reset = "2026-11-22T12:00:00Z"
    limits = [("requests", 4000), ("tokens", 500_000), ("input-tokens", 400_000), ("output-tokens", 80_000)]
    rates = []
    for name, limit in limits:
        parts = (("limit", str(limit)), ("remaining", str(limit - 1)), ("reset", reset))
        rates += [(f"anthropic-ratelimit-{name}-{part}", value) for part, value in parts]
    organization = ("anthropic-organization-id", "9e1c0ad5-0000-4000-8000-000000000000")
    return (("request-id", request_id), organization, *rates, ("server", "cloudflare"))


def models(name: str) -> Json:
    """The list of models, or one of them."""
    if name and name not in MODELS:
        raise Refusal(404, "not_found_error", f"model: {name}")
    if name:
        return model_entry(name)
    entries = [model_entry(model) for model in MODELS]
    return {"data": entries, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}


def model_entry(name: str) -> Json:
    """A model as the list describes it."""
    line = name.split("-")[1]
    return {
        "type": "model", "id": name, "display_name": name.replace("-", " ").title(),
        "created_at": "2026-07-24T00:00:00Z", "lifecycle": "active", "line": line, "deprecated_at": None,
        "retires_at": None, "max_input_tokens": 1_000_000, "max_tokens": 128_000,
        "capabilities": {"image_input": {"supported": True}, "thinking": {"supported": True}},
    }  # fmt: skip


def options() -> Namespace:
    """The command line."""
    parser = arguments()
    parser.add_argument("--window", type=int, default=1_000_000, help="the longest prompt in tokens (bytes / 4)")
    parser.add_argument("--bind-prefix", action="store_true", help="thinking is valid behind its own prefix only")
    return parser.parse_args()


if __name__ == "__main__":
    chosen = options()
    serve(Anthropic(chosen.window, bind_prefix=chosen.bind_prefix), chosen.port)
