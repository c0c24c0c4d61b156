"""What the one box writes is what the services read."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import yaml

from chassis import certificates
from chassis.config import load
from companions.config import Companions
from contracts.enrolment import CodeAnswer, CodeRequest, PeerKind
from control_plane.config import ControlPlaneSettings
from oca.config import Appliance
from onebox.app import OneBox
from onebox.layout import APPLIANCE_PORTS, Command, Layout, fitting, media_listeners, wanted_ports
from onebox.ports import allocate
from onebox.topology import PublicSpec, Topology, default_sites
from origin.config import OriginSettings
from steering.config import SteeringSettings

READERS: dict[str, type[object]] = {
    "control-plane": ControlPlaneSettings,
    "steering": SteeringSettings,
    "origin": OriginSettings,
    "companions": Companions,
    "oca": Appliance,
}


PUBLIC = PublicSpec(
    "cdn.test", "https://127.0.0.1:14000/dir", "/ca.pem", dns_port=5353, certificate="/tls.pem", key="/tls.key"
)


def layout(root: Path, public: PublicSpec | None = None) -> Layout:
    ladder = ("240@280", "480@1100")
    topology = Topology(str(root), base_port=0, ladder=ladder, preset="ultrafast", public=public or PublicSpec())
    return Layout(topology, root, allocate(wanted_ports(topology), root / "ports.json"))


def commands(root: Path, public: PublicSpec | None = None) -> list[Command]:
    laid_out = layout(root, public)
    return [*laid_out.services(), *(laid_out.appliance(spec) for spec in laid_out.topology.appliances)]


@pytest.mark.parametrize("public", [None, PUBLIC], ids=["addresses", "names"])
def test_every_process_s_settings_are_accepted_by_the_room_that_reads_them(
    tmp_path: Path, public: PublicSpec | None
) -> None:
    for command in commands(tmp_path, public):
        command.config_file.parent.mkdir(exist_ok=True)
        command.config_file.write_text(yaml.safe_dump(command.settings))
        reader = READERS[command.arguments[0]]
        assert isinstance(load(reader, command.config_file, environ={}), reader)


def test_under_public_names_everything_a_browser_asks_for_has_one_and_is_dialled_without_a_port(tmp_path: Path) -> None:
    laid_out = layout(tmp_path, PUBLIC)
    doors = laid_out.doors()
    services = {"watch", "auth", "catalog", "home", "steering", "origin"}
    assert set(doors) == {f"{name}.cdn.test" for name in services | {"a1", "a2", "b1"}}
    assert len(set(doors.values())) == len(doors)
    assert laid_out.public_url("playback") == "https://watch.cdn.test"
    assert layout(tmp_path).doors() == {}


@pytest.mark.parametrize("public", [None, PUBLIC], ids=["addresses", "names"])
def test_players_are_sent_to_a_door_of_steering_that_answers_them_alone(
    tmp_path: Path, public: PublicSpec | None
) -> None:
    laid_out = layout(tmp_path, public)
    found = {command.name: command.settings for command in laid_out.services()}
    viewer, playback = found["steering"]["viewer"], found["playback"]["playback"]
    assert isinstance(viewer, dict)
    assert isinstance(playback, dict)
    assert (viewer["enabled"], viewer["port"]) == (True, laid_out.ports["steering.viewer"])
    its = "https://steering.cdn.test" if public else laid_out.url("steering.viewer")
    assert playback["public"]["steering_url"] == its
    assert playback["steering_url"] == laid_out.url("steering.http")


def test_the_default_system_is_two_sites_and_three_appliances_with_every_service_once(tmp_path: Path) -> None:
    names = [command.name for command in commands(tmp_path)]
    assert len(set(names)) == len(names)
    assert {"a1", "a2", "b1", "control-plane", "steering", "origin", "origin-worker-0"} <= set(names)
    assert {"auth", "catalog", "recommendation", "playback"} <= set(names)


def test_no_two_listeners_share_an_address(tmp_path: Path) -> None:
    topology = layout(tmp_path).topology
    wanted = wanted_ports(topology)
    ports = allocate(wanted, tmp_path / "ports.json")
    bound = [(address, ports[name]) for name, (address, _wish) in wanted.items()]
    assert len(set(bound)) == len(bound)
    assert len(wanted) == 10 + topology.origin_workers + len(APPLIANCE_PORTS) * len(topology.appliances)


def test_ports_are_remembered_and_a_taken_wish_gets_another(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        taken = holder.getsockname()[1]
        first = allocate({"x": ("127.0.0.1", taken)}, tmp_path / "ports.json")
        assert first["x"] != taken
    assert allocate({"x": ("127.0.0.1", taken)}, tmp_path / "ports.json") == first


def test_appliances_serve_players_on_one_port_so_that_a_host_alone_names_one_of_them(tmp_path: Path) -> None:
    topology = layout(tmp_path).topology
    wanted, alike = wanted_ports(topology), media_listeners(topology)
    ports = allocate(wanted, tmp_path / "new.json", [alike])
    assert len({ports[name] for name in alike}) == 1
    bound = [(address, ports[name]) for name, (address, _wish) in wanted.items()]
    assert len(set(bound)) == len(bound)
    assert allocate(wanted, tmp_path / "new.json", [alike]) == ports


def test_appliances_that_share_an_address_get_ports_of_their_own(tmp_path: Path) -> None:
    wanted = {"x.media": ("127.0.0.1", 0), "y.media": ("127.0.0.1", 0)}
    ports = allocate(wanted, tmp_path / "new.json", [["x.media", "y.media"]])
    assert ports["x.media"] != ports["y.media"]


@pytest.mark.parametrize("listener", ["control-plane.mtls", "origin.mtls"])
def test_mutual_tls_listeners_have_https_addresses(tmp_path: Path, listener: str) -> None:
    assert layout(tmp_path).url(listener).startswith("https://127.0.0.1:")


def test_ipv6_addresses_stand_in_brackets_and_every_network_has_an_address_to_pick(tmp_path: Path) -> None:
    site = replace(default_sites()[0], prefixes=("fd00:1::/48",))
    small = replace(default_sites()[1], prefixes=("192.0.2.8/30",))
    topology = Topology(state_dir=str(tmp_path), host="::1", base_port=0, sites=(site, small))
    laid_out = Layout(topology, tmp_path, allocate({"x": ("::1", 0)}, tmp_path / "ports.json") | PORTS)
    assert laid_out.url("origin.http") == "http://[::1]:7"
    playback = next(command for command in laid_out.services() if command.name == "playback").settings["playback"]
    assert isinstance(playback, dict)
    assert [place["address"] for place in playback["demo"]["networks"]] == ["fd00:1::932", "192.0.2.11"]


async def test_a_certificate_that_has_ended_gets_a_new_code(tmp_path: Path) -> None:
    box = OneBoxThatCounts(Topology(state_dir=str(tmp_path), base_port=0))
    box._lay_out(())
    key = certificates.make_key()
    for folder, days in (("fresh", 1.0), ("ended", -0.001)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cert.pem").write_text(certificates.make_ca(key, "x", time.time(), days))
        (tmp_path / "codes").mkdir(exist_ok=True)
        await box._offer_code(PeerKind.SERVICE, folder, tmp_path / folder)
    assert box.codes_for == ["ended"]


PORTS = dict.fromkeys(wanted_ports(Topology()), 7)


class OneBoxThatCounts(OneBox):
    """Stands where the control plane would be asked."""

    def __init__(self, topology: Topology) -> None:
        super().__init__(topology)
        self.codes_for: list[str] = []

    async def _operator(self, method: str, path: str, body: msgspec.Struct | None = None) -> bytes:
        assert isinstance(body, CodeRequest)
        self.codes_for.append(body.name)
        return msgspec.json.encode(CodeAnswer("SECRET.x", 0.0))


def test_a_small_machine_gets_quotas_that_its_filesystem_can_hold() -> None:
    small, large = (replace(Topology().appliances[0], disk_bytes=size) for size in (1_000_000_000, 20_000_000_000))
    assert [spec.disk_bytes for spec in fitting([small, large], 8_000_000_000)] == [1_000_000_000, 8_000_000_000]
