"""The words of `lowtide steering`."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from contracts.world import RankFile
from steering.cli import app, rank_file


def test_a_path_becomes_its_key_and_group() -> None:
    assert rank_file("/media/t/sd/v-360.mp4") == RankFile("vod|/media/t/sd/v-360.mp4", "t/v-360")
    assert rank_file("vod|/media/t/sd/v-360.m3u8") == RankFile("vod|/media/t/sd/v-360.m3u8", "t/v-360")
    assert rank_file("other|/thing") == RankFile("other|/thing", "other|/thing")


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(typer.BadParameter):
        rank_file("v-360.mp4")


def test_a_steering_that_is_away_is_said_to_be_away() -> None:
    result = CliRunner().invoke(app, ["explain", "10.0.0.1", "/media/t/sd/v.mp4", "--url", "http://127.0.0.1:1"])
    assert (result.exit_code, "cannot be reached" in result.stderr) == (1, True)


def test_the_address_may_come_from_the_environment() -> None:
    environ = {"LOWTIDE_STEERING_URL": "http://127.0.0.1:2"}
    result = CliRunner().invoke(app, ["explain", "10.0.0.1", "/media/t/sd/v.mp4"], env=environ)
    assert "http://127.0.0.1:2/v1/explain cannot be reached" in result.stderr


def test_routes_of_a_steering_that_is_away_are_an_error_in_words() -> None:
    result = CliRunner().invoke(app, ["routes", "10.0.0.1", "--url", "http://127.0.0.1:1"])
    assert (result.exit_code, "cannot be reached" in result.stderr) == (1, True)
