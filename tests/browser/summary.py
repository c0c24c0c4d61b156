"""All results of a folder as one table. `python -m tests.browser.summary [FOLDER]` prints it, and writes `index.html` beside the results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec

from tests.browser.run_result import FORMAT, RunResult
from tests.browser.timeline import STYLE

COLUMNS = ("run", "version", "startup s", "played s", "stalls", "still s", "seek s", "quality", "pathway", "hosts", "failed", "steered", "preflights", "verdict")  # fmt: skip


class _Format(msgspec.Struct):
    format: int


def rows(results: Sequence[RunResult]) -> list[tuple[str, ...]]:
    """A row for each result under COLUMNS, in the order of their names."""
    return [_row(result) for result in sorted(results, key=lambda result: result.run)]


def table(results: Sequence[RunResult]) -> str:
    """The table as Markdown."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *rows(results)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(results: Sequence[RunResult]) -> str:
    """The table as HTML; each run leads to its timeline."""
    head = "".join(f"<th>{escape(word)}</th>" for word in COLUMNS)
    body = "".join(
        f'<tr><td><a href="{escape(first)}.html">{escape(first)}</a></td>'
        + "".join(f"<td>{escape(value)}</td>" for value in others)
        + "</tr>"
        for first, *others in rows(results)
    )
    style = STYLE + "table { border-collapse: collapse; } td, th { padding: .2rem .6rem; text-align: left; }"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Players</title><style>{style}</style>'
        f"<h1>Players</h1><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></html>\n"
    )


def read(folder: Path) -> list[RunResult]:
    """Every result in a folder; those of another format are left out. Raises msgspec.MsgspecError for a file that is none."""
    found = [file.read_bytes() for file in sorted(folder.glob("*.json"))]
    ours = [text for text in found if msgspec.json.decode(text, type=_Format).format == FORMAT]
    return [msgspec.json.decode(text, type=RunResult) for text in ours]


def _row(result: RunResult) -> tuple[str, ...]:
    stalls = result.stalls
    why = f": {', '.join(reason.value for reason, _words in result.why)}" if result.why else ""
    return (
        result.run,
        result.version,
        "–" if result.startup_s is None else f"{result.startup_s:.2f}",
        f"{result.played_s:.0f}",
        f"{stalls.count} ({stalls.seconds:.1f} s)" if stalls.count else "0",
        f"{stalls.longest_still_s:.2f}",
        f"{result.seeks.longest_s:.2f}" if result.seeks.count else "–",
        str(result.switches.quality),
        str(result.switches.pathway),
        str(len(result.hosts)),
        str(sum(use.failed for use in result.hosts.values())),
        str(len(result.steering)),
        str(result.preflights),
        result.verdict.value + why,
    )


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/players")
    found = read(where)
    (where / "index.html").write_text(page(found), encoding="utf-8")
    sys.stdout.write(table(found) + "\n")
