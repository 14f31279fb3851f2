"""Blocks and turns of a conversation, as the tests of histories write them."""

from __future__ import annotations

from typing import Any

from ccrelay_providers.wire import history

Json = dict[str, Any]

CLAUDES: Json = {"type": "thinking", "thinking": "By Claude.", "signature": "EqQB"}
GLMS: Json = {"type": "thinking", "thinking": "By GLM.", "signature": history.mark("zai", "6a1f")}
UNSIGNED: Json = {"type": "thinking", "thinking": "By nobody.", "signature": ""}


def user(*content: Json) -> Json:
    return {"role": "user", "content": list(content)}


def assistant(*content: Json) -> Json:
    return {"role": "assistant", "content": list(content)}


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def call(tool_id: str) -> Json:
    return {"type": "tool_use", "id": tool_id, "name": "Bash", "input": {}}


def result(tool_id: str, content: Any = "done") -> Json:
    return {"type": "tool_result", "tool_use_id": tool_id, "content": content}
