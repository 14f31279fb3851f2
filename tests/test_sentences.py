"""Every sentence with which the relay refuses, fails or warns stands on a page of docs/, in the words that it says.

The code is read, not run: what is handed to an error, to a list of errors or of notes, or said to the log. Of such a
sentence the first clause of three words or more is looked for, since that is what a user would look for.
"""

from __future__ import annotations

import ast
import re
import unittest
from collections.abc import Iterator, Sequence
from pathlib import Path

from ccrelay_providers.wire import errors

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [ROOT / "ccrelay.py", *sorted((ROOT / "ccrelay_providers").rglob("*.py"))]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ERRORS = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}
SAYING = dict.fromkeys((*ERRORS, "ConfigError", "ValueError", "_Known", "broken", "_error", "say", "_say"), 0) | {
    "setdefault": 1
}
HOLE = "\0"  # in place of what a sentence fills in


def phrases(node: ast.AST, names: dict[str, list[ast.AST]]) -> list[str]:
    """The texts that an expression may become, with a HOLE for whatever only the moment knows."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in parts)]
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return [a + b for a in phrases(left, names) for b in phrases(right, names)]
        case ast.IfExp(body=body, orelse=orelse):
            return [*phrases(body, names), *phrases(orelse, names)]
        case ast.Name(id=name) if name in names:
            return [text for value in names[name] for text in phrases(value, {})]
        case ast.List(elts=elements):
            return [text for element in elements for text in phrases(element, names)]
    return [HOLE]


def clause(text: str) -> str:
    """The first part of three words or more, such as a user would look for; empty if there is none."""
    parts = [part.strip(" .,:()'\"") for part in re.split(rf"{HOLE}|; |: ", text)]
    return next((part for part in parts if len(part.split()) > 2), "")


def said(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of everything in a module that becomes a sentence for people."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        names: dict[str, list[ast.AST]] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names.setdefault(node.targets[0].id, []).append(node.value)
        for node in ast.walk(function):
            for text in [text for value in _values(node) for text in phrases(value, names)]:
                yield getattr(node, "lineno", 0), text


def _values(node: ast.AST) -> Sequence[ast.AST]:
    """Of a statement or call that says something: what it says."""
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=arguments) if name in SAYING:
            return arguments[SAYING[name] : SAYING[name] + 1]
        case ast.Call(
            func=ast.Attribute(attr="append", value=ast.Attribute(attr="notes" | "warnings")), args=arguments
        ):
            return arguments
        case ast.Assign(targets=[ast.Subscript(value=ast.Name(id="errors"))], value=value):
            return [value]
        case ast.Yield(value=ast.JoinedStr() | ast.Constant() as value):
            return [value]
    return []


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("`", ""))


class SentenceTests(unittest.TestCase):
    pages = flat("\n".join(path.read_text("utf-8") for path in PAGES))

    def test_every_sentence_is_on_a_page(self) -> None:
        for path in SOURCES:
            for line, text in said(path.read_text("utf-8")):
                wanted = flat(clause(text))
                if wanted not in self.pages:
                    with self.subTest(f"{path.relative_to(ROOT)}:{line}", sentence=text.replace(HOLE, "…")):
                        self.fail(f"nowhere in docs/: {wanted}")


if __name__ == "__main__":
    unittest.main()
