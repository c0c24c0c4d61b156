"""An appliance's settings: what could never work is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from chassis import config
from chassis.errors import ConfigError
from oca.config import Appliance

RIGHT = """
state_dir: /state
store: {disks: [{path: /disk, quota_bytes: 2000000}]}
control_plane: {url: https://control.example:8443}
"""


def load(tmp_path: Path, **changed: str) -> Appliance:
    file = tmp_path / "oca.yaml"
    file.write_text(RIGHT)
    return config.load(Appliance, file, environ={f"LOWTIDE_{name}": value for name, value in changed.items()})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"STORE__POLICY": "fifo"}, "store.policy"),
        ({"LOG_LEVEL": "loud"}, "log_level"),
        ({"STORE__EXTENT_BYTES": "300000"}, "300000 is not a multiple of 262144"),
        ({"STORE__DISKS": "[]"}, "at least one is needed"),
        ({"SERVING__MEDIA__HOST": "0.0.0.0"}, "hosts: needed when media.host is 0.0.0.0"),
        ({"SERVING__PEERS__HOST": "::"}, "name the address that other appliances dial"),
    ],
)
def test_what_could_never_work_is_refused_in_words(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match="1 setting is wrong") as caught:
        load(tmp_path, **changed)
    assert said in str(caught.value)


def test_every_address_may_be_bound_where_players_are_told_names(tmp_path: Path) -> None:
    changed = {"SERVING__MEDIA__HOST": "0.0.0.0", "SERVING__HOSTS": "[oca1.example]"}
    assert load(tmp_path, **changed).serving.hosts == ("oca1.example",)
