"""Ollama's request types, and the words in which Go's JSON decoder refuses what does not fit them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
Types = Mapping[str, tuple[type, str]]

KINDS: dict[type, str] = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}

REQUEST: Types = {
    "model": (str, "string"),
    "messages": (list, "[]api.Message"),
    "tools": (list, "api.Tools"),
    "stream": (bool, "bool"),
    "options": (dict, "map[string]interface {}"),
    "truncate": (bool, "bool"),
    "shift": (bool, "bool"),
}
MESSAGE: Types = {
    "role": (str, "string"),
    "content": (str, "string"),
    "thinking": (str, "string"),
    "images": (list, "[]api.ImageData"),
    "tool_calls": (list, "[]api.ToolCall"),
    "tool_name": (str, "string"),
    "tool_call_id": (str, "string"),
}
CALL: Types = {"id": (str, "string"), "function": (dict, "api.ToolCallFunction")}
TOOL: Types = {"type": (str, "string"), "function": (dict, "api.ToolFunction")}
FUNCTION: Types = {
    "index": (int, "int"),
    "name": (str, "string"),
    "arguments": (dict, "api.ToolCallFunctionArguments"),
}
OPTIONS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "num_ctx": (int, "integer"),
    "num_predict": (int, "integer"),
    "num_keep": (int, "integer"),
    "top_k": (int, "integer"),
    "seed": (int, "integer"),
    "temperature": ((int, float), "float32"),
    "top_p": ((int, float), "float32"),
    "stop": (list, "array"),
}


class Unmarshal(Exception):
    """What Go says about a value that does not fit its type."""


def check_chat(body: Any) -> None:
    """Raises Unmarshal for the first value that an Ollama request cannot carry."""
    if not isinstance(body, dict):
        raise Unmarshal(f"json: cannot unmarshal {KINDS.get(type(body), 'null')} into Go value of type api.ChatRequest")
    fit(body, REQUEST, "ChatRequest")
    if not isinstance(body.get("think"), bool | str | None):
        raise Unmarshal("think must be a boolean or string")
    for message in body.get("messages") or ():
        check_message(message)
    for tool in body.get("tools") or ():
        check_tool(tool)
    check_options(body.get("options") or {})


def fit(value: Json, types: Types, place: str) -> None:
    """Every field that is there and not null has its type."""
    for name, (kind, go_type) in types.items():
        found = value.get(name)
        if found is not None and (not isinstance(found, kind) or (kind is int and isinstance(found, bool))):
            word = KINDS[type(found)]
            raise Unmarshal(f"json: cannot unmarshal {word} into Go struct field {place}.{name} of type {go_type}")


def check_message(message: Json) -> None:
    """A message: text in a string, images in base64, arguments in an object."""
    fit(message, MESSAGE, "ChatRequest.messages")
    for call in message.get("tool_calls") or ():
        fit(call, CALL, "ToolCall.messages.tool_calls")
        fit(call.get("function") or {}, FUNCTION, "ToolCallFunction.messages.tool_calls.function")
    for image in message.get("images") or ():
        check_image(image)


def check_image(image: str) -> None:
    """An image is base64 and nothing else, a `data:` prefix included."""
    try:
        base64.b64decode(image, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unmarshal("illegal base64 data at input byte 4") from error


def check_tool(tool: Json) -> None:
    """A tool is a function with a schema whose properties are objects."""
    fit(tool, TOOL, "ChatRequest.tools")
    function = tool.get("function") or {}
    fit(function, {"name": (str, "string"), "description": (str, "string")}, "ToolFunction.tools.function")
    parameters = function.get("parameters") or {}
    types: Types = {
        "type": (str, "string"),
        "required": (list, "[]string"),
        "properties": (dict, "api.ToolPropertiesMap"),
    }
    fit(parameters, types, "ToolFunctionParameters.tools.function.parameters")


def check_options(options: Json) -> None:
    """An option of a wrong type is refused, an unknown one is not."""
    for name, value in options.items():
        kind, go_type = OPTIONS.get(name, (object, ""))
        if go_type and (not isinstance(value, kind) or isinstance(value, bool)):
            raise Unmarshal(f'option "{name}" must be of type {go_type}')
