"""What a fill decides: how fast its bodies are read, who is asked for which blocks, when it makes way. No clock, no socket."""

from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st

from oca.keeper import ratecap
from oca.keeper.division import Division
from oca.keeper.ratecap import BUFFER_S, BURST_S, RateCap
from oca.keeper.yielding import LEAST_SHARE, Demand, Strain, Yielding, limit_bps

# -- the rate cap ------------------------------------------------------------------------------------------------------

RATES = st.integers(200_000, 2_000_000_000)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 2_000_000)), max_size=200))
def test_never_more_may_be_read_than_the_rate_and_its_burst(asks: list[tuple[float, int]]) -> None:
    rate_bps, now = 80_000_000, 0.0
    cap = RateCap(rate_bps, now)
    moved = 0
    for pause, count in asks:
        now += pause + cap.reserve(count, now + pause)
        moved += count
        assert moved <= rate_bps / 8 * (now + BURST_S) + 1


@given(
    RATES,
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=120),
)
def test_over_any_span_at_most_the_rate_its_burst_and_the_buffers_come_in(
    rate_bps: int, steps: list[tuple[float, int, float]]
) -> None:
    """Senders fill the buffers whenever they like; a reader reads a piece when its turn has come and counts what has come till then."""
    count, room = ratecap.connections(rate_bps), ratecap.buffer_bytes(rate_bps)
    bytes_per_s, now = rate_bps / 8, 0.0
    cap = RateCap(rate_bps, now)
    unread, uncounted = [0] * count, [0] * count
    came: list[tuple[float, int]] = []

    def arrive(one: int, share: float) -> None:
        more = int(share * (room - unread[one]))
        unread[one] += more
        uncounted[one] += more
        came.append((now, more))

    for pause, number, share in steps:
        now += pause
        one = number % count
        arrive(one, share)
        piece = cap.piece_bytes
        now += cap.reserve(piece, now)
        unread[one] -= min(piece, unread[one])
        cap.settle(piece, uncounted[one], now)
        uncounted[one] = 0
        arrive(one, share)
    for began, _ in came:
        total = 0
        for at, more in came:
            if at >= began:
                total += more
                assert total <= bytes_per_s * (at - began + BURST_S + 2 * BUFFER_S) + cap.piece_bytes + 1


def test_what_came_beyond_what_was_reserved_is_waited_for_and_what_did_not_come_is_not() -> None:
    cap = RateCap(8_000_000, 0.0)
    assert cap.reserve(100_000, 0.0) == 0.1
    cap.settle(100_000, 400_000, 0.1)
    assert cap.reserve(0, 0.1) == 0.3
    cap.settle(250_000, 0, 0.1)
    assert abs(cap.reserve(0, 0.1) - 0.05) < 1e-9


def test_a_cap_begins_with_nothing_to_spend_and_saves_no_more_than_the_burst() -> None:
    cap = RateCap(8_000_000, 0.0)
    assert cap.reserve(1000, 0.0) == 0.001
    assert cap.reserve(150_000, 1000.0) == 0.0
    assert cap.reserve(1000, 1000.0) == 0.001


def test_a_clock_that_goes_back_gives_nothing() -> None:
    cap = RateCap(8_000_000, 100.0)
    cap.reserve(1_000_000, 100.0)
    cap.settle(0, 0, 50.0)
    assert cap.reserve(0, 100.5) == 0.5


def test_a_slow_rate_asks_for_small_runs() -> None:
    assert RateCap(1_000_000, 0.0).run_blocks == 1
    assert RateCap(24_000_000, 0.0).run_blocks == 2
    assert RateCap(1_200_000_000, 0.0).run_blocks == 16


@given(RATES)
def test_the_buffers_of_all_connections_together_hold_a_quarter_of_a_second(rate_bps: int) -> None:
    together = ratecap.connections(rate_bps) * ratecap.buffer_bytes(rate_bps)
    assert together <= rate_bps / 8 * 0.25


def test_headers_count_by_segment() -> None:
    assert ratecap.received_bytes(1448, 1, is_ipv6=False) == 1514
    assert ratecap.received_bytes(1428, 1, is_ipv6=True) == 1514


# -- who is asked for what ---------------------------------------------------------------------------------------------


@given(
    st.sets(st.integers(0, 200), min_size=1),
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["take", "came", "back", "lack", "over"])), max_size=200
    ),
    st.integers(1, 16),
)
def test_no_block_is_asked_of_two_sources_none_is_lost_and_none_of_one_that_lacks_it(
    missing: set[int], steps: list[tuple[str, str]], run_blocks: int
) -> None:
    division = Division([(block, block) for block in missing], run_blocks)
    owed: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    lacking: dict[str, set[int]] = {"a": set(), "b": set(), "c": set()}
    came: set[int] = set()
    for now, (source, step) in enumerate(steps):
        mine = owed[source]
        if step == "take":
            run = division.take(source, now)
            blocks = list(range(run[0], run[1] + 1)) if run else []
            assert len(blocks) <= run_blocks
            assert not lacking[source] & set(blocks)
            assert not came & set(blocks)
            assert all(block not in other for other in owed.values() for block in blocks)
            mine += blocks
        elif step == "came" and mine:
            block = mine.pop(0)
            came.add(block)
            assert division.came(source, block, now)
            assert not division.came(source, block, now)
        elif step in ("back", "lack") and mine:
            left = division.back(source, (min(mine), max(mine)), lacking=step == "lack")
            assert sorted(left) == sorted(mine)
            if step == "lack":
                lacking[source].update(mine)
            mine.clear()
        elif step == "over":
            found = division.overtake(source, now)
            if found is not None:
                other, (first, last) = found
                assert other != source
                for block in range(first, last + 1):
                    owed[other].remove(block)
                    mine.append(block)
                mine.sort()
        everything = came | {block for blocks in owed.values() for block in blocks}
        rest = missing - everything
        assert division.is_done == (not rest and not any(owed.values()))
        assert division.offers(source) == bool(rest - lacking[source])


def filled(blocks: int, seconds_per_block: dict[str, float]) -> tuple[float, dict[str, int]]:
    """Simulated: when the last block came, and how many came from whom. Each source sends one run after the other."""
    division = Division([(0, blocks - 1)], 16)
    given = dict.fromkeys(seconds_per_block, 0)
    owed: dict[str, list[int]] = {url: [] for url in given}
    turns = [(0.0, number, url) for number, url in enumerate(seconds_per_block)]
    ended, count = 0.0, len(turns)
    while not division.is_done:
        now, _, url = heapq.heappop(turns)
        if owed[url]:
            block = owed[url].pop(0)
            given[url] += division.came(url, block, now)
            ended = max(ended, now)
        if not owed[url]:
            run = division.take(url, now)
            if run is None:
                found = division.overtake(url, now)
                if found is not None:
                    run = found[1]
                    owed[found[0]] = [b for b in owed[found[0]] if not run[0] <= b <= run[1]]
            owed[url] = list(range(run[0], run[1] + 1)) if run else []
        count += 1
        heapq.heappush(turns, (now + (seconds_per_block[url] if owed[url] else 0.05), count, url))
    return ended, given


def test_slower_sources_give_less_and_all_end_together() -> None:
    ended, given = filled(400, {"quick": 0.01, "slow": 0.04})
    assert sum(given.values()) == 400
    assert 3.0 <= given["quick"] / given["slow"] <= 5.0
    assert ended <= 1.15 * 400 / (1 / 0.01 + 1 / 0.04)


def test_a_source_that_all_but_stops_is_overtaken_at_the_end() -> None:
    ended, given = filled(200, {"quick": 0.01, "stuck": 1000.0})
    assert given == {"quick": 200, "stuck": 0}
    assert ended < 5.0


def test_one_source_has_the_whole_file_in_order() -> None:
    division = Division([(3, 9)], 4)
    assert division.take("a", 0.0) == (3, 6)
    assert division.take("a", 0.0) == (7, 8)
    assert division.take("a", 0.0) == (9, 9)
    assert division.take("a", 0.0) is None
    assert not division.may_help("a")


def test_what_one_lacks_is_asked_of_another() -> None:
    division = Division([(0, 3)], 16)
    assert division.take("a", 0.0) == (0, 1)
    division.back("a", (0, 1), lacking=True)
    assert division.take("a", 0.0) == (2, 3)
    assert division.take("b", 0.0) == (0, 0)


# -- making way --------------------------------------------------------------------------------------------------------

CALM = Demand(0.1, (), 0.001, is_serving=True)


def looks(yielding: Yielding, demand: Demand, count: int, begin: int) -> int:
    for number in range(begin, begin + count):
        yielding.look(demand, float(number))
    return begin + count


def test_a_fill_halves_while_viewers_need_the_link_and_comes_back_slowly() -> None:
    yielding = Yielding()
    at = looks(yielding, Demand(0.95, (), 0.0, is_serving=True), 2, 0)
    assert (yielding.share, yielding.why) == (0.25, Strain.EGRESS)
    at = looks(yielding, Demand(0.75, (), 0.0, is_serving=True), 5, at)
    assert (yielding.share, yielding.why) == (0.25, Strain.EGRESS), "between calm and strain it stays"
    at = looks(yielding, CALM, 3, at)
    assert abs(yielding.share - 0.55) < 1e-9
    looks(yielding, CALM, 5, at)
    assert (yielding.share, yielding.why) == (1.0, None)


def test_it_yields_to_shed_sessions_and_to_busy_disks_of_a_box_that_serves_and_never_stops() -> None:
    yielding = Yielding()
    looks(yielding, Demand(0.0, ("disk-queue",), 0.0, is_serving=True), 20, 0)
    assert (yielding.share, yielding.why) == (LEAST_SHARE, Strain.SHEDDING)
    busy = Yielding()
    looks(busy, Demand(0.0, (), 0.5, is_serving=True), 1, 0)
    assert busy.why is Strain.DISK
    alone = Yielding()
    looks(alone, Demand(0.0, (), 0.5, is_serving=False), 5, 0)
    assert alone.share == 1.0, "nobody waits for these disks"


def test_it_looks_once_a_second() -> None:
    yielding = Yielding()
    strained = Demand(1.0, (), 0.0, is_serving=True)
    assert yielding.look(strained, 0.0)
    assert not yielding.look(strained, 0.9)
    assert yielding.share == 0.5


def test_a_plan_without_a_rate_yields_from_what_came_lately() -> None:
    assert limit_bps(0, 1.0, 5e6) == 0
    assert limit_bps(0, 0.5, 8e6) == 4_000_000
    assert limit_bps(16_000_000, 0.25, 8e6) == 4_000_000
