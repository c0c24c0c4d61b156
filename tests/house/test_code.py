"""Rules of STYLE.md that a machine can hold."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Sequence

import pytest

from tests.house.source import ROOT, Module, all_modules, modules

EMPTY_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "manager", "base", "misc", "shared", "stuff"})
MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:work|root|home/\w+|Users/\w+)/")
REGISTRY_HOST = re.compile(r"https?://[^\s\"'/]*(?:pypi|npmjs|registry|artifactory|nexus)[^\s\"'/]*/", re.IGNORECASE)
LONGEST_FILE = 600


def tracked() -> list[str]:
    """Files of the repository, or of the folder where there is no repository (a source archive)."""
    found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if found.returncode == 0:
        return [name for name in found.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    skipped = {".venv", ".lowtide", ".demo", "node_modules"}
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return [str(path) for path in paths if not skipped & set(path.parts)]


def texts() -> list[tuple[str, str]]:
    found = []
    for name in tracked():
        if name.startswith(("web/vendor/", "web/viewer/vendor/")) or "/vendor/" in name:
            continue
        try:
            found.append((name, (ROOT / name).read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


@pytest.mark.parametrize("module", all_modules(), ids=lambda module: module.name)
def test_a_broad_except_handles_what_it_caught(module: Module) -> None:
    wrong = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type):
            handles = any(isinstance(part, (ast.Call, ast.Raise, ast.Assign, ast.Return)) for part in _parts(node.body))
            if not handles:
                wrong.append(f"{module.where}:{node.lineno}")
    assert wrong == []


@pytest.mark.parametrize("module", all_modules(), ids=lambda module: module.name)
def test_no_except_swallows_everything_that_ends_a_process(module: Module) -> None:
    wrong = []
    for block in (node for node in ast.walk(module.tree) if isinstance(node, ast.Try)):
        for handler in block.handlers:
            if handler.type is None or "BaseException" in _names(handler.type):
                parts = _parts([*handler.body, *block.finalbody])
                ends = any(isinstance(part, ast.Raise) or _ends_process(part) for part in parts)
                wrong += [] if ends else [f"{module.where}:{handler.lineno}"]
    assert wrong == []


def test_no_file_or_folder_has_a_name_that_says_nothing() -> None:
    wrong = [module.where for module in all_modules() if EMPTY_NAMES & set(module.name.split("."))]
    assert wrong == []


def test_no_file_holds_a_path_of_somebodys_machine_or_a_private_registry() -> None:
    wrong = []
    for name, text in texts():
        if name == "tests/house/test_code.py":
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if MACHINE_PATH.search(line) or REGISTRY_HOST.search(line):
                wrong.append(f"{name}:{number}: {line.strip()[:100]}")
    assert wrong == []


def test_nothing_is_left_to_do_later_in_comments() -> None:
    marks = re.compile(r"#.*\b(TODO|FIXME|XXX|HACK)\b")
    wrong = [
        f"{module.where}:{number}"
        for module in modules()
        for number, line in enumerate(module.path.read_text(encoding="utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert wrong == []


def test_no_file_is_more_than_one_room() -> None:
    long = [
        f"{module.where}: {count} lines"
        for module in all_modules()
        if (count := len(module.path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE
    ]
    assert long == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        module.where
        for module in modules()
        if ast.get_docstring(module.tree) is None and module.path.read_text(encoding="utf-8").strip()
    ]
    assert silent == []


def _ends_process(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("os._exit", "sys.exit", "os.kill")


def _is_broad(kind: ast.expr | None) -> bool:
    return kind is None or bool(_names(kind) & {"Exception", "BaseException"})


def _names(kind: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(kind) if isinstance(node, ast.Name)}


def _parts(body: Sequence[ast.stmt]) -> list[ast.AST]:
    return [part for statement in body for part in ast.walk(statement)]
