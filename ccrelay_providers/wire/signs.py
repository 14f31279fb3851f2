"""What the bytes of a conversation tell without a parse: may it hold a `/use` line, may another provider have made any
of it? Pure but for a memory of hashes.

A conversation is sent again with every turn, and grows at its end. So it is looked at in blocks, and what was seen in
one is remembered under its hash: of 4 MB that takes 2 ms, the look 7.
"""

from __future__ import annotations

import re
from typing import NamedTuple

BLOCK, OVERLAP = 8192, 1024
"""Bytes of a block, and of what follows it that is looked at with it: longer than any sign, white space included."""
MAX_BLOCKS = 8192

_SIGN = re.compile(
    rb'"(?:'
    rb't(?:ool_use_id"\s*:\s*"(?P<result>[^"]{0,256}"?)'
    rb'|ext"\s*:\s*"(?:\\[nrtf]|\s){0,256}+(?P<blank>"|\\[nrtf]|\s)'
    rb'|ype"\s*:\s*"(?P<kind>thinking"|redacted_thinking"|server_tool_use")'
    rb'|hinking"\s*:\s*\{[^{}]{0,512}"type"\s*:\s*"(?P<enabled>enabled)")'
    rb'|signature"\s*:\s*(?P<signature>null|"(?:"|ccrelay:)?)'
    rb'|data"\s*:\s*"(?P<data>ccrelay:)'
    rb'|id"\s*:\s*"(?P<call>srvtoolu_)'
    rb'|(?: |\\[nrt]){0,256}+\\?(?P<use>/use[ "\\])'
    rb")"
)
_OWN_RESULT = re.compile(rb'(?:srv|mcp)?toolu_[a-zA-Z0-9_-]*"\Z')


class Signs(NamedTuple):
    """use_line: whether a string may begin with `/use`. foreign: whether another provider than Anthropic may have made
    something. Neither is ever missed; True does not mean that it is so.
    """

    use_line: bool
    foreign: bool


class _Seen(NamedTuple):
    """Signs that begin in one block. What belongs together, a thinking block and its signature, may not end in it."""

    use_line: bool = False
    foreign: bool = False
    results: tuple[bytes, ...] = ()
    kinds: tuple[bytes, ...] = ()
    signatures: int = 0
    server_calls: int = 0
    marked_data: bool = False


_NOTHING = _Seen()
_seen: dict[int, _Seen] = {}


def signs(raw: bytes | bytearray) -> Signs:
    """Of a request's body."""
    with memoryview(raw) as view:
        blocks = [_remembered(bytes(view[at : at + BLOCK + OVERLAP])) for at in range(0, len(raw), BLOCK)]
    telling = [seen for seen in blocks if seen is not _NOTHING]
    return Signs(any(seen.use_line for seen in telling), _foreign(telling))


def _remembered(block: bytes) -> _Seen:
    """By a hash of 64 bits that nobody can foresee (PEP 456): the text itself would have to be kept to be surer."""
    key = hash(block)
    seen = _seen.get(key)
    if seen is None:
        if len(_seen) >= MAX_BLOCKS:
            _seen.clear()
        seen = _seen[key] = _look(block)
    return seen


def _look(block: bytes) -> _Seen:
    found = [match for match in _SIGN.finditer(block) if match.start() < BLOCK]
    if not found:
        return _NOTHING
    values: dict[str, list[bytes]] = {name: [] for name in _SIGN.groupindex}
    for match in found:
        name = str(match.lastgroup)
        values[name].append(match[name])
    strange = [value for value in values["signature"] if value != b'"']
    alien = [value for value in values["result"] if not _OWN_RESULT.match(value)]
    return _Seen(
        bool(values["use"]),
        bool(values["blank"] or values["enabled"] or strange or alien),
        tuple(values["result"]),
        tuple(values["kind"]),
        len(values["signature"]),
        len(values["call"]),
        bool(values["data"]),
    )


def _foreign(telling: list[_Seen]) -> bool:
    """Blank text, or thinking that is `enabled`: a tool loop may have begun without any; two results of one call; a
    block that Anthropic did not sign.
    """
    if any(seen.foreign for seen in telling):
        return True
    results = [result for seen in telling for result in seen.results]
    kinds = [kind for seen in telling for kind in seen.kinds]
    return (
        len(set(results)) < len(results)
        or kinds.count(b'server_tool_use"') != sum(seen.server_calls for seen in telling)
        or kinds.count(b'thinking"') != sum(seen.signatures for seen in telling)
        or (b'redacted_thinking"' in kinds and any(seen.marked_data for seen in telling))
    )
