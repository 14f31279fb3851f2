"""Z.AI: the Messages API under /api/anthropic, with its own counts, signatures, ids, limits and errors.

Its keys begin with `zai-`; a request that carries any other credential is refused. It is stricter than the real one,
which ignores some of what it cannot use: whatever makes no sense to it is refused here, so that a test sees it.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from .answers import mint
from .messages import Refusal, Wire, asks_for_thinking, blocks_of, count_tokens, reply_to
from .pairing import check_pairs
from .replies import Reply, Request, json_reply
from .scripted import arguments, serve

Json = dict[str, Any]

PREFIX = "/api/anthropic"
SIGNED = "glmsig-"
FIELDS = frozenset(
    "model messages system max_tokens metadata stop_sequences stream temperature top_p top_k tools tool_choice "
    "thinking output_config".split()
)
LONGEST_NAME = 64
NOT_IN_SCHEMA = {"$schema", "$id", "$comment", "additionalProperties"}
EFFORTS = (None, "low", "high", "max")
IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif")

TEXTS = {
    "1002": "Invalid Authentication Token, please confirm the correct transmission of the Authentication Token",
    "1210": "API 调用参数有误，请检查文档。",
    "1211": "Model does not exist, please check the model code",
    "1214": "Input cannot be empty",
    "1261": "Prompt too long",
}
IMAGE_REFUSED = "图片输入格式/解析错误"
ALWAYS_THINKS = "This model always engages in thinking and cannot be disabled; please use low, high, or max"


@dataclass(frozen=True)
class Model:
    """What a model can take."""

    context: int
    max_output: int = 131_072
    vision: bool = False


MODELS = {
    "glm-5.3": Model(1_048_576),
    "glm-5.3-flash": Model(1_000_000, vision=True),
    "glm-5.2": Model(1_000_000),
    "glm-5.1": Model(200_000),
    "glm-5": Model(204_800),
    "glm-5-turbo": Model(200_000),
    "glm-5v-turbo": Model(200_000, vision=True),
    "glm-4.7": Model(204_800),
    "glm-4.7-flash": Model(200_000),
    "glm-4.6": Model(204_800),
    "glm-4.6v": Model(128_000, 32_768, vision=True),
    "glm-4.5": Model(131_072, 98_304),
    "glm-4.5-air": Model(131_072, 98_304),
    "glm-4.5v": Model(64_000, 16_384, vision=True),
}

# A Claude name does not fail there: it becomes the plan's model of that tier.
TIERS = {"haiku": "glm-4.5-air", "sonnet": "glm-5-turbo", "opus": "glm-5.1"}


class CodedRefusal(Refusal):
    """A refusal with one of Z.AI's codes."""

    def __init__(self, code: str, text: str = "", status: int = 400, kind: str = "invalid_request_error") -> None:
        super().__init__(status, kind, text or TEXTS[code])
        self.code = code


def zai(request: Request) -> Reply:
    """Answers one request."""
    request_id = time.strftime("%Y%m%d%H%M%S") + mint(18, time.monotonic_ns())
    try:
        return answered(request, request_id)
    except CodedRefusal as refusal:
        error = {"type": refusal.kind, "code": refusal.code, "message": f"[{refusal.code}][{refusal}][{request_id}]"}
        return json_reply({"type": "error", "error": error, "request_id": request_id}, refusal.status)


def answered(request: Request, request_id: str) -> Reply:
    """The reply to one request, by its path."""
    match request.method, request.path.removeprefix(PREFIX):
        case "POST", "/v1/messages" if request.path.startswith(PREFIX):
            authenticate(request)
            return messages(request, request_id)
        case "GET", "/v1/models" if request.path.startswith(PREFIX):
            authenticate(request)
            return json_reply({"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]})
        case "GET", "/api/monitor/usage/quota/limit":
            return json_reply(quota())
    return json_reply({"code": 500, "msg": "404 NOT_FOUND", "success": False}, 404)


def authenticate(request: Request) -> None:
    """Every credential that came must be one of its own, and one must have come."""
    given = [request.header("x-api-key"), request.header("authorization").removeprefix("Bearer ")]
    given = [key for key in given if key]
    if not given or not all(key.startswith("zai-") for key in given):
        raise CodedRefusal("1002", status=401, kind="authentication_error")


def messages(request: Request, request_id: str) -> Reply:
    """The answer to a request that the model can take."""
    try:
        body = json.loads(request.body)
    except ValueError as error:
        raise CodedRefusal("1210") from error
    body["model"] = served_model(str(body.get("model", "")))
    check(body, MODELS[body["model"]])
    if count_tokens(request) > MODELS[body["model"]].context:
        raise CodedRefusal("1261")
    wire = Wire(message_id=request_id, tool_prefix="call_", sign=signature, pings=False, counts_at_start=False)
    return reply_to(request, body, wire, (), thinking=thinks(body))


def served_model(name: str) -> str:
    """The model that answers under this name."""
    if name.startswith("claude-"):
        return next((model for tier, model in TIERS.items() if tier in name), "glm-5.1")
    if name not in MODELS:
        raise CodedRefusal("1211")
    return name


def thinks(body: Json) -> bool:
    """Whether the model thinks: when asked to, and glm-5.3 always."""
    return asks_for_thinking(body) or body["model"] == "glm-5.3"


def signature(thinking: str) -> str:
    """Z.AI's own signature of a thinking block."""
    return SIGNED + mint(40, thinking)


# --- what it does not take


def check(body: Json, model: Model) -> None:
    """Raises the refusal of the first thing in the request that cannot be taken."""
    if not FIELDS.issuperset(body) or (body.get("output_config") or {}).get("effort") not in EFFORTS:
        raise CodedRefusal("1210")
    if not body.get("messages"):
        raise CodedRefusal("1214")
    if not 1 <= body.get("max_tokens", 0) <= model.max_output:
        raise CodedRefusal("1210", f"max_tokens参数非法：限制数值范围[1,{model.max_output}]")
    if body["model"] == "glm-5.3" and (body.get("thinking") or {}).get("type") == "disabled":
        raise CodedRefusal("1210", ALWAYS_THINKS)
    for tool in body.get("tools") or ():
        check_tool(tool)
    for message in body["messages"]:
        if not message["content"]:
            raise CodedRefusal("1214")
        for block in blocks_of(message["content"]):
            check_block(block, model)
    try:
        check_pairs(body["messages"])
    except Refusal as refusal:
        raise CodedRefusal("1210", str(refusal)) from refusal


def check_tool(tool: Json) -> None:
    """A tool of the client's, without what other providers say of tools."""
    schema = tool.get("input_schema") or {}
    known = set(tool) <= {"name", "description", "input_schema", "cache_control", "type"}
    if not known or tool.get("type", "custom") != "custom" or len(tool["name"]) > LONGEST_NAME:
        raise CodedRefusal("1210")
    if "type" not in schema or NOT_IN_SCHEMA & set(schema):
        raise CodedRefusal("1210")


def check_block(block: Json, model: Model) -> None:
    """One block, and those inside a tool result."""
    match block["type"]:
        case "text" if not block["text"].strip():
            raise CodedRefusal("1214")
        case "text" | "redacted_thinking" | "tool_reference":
            pass
        case "image":
            check_image(block["source"], model)
        case "thinking":
            check_signature(block)
        case "tool_use" if len(block["name"]) <= LONGEST_NAME and isinstance(block["input"], dict):
            pass
        case "tool_result":
            for inner in blocks_of(block.get("content") or []):
                check_block(inner, model)
        case _:
            raise CodedRefusal("1210")


def check_image(source: Json, model: Model) -> None:
    """An image in one of four formats, in the request itself, for a model that sees."""
    if not model.vision or source.get("type") != "base64" or source.get("media_type") not in IMAGE_TYPES:
        raise CodedRefusal("1210", IMAGE_REFUSED)


def check_signature(block: Json) -> None:
    """Its own thinking, as it was given: unsigned, or with the right signature."""
    if (block.get("signature") or signature(block["thinking"])) != signature(block["thinking"]):
        raise CodedRefusal("1210")


def quota() -> Json:
    """What the quota endpoint reports."""
    limit = {"type": "TOKENS_LIMIT", "unit": 3, "number": 5, "percentage": 15, "nextResetTime": 1770648402389}
    return {"code": 200, "success": True, "data": {"limits": [limit]}}


if __name__ == "__main__":
    serve(zai, arguments().parse_args().port)
