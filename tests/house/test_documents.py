"""Every setting, metric and dependency is documented, and the pages made from the code are those of this code."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
import typing

import pytest

from chassis.config import describe
from lowtide.rooms import ROOMS, SETTINGS, SettingsOf
from tests.house.source import PACKAGES, ROOT, declared, modules


def root_of(settings: SettingsOf) -> type[typing.Any]:
    found = getattr(importlib.import_module(settings.module), settings.cls)
    assert isinstance(found, type)
    return found


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.name)
def test_every_setting_says_what_it_is(settings: SettingsOf) -> None:
    silent = [row.name for row in describe(root_of(settings)) if not row.doc.strip()]
    assert silent == []


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.name)
def test_settings_are_frozen_and_slotted_or_plain_values(settings: SettingsOf) -> None:
    root = root_of(settings)
    assert dataclasses.is_dataclass(root)
    assert vars(root)["__dataclass_params__"].frozen


def test_every_configuration_class_is_reachable_from_a_command() -> None:
    """A dataclass in a `config` module that no configuration file leads to is documented nowhere."""
    reached = {kind for settings in SETTINGS for kind in _nested(root_of(settings))}
    lost = [
        f"{module.name}.{kind.__name__}"
        for module in modules()
        if module.name.endswith(".config") and module.name != "chassis.config"
        for kind in vars(importlib.import_module(module.name)).values()
        if inspect.isclass(kind) and kind.__module__ == module.name and dataclasses.is_dataclass(kind) and kind not in reached
    ]  # fmt: skip
    assert lost == []


def test_the_pages_made_from_the_code_are_those_of_this_code() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "pages.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_every_metric_is_in_the_page_of_metrics() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(lowtide_\w+)`", page))
    used = {
        node.value
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        and re.fullmatch(r"lowtide_[a-z0-9_]*[a-z0-9]", node.value)
    }  # fmt: skip
    assert sorted(name for name in used if not {name, f"{name}_total"} & named) == []


def test_every_dependency_says_what_for_why_this_one_and_its_licence() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = {
        cells[1].strip().strip("`").lower(): cells
        for line in page.splitlines()
        if line.startswith("| `") and len(cells := line.split("|")) >= 6
    }
    wanted = {name for names in declared().by_extra.values() for name in names}
    assert sorted(wanted - set(rows)) == []
    assert [name for name, cells in rows.items() if any(not cell.strip() for cell in cells[2:5])] == []


def test_every_declared_dependency_is_pinned() -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    wanted = {name.replace("_", "-") for names in declared().by_extra.values() for name in names}
    assert sorted(wanted - pinned) == []


def test_the_readme_names_every_top_level_package() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [name for name in PACKAGES if f"`{name}/" not in readme]
    assert missing == []


def test_every_room_of_the_command_has_an_extra_that_exists() -> None:
    extras = declared().by_extra
    assert [room.command for room in ROOMS for extra in room.extra.split(",") if extra not in extras] == []


def _nested(kind: type[typing.Any]) -> set[type[typing.Any]]:
    found = {kind}
    for hint in typing.get_type_hints(kind).values():
        for part in (hint, *typing.get_args(hint)):
            if inspect.isclass(part) and dataclasses.is_dataclass(part):
                found |= _nested(part)
    return found
