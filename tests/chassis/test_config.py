"""Configuration: later sources win, everything wrong is told at once, every setting can be described."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
from annotated_types import Ge, Gt, Le, MinLen
from typing_extensions import Doc

from chassis import config
from chassis.errors import ConfigError


class Policy(enum.Enum):
    LRU = "lru"
    SIEVE = "sieve"


@dataclass(frozen=True, slots=True)
class Http:
    host: Annotated[str, Doc("Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535), Doc("Port; 0 means any free one.")] = 0


@dataclass(frozen=True, slots=True)
class Disk:
    path: Annotated[Path, Doc("Folder on its own filesystem.")]
    quota_bytes: Annotated[int, Gt(0), Doc("What may be used of it.")] = 10


@dataclass(frozen=True, slots=True)
class Settings:
    name: Annotated[str, MinLen(1), Doc("Name of the box.")]
    http: Annotated[Http, Doc("The listener.")] = field(default_factory=Http)
    disks: Annotated[tuple[Disk, ...], Doc("The disks.")] = ()
    policy: Annotated[Policy, Doc("Eviction policy.")] = Policy.LRU
    rates: Annotated[tuple[float, ...], Doc("Rates.")] = (1.0, 2.0)
    share: Annotated[float, Ge(0), Le(1), Doc("Share | of unpinned cache.")] = 0.15
    secret_file: Annotated[Path | None, Doc("Where the secret is.")] = None
    strict: Annotated[bool, Doc("Refuse what is old.")] = False

    def __post_init__(self) -> None:
        if self.strict and self.secret_file is None:
            raise ValueError("strict needs secret_file")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "box.yaml"
    path.write_text(text)
    return path


def problems(path: Path | None, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        config.load(Settings, path, environ=environ)
    return caught.value.problems


def test_defaults_file_environment_and_overrides_win_in_that_order(tmp_path: Path) -> None:
    path = written(tmp_path, "name: a\nhttp: {host: 0.0.0.0, port: 1}\npolicy: sieve\n")
    environ = {"LOWTIDE_HTTP__PORT": "2", "LOWTIDE_SHARE": "0.5", "OTHER": "x"}
    found = config.load(Settings, path, environ=environ, overrides={"share": 0.75})
    assert found.http == Http("0.0.0.0", 2)
    assert (found.share, found.policy) == (0.75, Policy.SIEVE)


def test_environment_values_are_text_for_text_fields_and_yaml_elsewhere() -> None:
    environ = {
        "LOWTIDE_NAME": "007",
        "LOWTIDE_RATES": "[1, 2.5]",
        "LOWTIDE_DISKS": "[{path: /d1}]",
        "LOWTIDE_SECRET_FILE": "/s",
        "LOWTIDE_STRICT": "true",
    }
    found = config.load(Settings, None, environ=environ)
    assert (found.name, found.rates, found.secret_file) == ("007", (1.0, 2.5), Path("/s"))
    assert found.disks == (Disk(Path("/d1")),)
    assert found.strict is True


def test_three_mistakes_are_three_lines_each_with_place_reason_and_what_is_allowed(tmp_path: Path) -> None:
    path = written(tmp_path, "name: a\nhttp: {port: 99999, hots: x}\npolicy: mru\n")
    lines = problems(path)
    assert len(lines) == 3
    text = "\n".join(lines)
    assert f'http.hots: is not a setting; did you mean "host"? [{path}]' in lines
    assert "http.port: input should be less than or equal to 65535 (given: 99999)" in text
    assert "allowed: int, ≥ 0, ≤ 65535" in text
    assert "one of lru, sieve" in text


def test_a_problem_names_the_environment_variable_it_came_from() -> None:
    (line,) = problems(None, LOWTIDE_NAME="a", LOWTIDE_HTTP__PORT="many")
    assert line.startswith("http.port:")
    assert line.endswith("[LOWTIDE_HTTP__PORT]")


def test_a_missing_setting_and_an_unknown_variable_are_told_together() -> None:
    lines = problems(None, LOWTIDE_POLICE="lru")
    assert 'police: is not a setting; did you mean "policy"? [LOWTIDE_POLICE]' in lines
    assert any(line.startswith("name: is missing; allowed: text, at least 1 long") for line in lines)


def test_mistakes_inside_lists_name_the_element(tmp_path: Path) -> None:
    path = written(tmp_path, "name: a\ndisks:\n  - {path: /d1}\n  - {path: /d2, quota_bytes: 0}\n  - {pfad: /d3}\n")
    text = "\n".join(problems(path))
    assert "disks[1].quota_bytes: input should be greater than 0" in text
    assert "disks[2].pfad: is not a setting; known here: path, quota_bytes" in text
    assert "disks[2].path: is missing" in text


def test_rules_between_settings_are_told_in_their_own_words(tmp_path: Path) -> None:
    (line,) = problems(written(tmp_path, "name: a\nstrict: true\n"))
    assert line.startswith("strict needs secret_file")


@pytest.mark.parametrize(
    ("text", "said"), [("name: [", "is not YAML"), ("- a\n- b\n", "must be a mapping"), ("\x00", "is not YAML")]
)
def test_a_file_that_is_no_mapping_is_told_by_name_and_nothing_else(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    (line,) = problems(path)
    assert line.startswith(str(path))
    assert said in line


def test_a_missing_file_is_told_by_name_and_nothing_else(tmp_path: Path) -> None:
    (line,) = problems(tmp_path / "none.yaml")
    assert line == f"{tmp_path / 'none.yaml'}: cannot be read: No such file or directory"


def test_settings_travel_as_json_to_a_process_without_pydantic(tmp_path: Path) -> None:
    path = written(tmp_path, "name: a\ndisks: [{path: /d1}]\nsecret_file: /s\n")
    found = config.load(Settings, path, environ={})
    assert config.decode(Settings, config.encode(found)) == found


def test_every_setting_is_described_with_type_default_and_constraint() -> None:
    rows = {row.name: row for row in config.describe(Settings)}
    assert list(rows)[:3] == ["name", "http.host", "http.port"]
    assert (rows["name"].default, rows["http.port"].constraint) == ("(required)", "≥ 0, ≤ 65535")
    assert rows["disks[].path"].type == "path"
    assert (rows["policy"].type, rows["policy"].default) == ("one of lru, sieve", "lru")
    assert (rows["secret_file"].type, rows["secret_file"].default) == ("path or nothing", "nothing")
    assert all(row.doc for row in rows.values())


def test_the_markdown_table_escapes_bars() -> None:
    text = config.render_markdown("Box", config.describe(Settings))
    assert "## Box" in text
    assert "Share \\| of unpinned cache." in text
