from __future__ import annotations

from pathlib import Path

from chassis.config import describe
from origin import states
from origin.config import OriginSettings
from origin.probe import Rejection

PAGE = (Path(__file__).parents[2] / "docs" / "origin.md").read_text()


def test_the_picture_of_the_states_is_the_table() -> None:
    assert states.diagram().strip() in PAGE


def test_every_reason_for_a_rejection_is_on_the_page() -> None:
    for reason in Rejection:
        assert f"| `{reason.word}` | {reason.sentence} |" in PAGE


def test_every_setting_says_what_it_is() -> None:
    settings = describe(OriginSettings)
    assert [setting.name for setting in settings if not setting.doc] == []
    assert {"state_dir", "encode.rungs[].height", "jobs.lease_s", "mtls.public_url"} <= {s.name for s in settings}
