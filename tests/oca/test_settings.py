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


@pytest.mark.parametrize(
    ("host", "wrong"),
    [
        ("", "names no host"),
        ("oca 1.example", "has characters that no URL has"),
        ("öca.example", "has characters that no URL has"),
        ("https://oca1.example", "is more than a host and a port"),
        ("oca1.example/media", "is more than a host and a port"),
        ("ann@oca1.example", "is more than a host and a port"),
        ("oca1.example.", "names no host"),
        ("oca_1.example", "names no host"),
        ("192.0.2.256", "names no host"),
        ("2001:db8::1", "is an IPv6 address without brackets"),
        ("[2001:db8::1", "cannot be read"),
        ("[fe80::1%eth0]", "names no host"),
        ("0.0.0.0:8080", "names an address that nobody can dial"),
        ("oca1.example:", "has a colon and no port behind it"),
        ("oca1.example:0", "has port 0"),
        ("oca1.example:65536", "cannot be read: Port out of range"),
        ("oca1.example:http", "cannot be read: Port could not be cast"),
    ],
)
def test_an_address_that_players_could_not_dial_is_refused_by_its_place_in_the_list(
    tmp_path: Path, host: str, wrong: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, SERVING__HOSTS=json.dumps(["oca1.example", host]))
    assert f"hosts[1]: {host!a} {wrong}" in str(caught.value)


def test_all_addresses_that_players_could_not_dial_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, SERVING__HOSTS=json.dumps(["a b", "oca1.example", "oca2.example:0"]))
    assert "hosts[0]: 'a b'" in str(caught.value)
    assert "hosts[2]: 'oca2.example:0'" in str(caught.value)
    assert "hosts[1]" not in str(caught.value)


def test_names_and_addresses_with_and_without_port_are_told_to_players(tmp_path: Path) -> None:
    hosts = [
        "Oca1.example",
        "oca1.example:8080",
        "192.0.2.1",
        "127.0.0.1:8443",
        "[2001:db8::1]",
        "[::1]:8080",
        "localhost",
    ]
    assert load(tmp_path, SERVING__HOSTS=json.dumps(hosts)).serving.hosts == tuple(hosts)


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
