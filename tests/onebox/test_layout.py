"""What the one box writes is what the services read."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from chassis.config import load
from companions.config import Companions
from control_plane.config import ControlPlaneSettings
from oca.config import Appliance
from onebox.layout import APPLIANCE_PORTS, Command, Layout, wanted_ports
from onebox.ports import allocate
from onebox.topology import Topology
from origin.config import OriginSettings
from steering.config import SteeringSettings

READERS: dict[str, type[object]] = {
    "control-plane": ControlPlaneSettings,
    "steering": SteeringSettings,
    "origin": OriginSettings,
    "companions": Companions,
    "oca": Appliance,
}


def layout(root: Path) -> Layout:
    topology = Topology(state_dir=str(root), base_port=0, ladder=("240@280", "480@1100"), preset="ultrafast")
    return Layout(topology, root, allocate(wanted_ports(topology), root / "ports.json"))


def commands(root: Path) -> list[Command]:
    laid_out = layout(root)
    return [*laid_out.services(), *(laid_out.appliance(spec) for spec in laid_out.topology.appliances)]


def test_every_process_s_settings_are_accepted_by_the_room_that_reads_them(tmp_path: Path) -> None:
    for command in commands(tmp_path):
        command.config_file.parent.mkdir(exist_ok=True)
        command.config_file.write_text(yaml.safe_dump(command.settings))
        reader = READERS[command.arguments[0]]
        assert isinstance(load(reader, command.config_file, environ={}), reader)


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
    assert len(wanted) == 9 + topology.origin_workers + len(APPLIANCE_PORTS) * len(topology.appliances)


def test_ports_are_remembered_and_a_taken_wish_gets_another(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        taken = holder.getsockname()[1]
        first = allocate({"x": ("127.0.0.1", taken)}, tmp_path / "ports.json")
        assert first["x"] != taken
    assert allocate({"x": ("127.0.0.1", taken)}, tmp_path / "ports.json") == first


@pytest.mark.parametrize("listener", ["control-plane.mtls", "origin.mtls"])
def test_mutual_tls_listeners_have_https_addresses(tmp_path: Path, listener: str) -> None:
    assert layout(tmp_path).url(listener).startswith("https://127.0.0.1:")
