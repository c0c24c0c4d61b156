"""Rows, verdicts, the results file and the page made from it."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.serve.report import render
from benchmarks.serve.rows import (
    BARS,
    Measured,
    Plain,
    Results,
    Round,
    Row,
    Verdict,
    cheapest,
    compared,
    encode,
    plain,
    ratios,
    standing,
    user_cpu,
)


def measured(server: str, user: float, system: float, configuration: str = "plain") -> Measured:
    return Measured(server, configuration, 1000, 2.0, user, system, 500.0, 1500, 3500, 2048)


def rounds(*pairs: tuple[float, float], configuration: str = "plain") -> list[Round]:
    return [
        Round(measured("ours", ours, 10), measured("nginx-static", peer, 10, configuration)) for ours, peer in pairs
    ]


def results(*rows: Row) -> Results:
    return Results("2 × test", "2026-01-01", "make bench-serve", rows, {"rounds": "3"}, {"serve/tls": "no TLS yet"})


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    row = compared("serve/plain/1k/nginx-static", {"plain": rounds((10, 10), (30, 10), (90, 40))}, "1.22")
    assert ratios(row) == [1.0, 2.0, 2.0]
    assert standing(row) == (2.0, Verdict.MISSED)
    assert (row.ours, row.peer, row.peer_value) == (40, "nginx-static", 20)


def test_a_peer_stands_in_its_cheapest_configuration() -> None:
    by_configuration = {
        "tcp_nopush off": rounds((10, 30), (10, 30), configuration="tcp_nopush off"),
        "tcp_nopush on": rounds((10, 20), (10, 90), (10, 21), configuration="tcp_nopush on"),
    }
    assert cheapest(by_configuration) == "tcp_nopush on"
    row = compared("serve/plain/1k/nginx-static", by_configuration, "1.22")
    assert row.peer_configuration == "tcp_nopush on"
    assert row.peer_version == "1.22"
    assert row.peer_value == 31


def test_a_row_without_a_peers_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="without a peer"):
        compared("serve/plain/1k/varnish", {"plain": [Round(measured("ours", 1, 1))]}, "7")


@pytest.mark.parametrize(
    ("value", "verdict"), [(20, Verdict.STRETCH), (20.1, Verdict.BAR), (30, Verdict.BAR), (30.1, Verdict.MISSED)]
)
def test_user_cpu_is_judged_alone(value: float, verdict: Verdict) -> None:
    row = user_cpu([measured("ours", value, 99)])
    assert standing(row) == (value, verdict)
    assert row.peer is None


def test_a_stretch_above_its_bar_is_no_way_past_the_bar() -> None:
    name = "serve/plain/2560k/nginx-cache"
    assert BARS[name] == (0.75, 0.9)
    assert standing(compared(name, {"plain": rounds((70, 90))}, "1.22"))[1] is Verdict.MISSED
    assert standing(compared(name, {"plain": rounds((60, 90))}, "1.22"))[1] is Verdict.STRETCH


def test_a_row_without_a_bar_gets_no_verdict() -> None:
    row = compared("serve/plain/1k/trafficserver", {"plain": rounds((1, 1))}, "9")
    assert standing(row)[1] is Verdict.NO_BAR


def test_every_row_of_the_design_has_its_bar() -> None:
    names = {f"serve/plain/{size}/{peer}" for size in ("1k", "16k", "64k", "512k", "2560k") for peer in _PEERS}
    names |= {f"serve/tls/{size}/nginx-static" for size in ("1k", "64k", "512k", "2560k")}
    alone = {
        "serve/user-cpu",
        "serve/idle-kib",
        "serve/idle-tls-kib",
        "serve/slow-readers-mib",
        "serve/cold-disk-p99-ms",
    }
    assert set(BARS) == names | alone
    assert BARS["serve/tls/1k/nginx-static"] == (2.0, 2.0)
    assert BARS["serve/tls/512k/nginx-static"] == (0.8, 0.6)
    assert BARS["serve/plain/512k/nginx-static"] == (1.25, 1.0)


_PEERS = ("nginx-static", "nginx-cache", "varnish")


def test_the_results_file_has_the_designs_fields_and_every_raw_round() -> None:
    row = compared("serve/plain/1k/nginx-static", {"plain": rounds((10, 10), (30, 10))}, "1.22")
    alone = plain("serve/idle-kib", "KiB", [Plain(7.5, {"connections": 10.0})])
    found = msgspec.json.decode(encode(results(row, alone)))
    assert {"machine", "date", "command", "rows"} <= set(found)
    assert {"name", "unit", "ours", "peer", "peer_value", "rounds"} <= set(found["rows"][0])
    assert [one["peer"]["user_us"] for one in found["rows"][0]["rounds"]] == [10, 10]
    assert found["rows"][1]["peer"] is None
    assert found["rows"][1]["rounds"] == [{"value": 7.5, "facts": {"connections": 10.0}}]


def test_the_page_says_what_was_missed_and_what_was_left_out() -> None:
    missed = compared("serve/plain/1k/nginx-static", {"plain": rounds((90, 10))}, "1.22")
    held = plain("serve/idle-kib", "KiB", [Plain(5, {"connections": 10.0})])
    page = render(results(missed, held))
    assert "- `serve/plain/1k/nginx-static`: 5.00, the bar is 1.9" in page
    assert "| `serve/idle-kib` | 5.0 | KiB | 10 | 6 | stretch |" in page
    assert "- `serve/tls`: no TLS yet" in page
    assert "Bars missed" not in render(results(held))


def test_what_a_separate_log_writer_costs_is_shown() -> None:
    peer = msgspec.structs.replace(measured("varnish", 40, 10), log_user_us=6.0, log_system_us=1.0)
    row = compared("serve/plain/1k/varnish", {"plain": [Round(measured("ours", 10, 10), peer)]}, "7.1")
    assert "50 (40 + 10, 7 of it the log writer)" in render(results(row))
