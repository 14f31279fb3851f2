"""What the bytes of a conversation tell without a parse: may it hold a `/use` line, may another provider have made any
of it? Pure but for a memory of hashes.

A conversation is sent again with every turn, and grows at its end. So it is looked at in blocks, and what was seen in
one is remembered under its hash: of 4 MB that takes 2 ms, the look 12.
"""

from __future__ import annotations

import re
from typing import NamedTuple

BLOCK = 16384
"""Bytes after which a block ends, in front of the next brace: no sign goes on beyond one."""
MAX_BLOCKS = 8192

_WHITE = (*range(9, 14), *range(28, 33), 133, 160, 5760, *range(8192, 8203), 8232, 8233, 8239, 8287, 12288)
"""What `str.isspace` knows, with the spaces that Chinese and Japanese keyboards write."""
_SPACES = rb"(?:\s|\\[nrtf]|%b|\\u(?i:%b))*+" % (
    b"|".join(chr(place).encode() for place in _WHITE if place > 127),
    b"|".join(b"%04x" % place for place in _WHITE),
)
_TRACE = re.compile(
    rb'"t(?:'
    rb'ool_use_id"\s*:\s*"([^"]*"?)'  # a result's call
    rb'|ext"\s*:\s*"' + _SPACES + rb'(")'  # a blank text
    rb'|ype"\s*:\s*"(thinking|redacted_thinking|server_tool_use|enabled)"'
    rb")"
)
_SIGNATURE = re.compile(rb'"signature"\s*:\s*(null|"(?:"|ccrelay:)?)')
_CALL = re.compile(rb'"id"\s*:\s*"srvtoolu_[a-zA-Z0-9_]+"')
_MARKED_DATA = re.compile(rb'"data"\s*:\s*"ccrelay:')
_USE = re.compile(rb'/use[ "\\\x80-\xff]')
_BEFORE_USE = re.compile(_SPACES + rb"\\?")
_OWN_RESULT = re.compile(rb'(?=.{,65}\Z)(?:srv|mcp)?toolu_[a-zA-Z0-9_-]+"\Z')


class Signs(NamedTuple):
    """use_line: whether a string may begin with `/use`. foreign: whether another provider than Anthropic may have made
    something. True does not mean that it is so. Neither is missed, in JSON that escapes no letters, of which all calls
    have results, and names and inputs as every provider takes them.
    """

    use_line: bool
    foreign: bool


class _Seen(NamedTuple):
    """Signs in one block. What belongs together, a thinking block and its signature, may not end in it."""

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
    blocks, start = [], 0
    with memoryview(raw) as view:
        while start < len(raw):
            end = raw.find(b"{", start + BLOCK)
            end = len(raw) if end < 0 else end
            blocks.append(_remembered(bytes(view[start:end])))
            start = end
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
    found = _TRACE.findall(block)
    results = tuple(result for result, _, _ in found if result)
    kinds = tuple(kind for _, _, kind in found if kind)
    signatures = _SIGNATURE.findall(block) if b'"signature"' in block else []  # `in` takes a quarter of the time
    foreign = (
        any(blank for _, blank, _ in found)
        or b"enabled" in kinds
        or any(signature != b'"' for signature in signatures)
        or not all(map(_OWN_RESULT.match, results))
    )
    use_line = any(_opens(block, use.start()) for use in _USE.finditer(block))
    if foreign:
        return _Seen(use_line, foreign)  # nothing else counts any more
    seen = _Seen(
        use_line,
        False,
        results,
        kinds,
        len(signatures),
        len(_CALL.findall(block)) if b'"srvtoolu_' in block else 0,
        b'"ccrelay:' in block and _MARKED_DATA.search(block) is not None,
    )
    return _NOTHING if seen == _NOTHING else seen


def _opens(block: bytes, place: int) -> bool:
    """Whether a string begins there, but for white space."""
    quote = block.rfind(b'"', max(0, place - BLOCK), place)
    return quote >= 0 and _BEFORE_USE.fullmatch(block, quote + 1, place) is not None


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
        or kinds.count(b"server_tool_use") != sum(seen.server_calls for seen in telling)
        or kinds.count(b"thinking") != sum(seen.signatures for seen in telling)
        or (b"redacted_thinking" in kinds and any(seen.marked_data for seen in telling))
    )
