"""An appliance's settings: what could never work is refused before anything starts."""

from __future__ import annotations

import json
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


SERVICE = {"name": "web", "hosts": ["cdn.example"], "upstreams": ["https://origin.example/base"]}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "vod"}, "name: 'vod' is none"),
        ({"name": "Web"}, "name: 'Web' is none"),
        ({"hosts": []}, "at least one of each is needed"),
        ({"hosts": ["a b"]}, "'a b' is no host name"),
        ({"upstreams": ["ftp://origin.example"]}, "is no http or https URL"),
        ({"upstreams": ["https://origin.example/?a=b"]}, "is no http or https URL"),
        ({"request_fields": ["Range"]}, "'Range' cannot be passed on"),
    ],
)
def test_a_service_that_could_never_work_is_refused_in_words(
    tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, SERVICES=json.dumps([SERVICE | changed]))
    assert said in str(caught.value)


def test_a_host_selects_one_service_and_no_other(tmp_path: Path) -> None:
    other = SERVICE | {"name": "api", "hosts": ["CDN.example"]}
    with pytest.raises(ConfigError, match="hosts given twice"):
        load(tmp_path, SERVICES=json.dumps([SERVICE, other]))
    with pytest.raises(ConfigError, match="hosts given twice"):
        load(tmp_path, SERVICES=json.dumps([SERVICE]), SERVING__HOSTS='["cdn.example"]')
    [service] = load(tmp_path, SERVICES=json.dumps([SERVICE])).services
    assert service.name == "web"
    assert service.query_parameters == ("*",)
