"""Free ports: outside the kernel's own range, never twice, and the kernel's where there are no others."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from onebox.ports import LISTENABLE, USUAL_OUTGOING, FreePorts, allocate, free_port, outgoing_ports

HOST = "127.0.0.1"


def test_a_port_is_outside_what_the_kernel_gives_to_connections_and_can_be_listened_on() -> None:
    port = free_port()
    assert port in LISTENABLE
    assert port not in outgoing_ports()
    with socket.create_server((HOST, port)):
        pass


def test_no_port_is_given_twice_even_when_nobody_took_it() -> None:
    given = [free_port() for _ in range(500)]
    assert len(set(given)) == len(given)


def test_a_port_that_somebody_has_bound_is_passed_over_though_it_does_not_listen() -> None:
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        free = free_port()
        ports = FreePorts([holder.getsockname()[1], free], StartsAt(0))
        assert ports.take(HOST) == free


def test_from_its_start_it_goes_on_to_the_last_one_and_then_to_the_first() -> None:
    own = [free_port() for _ in range(4)]
    ports = FreePorts(own, StartsAt(2))
    assert [ports.take(HOST) for _ in own] == [own[2], own[3], own[0], own[1]]


def test_processes_begin_at_different_places() -> None:
    starts = [FreePorts(LISTENABLE, random.Random(seed)).take(HOST) for seed in range(8)]
    assert len(set(starts)) == 8


@pytest.mark.parametrize("own", [0, 2])
def test_where_no_other_is_left_it_is_one_of_the_kernels_and_none_of_them_twice(own: int) -> None:
    ports = FreePorts([free_port() for _ in range(own)], random.Random(7))
    given = [ports.take(HOST) for _ in range(own + 20)]
    assert all(port in outgoing_ports() for port in given[own:])
    assert len(set(given)) == len(given)


def test_an_address_of_another_machine_is_an_error_at_once() -> None:
    own = [free_port() for _ in range(3)]
    ports = FreePorts(own, StartsAt(0))
    with pytest.raises(OSError, match="assign requested address"):
        ports.take("192.0.2.1")
    assert ports.take(HOST) == own[1], "not all were tried"


def test_the_kernels_range_is_read_and_the_usual_one_stands_for_what_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "range"
    assert outgoing_ports(file) == USUAL_OUTGOING
    file.write_text("32768\t60999\n")
    assert outgoing_ports(file) == range(32_768, 61_000)
    for odd in ("", "32768", "a b", "1 2 3"):
        file.write_text(odd)
        assert outgoing_ports(file) == USUAL_OUTGOING


def test_listeners_without_a_wish_get_ports_that_no_connection_takes_while_they_restart(tmp_path: Path) -> None:
    wanted = {
        name: (address, 0) for name, address in (("x", HOST), ("y.media", "127.1.0.11"), ("z.media", "127.1.0.12"))
    }
    ports = allocate(wanted, tmp_path / "ports.json", [["y.media", "z.media"]])
    assert ports["y.media"] == ports["z.media"]
    assert all(port not in outgoing_ports() for port in ports.values())


class StartsAt(random.Random):
    """No chance."""

    def __init__(self, start: int) -> None:
        super().__init__(0)
        self._start = start

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return self._start
