"""The structure of the house: which module may import which, what touches the world, how long a function gets."""

from __future__ import annotations

import ast
import sys
import unittest
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "ccrelay_providers"

FLOORS = [  # low to high; a module imports only from lower floors
    "wire/errors",
    "wire/sse wire/tokens wire/names wire/provider wire/signs wire/members",
    "wire/http1",
    "wire/messages",
    "wire/blocks wire/passthrough wire/ollama_lines wire/ollama_schema wire/text_tools wire/zai_errors",
    "wire/history wire/announcement",
    "wire/plain wire/use_lines",
    "wire/ollama_chat",
    "wire/ollama_errors",
    "wire/ollama_models",
    "anthropic zai ollama",
    "echo",  # answers in Anthropic's words, read by Anthropic's reader: the one provider that uses another
    "__init__",  # the table of the providers
    "core/settings",
    "core/sockets core/proxies core/config core/health core/calibration core/log core/keys",
    "core/exchange core/guard core/heartbeat core/upstream",
    "core/catalog core/gate",
    "core/attempts",
    "core/router core/windows core/pins",
    "core/sessions",
    "core/status",
    "core/relay",
    "core/endpoints",
    "core/server",
    "core/tls",
    "commands/terminal commands/running",
    "commands/screen",
    "commands/lineup",
    "commands/serve commands/models commands/picker commands/skill",
    "commands/client commands/probe commands/trial",
    "commands/check commands/wiring",
    "commands/env commands/claude",
    "ccrelay",
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names.split()}
PROVIDERS = ("anthropic", "zai", "ollama", "echo")
SOCKETS = {"core/sockets", "core/upstream", "core/server", "core/exchange", "core/heartbeat", "core/tls"}
WORLD = {"socket", "ssl", "select", "selectors", "time", "threading", "os", "http", "subprocess", "random", "pathlib"}

MAX_LINES, MAX_NESTING = 40, 4
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)


def modules() -> Iterator[str]:
    """`wire/sse`, `core/config`, `zai`, `__init__`, `ccrelay`; the empty __init__ files of wire and core left out."""
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        name = path.relative_to(ROOT / PACKAGE).with_suffix("").as_posix()
        if not name.endswith("/__init__"):
            yield name
    yield "ccrelay"


@cache
def text(name: str) -> str:
    path = ROOT / "ccrelay.py" if name == "ccrelay" else ROOT / PACKAGE / f"{name}.py"
    return path.read_text("utf-8")


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(text(name))


def at_runtime(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from at_runtime(child)


@cache
def imported(name: str) -> list[str]:
    """Dotted names of everything a module imports, its own package's made absolute."""
    return list(imports(name))


def imports(name: str) -> Iterator[str]:
    folder = [PACKAGE, *name.split("/")[:-1]] if name != "ccrelay" else []
    for node in at_runtime(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = folder[: len(folder) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def own_imports(name: str) -> set[str]:
    """The modules of this project that a module imports, by the names of FLOORS."""
    found = set()
    for dotted in imported(name):
        parts = dotted.split(".")
        if parts[0] == "ccrelay":
            found.add("ccrelay")
        elif parts[0] == PACKAGE:
            candidates = ("/".join(parts[1:]), "/".join(parts[1:-1]))
            found.add(next((each for each in candidates if each in FLOOR), "__init__"))
    return found


def functions(name: str) -> Iterator[ast.FunctionDef]:
    yield from (node for node in ast.walk(tree(name)) if isinstance(node, ast.FunctionDef))


def lines(function: ast.FunctionDef, source: str) -> int:
    """Lines of code: without the docstring, empty lines and comments."""
    start = function.body[0].end_lineno if ast.get_docstring(function) else function.lineno
    code = source.splitlines()[(start or 0) : function.end_lineno]
    return 1 + sum(1 for line in code if line.strip() and not line.strip().startswith("#"))


def nesting(node: ast.AST) -> int:
    """How deep blocks stand in one another; `elif` is no deeper than its `if`."""
    deepest = 0
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                chained = (
                    field == "orelse" and isinstance(node, ast.If) and isinstance(child, ast.If) and len(value) == 1
                )
                deepest = max(deepest, nesting(child) + (isinstance(child, BLOCKS) and not chained))
    return deepest


class TestFloors(unittest.TestCase):
    def test_every_module_has_a_floor_and_every_floor_its_modules(self) -> None:
        self.assertEqual(set(modules()), set(FLOOR), "a new module needs a place in FLOORS")

    def test_imports_go_down_only(self) -> None:
        for name in modules():
            for below in own_imports(name):
                self.assertLess(FLOOR[below], FLOOR[name], f"{name} imports {below}")

    def test_the_test_sees_the_imports(self) -> None:
        self.assertEqual(own_imports("wire/history"), {"wire/blocks", "wire/messages", "wire/names"})
        self.assertIn("__init__", own_imports("core/catalog"))
        self.assertIn("core/config", own_imports("ccrelay"))
        self.assertEqual({name for name in PROVIDERS if FLOOR[name] == FLOOR["zai"]}, {"anthropic", "zai", "ollama"})

    def test_providers_import_only_from_wire(self) -> None:
        for name in PROVIDERS:
            others = {each for each in own_imports(name) if not each.startswith("wire/")}
            self.assertEqual(others, {"anthropic"} if name == "echo" else set(), name)

    def test_nothing_reaches_a_provider_but_through_the_table(self) -> None:
        for name in modules():
            if name not in (*PROVIDERS, "__init__"):
                self.assertEqual(own_imports(name) & set(PROVIDERS), set(), name)

    def test_nothing_imports_ccrelay(self) -> None:
        for name in modules():
            self.assertNotIn("ccrelay", own_imports(name), name)

    def test_only_the_standard_library(self) -> None:
        for name in modules():
            for dotted in imported(name):
                top = dotted.partition(".")[0]
                self.assertTrue(top in sys.stdlib_module_names or top == PACKAGE, f"{name} imports {top}")

    def test_no_module_is_named_like_the_standard_librarys(self) -> None:
        for name in modules():
            self.assertNotIn(name.rpartition("/")[2], sys.stdlib_module_names - {"__init__"}, name)


class TestWorld(unittest.TestCase):
    def tops(self, name: str) -> set[str]:
        return {dotted.partition(".")[0] for dotted in imported(name)}

    def test_who_touches_sockets(self) -> None:
        found = {name for name in modules() if self.tops(name) & {"socket", "ssl", "select", "selectors"}}
        self.assertEqual(found, SOCKETS)

    def test_only_the_pool_opens_connections(self) -> None:
        found = {name for name in modules() if any(dotted.startswith("http.client") for dotted in imported(name))}
        self.assertEqual(found, {"core/upstream"})
        opening = {name for name in SOCKETS if "create_connection" in ast.dump(tree(name))}
        self.assertEqual(opening, {"core/upstream"})

    def test_wires_and_providers_know_no_world(self) -> None:
        for name in modules():
            if name.startswith("wire/") or name in PROVIDERS:
                self.assertEqual(self.tops(name) & WORLD, set(), name)

    def test_only_the_configuration_and_the_command_line_see_the_environment(self) -> None:
        found = {name for name in modules() if "'environ'" in ast.dump(tree(name)) and "os" in self.tops(name)}
        self.assertLessEqual({name for name in found if not name.startswith("commands/")}, {"ccrelay", "core/config"})


class TestSizes(unittest.TestCase):
    def test_no_function_is_longer_than_a_screen(self) -> None:
        for name in modules():
            for function in functions(name):
                self.assertLessEqual(lines(function, text(name)), MAX_LINES, f"{name}: {function.name}")

    def test_nor_deeper_than_one_can_follow(self) -> None:
        for name in modules():
            for function in functions(name):
                self.assertLessEqual(nesting(function), MAX_NESTING, f"{name}: {function.name}")

    def test_the_tests_measure(self) -> None:
        head, body = 'def f():\n    """Doc."""\n\n    # why\n', "    if a:\n        pass\n    elif b:\n"
        code = head + body + "        for c in d:\n            pass\n"
        [function] = ast.parse(code).body
        assert isinstance(function, ast.FunctionDef)
        self.assertEqual((lines(function, code), nesting(function)), (6, 2))

    def test_every_module_has_its_tests(self) -> None:
        for name in modules():
            if name != "__init__":
                path = ROOT / "tests" / f"test_{name.rpartition('/')[2]}.py"
                self.assertTrue(path.exists(), f"{path.name} is missing")


if __name__ == "__main__":
    unittest.main()
