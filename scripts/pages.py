"""Writes the pages that are made from the code: docs/settings.md and docs/metrics.md. With --check it only compares."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TypeGuard

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("chassis", "companions", "control_plane", "fill_planner", "oca", "onebox", "origin", "steering")
PREFIX = "lowtide_"
MAKERS = frozenset({"counter", "gauge", "histogram"})
HEAD = """# Metrics

Made by `make docs` from the code. Every process answers `/metrics` in the Prometheus text format; the appliance's supervisor
answers for its workers and its keeper. Besides these there are the usual `process_*` and `python_*`.
"""


def metrics_page() -> str:
    """Every metric with its help text, by package."""
    parts = [HEAD]
    for package in PACKAGES:
        rows = sorted(
            {row for path in sorted((ROOT / package).rglob("*.py")) for row in _rows(path.read_text("utf-8"))}
        )
        if rows:
            parts.append(f"## {package}\n\n| metric | what it counts |\n|---|---|")
            parts += [f"| `{name}` | {words} |" for name, words in rows]
            parts.append("")
    return "\n".join(parts)


def _rows(source: str) -> list[tuple[str, str]]:
    """(name as exposed, help text). A name may come with its text in a call, in a row of a table, or in a call of a module
    that puts one prefix before all its names."""
    tree = ast.parse(source)
    prefix = next((_text(node.values[0]) for node in ast.walk(tree) if _is_prefixed(node)), None)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and len(node.elts) >= 2:
            found.append((_text(node.elts[0]), _last_text(node.elts[1:]), False))
        elif isinstance(node, ast.Call) and len(node.args) >= 2:
            name, kind = _text(node.args[0]), _called(node)
            if name and prefix and kind in MAKERS and not name.startswith(PREFIX):
                name = prefix + name
            found.append((name, _text(node.args[1]), kind == "counter"))
    return [
        (_exposed(name, counts), " ".join(words.split()).replace("|", "\\|"))
        for name, words, counts in found
        if name and name.startswith(PREFIX) and words
    ]


def _is_prefixed(node: ast.AST) -> TypeGuard[ast.JoinedStr]:
    return isinstance(node, ast.JoinedStr) and (_text(node.values[0]) or "").startswith(PREFIX)


def _called(node: ast.Call) -> str:
    named = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return str(named).lower().strip("_")


def _exposed(name: str, counts: bool) -> str:
    return name + "_total" if counts and not name.endswith("_total") else name


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _last_text(nodes: list[ast.expr]) -> str | None:
    return next((text for node in reversed(nodes) if (text := _text(node))), None)


def settings_page() -> str:
    from lowtide.cli import settings_markdown
    from lowtide.rooms import SETTINGS

    return settings_markdown(list(SETTINGS))


def main(arguments: list[str]) -> int:
    pages = {"docs/settings.md": settings_page(), "docs/metrics.md": metrics_page()}
    old = []
    for name, text in pages.items():
        path = ROOT / name
        if path.exists() and path.read_text("utf-8") == text:
            continue
        if "--check" in arguments:
            old.append(name)
        else:
            path.write_text(text, "utf-8")
    if old:
        sys.stderr.write(f"{', '.join(old)}: not what the code says; run make docs\n")
    return 1 if old else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
