"""The project's Python files as the house rules see them: parsed, never imported."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "chassis", "companions", "contracts", "control_plane", "demo", "fill_planner", "lowtide", "oca", "onebox", "origin",
    "player", "policies", "steering", "web",
)  # fmt: skip
ASIDE = ("benchmarks", "scripts", "tests", "deploy")
OURS = frozenset(PACKAGES + ASIDE)


@dataclass(frozen=True)
class Module:
    """One file: its dotted name, where it is, and its syntax tree, which is read when it is asked for first."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))

    @property
    def where(self) -> str:
        return str(self.path.relative_to(ROOT))

    def imports(self) -> Iterator[tuple[str, int]]:
        """(dotted name, line) of each import, `from a import b` as `a.b`, wherever it stands."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node.lineno
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                for alias in node.names:
                    yield f"{base}.{alias.name}", node.lineno

    def top_level_statements(self) -> Iterator[ast.stmt]:
        """Statements that run at import, inside `if` and `try` too."""
        todo: list[ast.stmt] = list(self.tree.body)
        while todo:
            node = todo.pop()
            yield node
            if isinstance(node, (ast.If, ast.Try, ast.With)):
                todo += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        for _ in range(node.level - 1):
            package = package.rpartition(".")[0]
        return f"{package}.{node.module}" if node.module else package


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the installed packages."""
    return tuple(_module(path) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))


@cache
def all_modules() -> tuple[Module, ...]:
    """Tests, benchmarks and scripts too."""
    aside = (path for folder in ASIDE for path in sorted((ROOT / folder).rglob("*.py")))
    return (*modules(), *(_module(path) for path in aside))


def _module(path: Path) -> Module:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return Module(".".join(parts), path)


@dataclass(frozen=True)
class Declared:
    """What setup.cfg declares: distribution names, lower case, by extra; "" is what everybody gets."""

    by_extra: dict[str, frozenset[str]]

    def of(self, *extras: str) -> frozenset[str]:
        return frozenset().union(self.by_extra[""], *(self.by_extra[extra] for extra in extras))


@cache
def declared() -> Declared:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    found = {"": _names(config["options"]["install_requires"])}
    for extra, text in config["options.extras_require"].items():
        found[extra] = _names(text)
    return Declared(found)


def _names(text: str) -> frozenset[str]:
    lines = (line.strip() for line in text.splitlines())
    names = (re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0].lower() for line in lines if line and line[0] != "#")
    return frozenset(name for name in names if name != "lowtide")


def is_standard(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


def inside(name: str, prefix: str) -> bool:
    """True when the dotted name is the prefix or lies below it."""
    return name == prefix or name.startswith(prefix + ".")
