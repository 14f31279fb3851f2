"""What is put in: bytes and values that are nearly right."""

from __future__ import annotations

import json
import random
from typing import Any

WORDS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b":", b" ", b"\t", b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b'"', b"\\", b"\\u0000", b"\\ud800", b"{", b"}", b"[", b"]", b",", b"null", b"true", b"-1", b"1e999", b"NaN",
    b"9" * 5000, b"[" * 3000,
    b"content-length: 5\r\n", b"content-length: 0\r\n", b"transfer-encoding: chunked\r\n", b"Host: x\r\n",
    b"connection: close\r\n",
    b"content-encoding: gzip\r\n", b"expect: 100-continue\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n",
    b"ffffffffffffffff\r\n", b"HTTP/1.1 200 OK\r\n",
    b"POST /v1/messages HTTP/1.1\r\n", b"event: error\n", b"data: ", b"event: message_stop\n", b": comment\n",
    b'"model":', b'"stream":true',
    b'"messages":', b'"type":', b"[DONE]", b"${", b"${A}", b"$${", b"=", b"#", b"'''", b"[providers.x]\n", b"done",
    b'"model":"other",', b',"model":"other"',
]  # fmt: skip

KEYS = (
    "model stream messages max_tokens role content type text thinking signature data tool_use tool_result id name "
    "input tool_use_id system "
    "tools input_schema tool_choice output_config effort format metadata stop_sequences cache_control source "
    "media_type url is_error "
    "message delta index content_block usage input_tokens output_tokens stop_reason error code done done_reason "
    "tool_calls function "
    "arguments images prompt_eval_count eval_count partial_json properties anyOf $ref $defs required enum "
    "description defer_loading "
).split()
NAMES = (
    "text thinking redacted_thinking tool_use tool_result image document server_tool_use web_search_tool_result "
    "tool_reference user assistant "
    "system auto any none enabled disabled adaptive object string array base64 url ephemeral message_start "
    "content_block_start "
    "content_block_delta content_block_stop message_delta message_stop error ping text_delta input_json_delta "
    "thinking_delta "
    "signature_delta end_turn stop length load /use zai/glm-5.2 claude-opus-5-5 toolu_1 high json_schema zai:x ollama:"
).split()


def value(rng: random.Random, depth: int = 0) -> Any:
    """Some JSON value, made of words that mean something somewhere."""
    kind = rng.random()
    if depth < 5 and kind < 0.45:
        return {rng.choice(KEYS): value(rng, depth + 1) for _ in range(rng.randrange(6))}
    if depth < 5 and kind < 0.65:
        return [value(rng, depth + 1) for _ in range(rng.randrange(5))]
    if kind < 0.9:
        return rng.choice(NAMES)
    odd: tuple[Any, ...] = (None, True, False, 0, -1, 1e300, 10**40, "", " ", "\n", "\0", "\ud800", "é😀", "x" * 200)
    return rng.choice(odd)


def deep(rng: random.Random) -> Any:
    """Nested deeper than anybody needs."""
    nested: Any = 1
    for _ in range(rng.choice((50, 300, 700, 3000))):
        nested = {rng.choice(KEYS): nested} if rng.random() < 0.5 else [nested]
    return nested


def block(rng: random.Random) -> Any:
    """A content block that is often a good one."""
    kind = rng.choice(("text", "thinking", "tool_use", "tool_result", "image", "server_tool_use", "odd"))
    made: dict[str, dict[str, Any]] = {
        "text": {"text": rng.choice(("hi", "", "/use zai/glm-5.2", "\ud800"))},
        "thinking": {"thinking": "hm", "signature": rng.choice(("", "EqQB", "ccrelay:zai:x", 5))},
        "tool_use": {"id": rng.choice(("a", "b", "toolu:1")), "name": "Bash", "input": value(rng, 3)},
        "tool_result": {
            "tool_use_id": rng.choice(("a", "b", "c")),
            "content": [block(rng)] if rng.random() < 0.3 else "ok",
        },
        "image": {"source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
    }
    good = {"type": kind, **made.get(kind, {})}
    if rng.random() < 0.2:
        good[rng.choice(KEYS)] = deep(rng) if rng.random() < 0.05 else value(rng, 2)
    return good if rng.random() < 0.95 else value(rng, 3)


def conversation(rng: random.Random) -> dict[str, Any]:
    """A request that is often a good one."""
    roles = ("user", "assistant", "system")
    messages = [
        {
            "role": rng.choice(roles),
            "content": "hi" if rng.random() < 0.2 else [block(rng) for _ in range(rng.randrange(4))],
        }
        for _ in range(rng.randrange(6))
    ]
    schema = {"type": "object", "properties": {"a": value(rng, 2)}}
    body: dict[str, Any] = {"model": "m", "max_tokens": 100, "messages": messages, "stream": rng.random() < 0.5}
    if rng.random() < 0.5:
        body["tools"] = [
            {"name": "Bash", "description": "x", "input_schema": schema if rng.random() < 0.8 else deep(rng)}
        ]
    for _ in range(rng.randrange(3)):
        body[rng.choice(KEYS)] = value(rng, 1)
    return body


def as_json(rng: random.Random, thing: Any) -> bytes:
    try:
        text = json.dumps(thing, ensure_ascii=rng.random() < 0.5, separators=(",", ":"))
    except RecursionError:  # deeper than this Python can write
        text = '{"a":' * 5000 + "1" + "}" * 5000
    return text.encode("utf-8", "surrogatepass")


def mutated(rng: random.Random, data: bytes) -> bytes:
    """A few bytes changed, left out, doubled, or put in."""
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((0, 0, 1, 3, 20)))
        new = rng.choice((rng.choice(WORDS), rng.randbytes(rng.randrange(4)), b"", data[end : end + 30] * 2))
        data = data[:start] + new + data[end:]
    return data


def pieces(rng: random.Random, data: bytes) -> list[bytes]:
    """The same bytes as they may arrive."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 1, 3, 8))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


KINDS = (
    "message_start content_block_start content_block_delta content_block_stop message_delta message_stop error ping"
).split()


def event(rng: random.Random) -> bytes:
    kind = rng.choice(KINDS)
    data: Any = {"type": kind, "index": 0, "message": {"usage": value(rng, 3)}, "delta": value(rng, 3), **some(rng)}
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), as_json(rng, data if rng.random() < 0.9 else value(rng)))


def some(rng: random.Random) -> dict[str, Any]:
    """A few fields, or none; rarely one that is nested deeper than anybody needs."""
    if rng.random() < 0.02:
        return {rng.choice(KEYS): deep(rng)}
    return {rng.choice(KEYS): value(rng, 3) for _ in range(rng.choice((0, 1, 3)))}
