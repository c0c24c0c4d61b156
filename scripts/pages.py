"""Writes the pages that are made from the code: docs/settings.md and docs/metrics.md. With --check it only compares."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("chassis", "companions", "control_plane", "fill_planner", "oca", "onebox", "origin", "steering")
PREFIX = "lowtide_"
HEAD = """# Metrics

Made by `make docs` from the code. Every process answers `/metrics` in the Prometheus text format; the appliance's supervisor
answers for its workers and its keeper. Besides these there are the usual `process_*` and `python_*`.
"""


def metrics_page() -> str:
    """Every metric with its help text, by package: calls whose first two arguments are a `lowtide_` name and a text."""
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
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and len(node.args) >= 2:
            name, words = (_text(argument) for argument in node.args[:2])
            if name and name.startswith(PREFIX) and words:
                found.append((name, " ".join(words.split()).replace("|", "\\|")))
    return found


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


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
