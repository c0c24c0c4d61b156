"""Sources that announce, withdraw, flap, fall silent and say too much; and what steering has in the end."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.places import Prefix, Site
from contracts.routes import Route, RoutePolicy, RouteReport, SourceKind, SourceState
from contracts.world import Change
from control_plane.routes import explorer, sessions
from control_plane.routes.admission import Gate, judge_all
from control_plane.routes.book import LINE_PREFIXES, RouteBook
from control_plane.routes.sessions import CALM_S, STORM_FLOOR, Arrival, Source

ALLOWED = RoutePolicy(allow=("10.0.0.0/8", "2001:db8::/32"), maximum=5_000)


class Heard:
    """A book, and what a reader of its changes has made of them."""

    def __init__(self) -> None:
        self.book = RouteBook()
        self.book.policies["a", ""] = ALLOWED
        self.book.policies["b", ""] = ALLOWED
        self.reader: dict[tuple[str, bool, str], Prefix] = {}
        self.now_s = 1000.0

    def tell(self, changes: Iterable[Change]) -> int:
        count = 0
        for change in changes:
            told = change.routes
            assert told is not None
            assert len(told.announced) + len(told.withdrawn) <= LINE_PREFIXES
            for prefix in told.announced:
                self.reader[told.site_id, told.guessed, prefix.cidr] = prefix
            for cidr in told.withdrawn:
                del self.reader[told.site_id, told.guessed, cidr]
            count += len(told.announced) + len(told.withdrawn)
        return count

    def session(self, box: str = "a1", name: str = "r1") -> Source:
        return self.book.session(box, box[0], name)

    def report(self, report: RouteReport, box: str = "a1") -> Arrival:
        source = self.session(box, report.session)
        step = sessions.step_of(source, report, self.now_s)
        if step.arrival is Arrival.LOST:
            self.book.lose(source, report, self.now_s, self.now_s)
        elif step.arrival is Arrival.OVER_MAXIMUM:
            self.book.over(source, self.now_s)
        elif step.arrival is not Arrival.OUT_OF_STEP:
            judged = judge_all(Gate(source.policy, None), step.put)
            self.tell(self.book.take(source, step, judged, report.state, self.now_s, self.now_s))
        return step.arrival

    def say(self, *routes: Route | str, box: str = "a1", name: str = "r1", state: str = "1") -> Arrival:
        """The whole table."""
        return self.report(RouteReport(name, True, state, announced=_routes(routes)), box)

    def change(
        self,
        after: str,
        state: str,
        *routes: Route | str,
        gone: tuple[str, ...] = (),
        box: str = "a1",
        name: str = "r1",
    ) -> Arrival:
        return self.report(RouteReport(name, True, state, after, _routes(routes), gone), box)

    def lose(self, box: str = "a1", name: str = "r1") -> None:
        self.report(RouteReport(name, False, "", detail="hold timer expired"), box)

    def wait(self, seconds: float, hold_s: float = 30.0) -> None:
        self.now_s += seconds
        self.tell(self.book.pass_time(hold_s, self.now_s, self.now_s))

    def cidrs(self, site: str = "a", *, guessed: bool = False) -> list[str]:
        return sorted(cidr for its, guess, cidr in self.reader if (its, guess) == (site, guessed))


def _routes(routes: Iterable[Route | str]) -> tuple[Route, ...]:
    return tuple(Route(route, (64500,)) if isinstance(route, str) else route for route in routes)


def many(count: int) -> list[Route]:
    return [Route(f"10.{n // 256}.{n % 256}.0/24", (64500,)) for n in range(count)]


def test_routes_are_announced_changed_and_withdrawn() -> None:
    it = Heard()
    assert it.say("10.1.0.0/16", "10.2.0.0/16") is Arrival.TAKEN
    assert it.cidrs() == ["10.1.0.0/16", "10.2.0.0/16"]
    assert it.change("1", "2", Route("10.2.0.0/16", (1, 2, 3), 7), gone=("10.1.0.0/16",)) is Arrival.TAKEN
    assert it.reader == {("a", False, "10.2.0.0/16"): Prefix("10.2.0.0/16", 3, 7)}
    assert it.say(state="3") is Arrival.TAKEN
    assert it.reader == {}


def test_a_change_on_top_of_something_else_is_not_taken_and_the_whole_table_is_asked_for() -> None:
    it = Heard()
    it.say("10.1.0.0/16", state="5")
    assert it.change("4", "6", "10.2.0.0/16") is Arrival.OUT_OF_STEP
    assert it.cidrs() == ["10.1.0.0/16"]
    assert it.change("5", "6", "10.2.0.0/16") is Arrival.TAKEN


def test_the_same_prefix_in_other_words_is_the_same_prefix() -> None:
    it = Heard()
    it.say("2001:DB8:0::/48")
    it.change("1", "2", gone=("2001:db8::/48",))
    assert it.reader == {}


def test_of_two_routers_the_shorter_path_then_the_lower_med_stands_and_either_may_go() -> None:
    it = Heard()
    it.say(Route("10.1.0.0/16", (1, 2), 0))
    it.say(Route("10.1.0.0/16", (1,), 9), name="r2")
    it.say(Route("10.1.0.0/16", (3,), 5), box="a2")
    assert it.reader["a", False, "10.1.0.0/16"] == Prefix("10.1.0.0/16", 1, 5)
    it.say(box="a2", state="2")
    assert it.reader["a", False, "10.1.0.0/16"] == Prefix("10.1.0.0/16", 1, 9)
    it.say(name="r2", state="2")
    assert it.reader["a", False, "10.1.0.0/16"] == Prefix("10.1.0.0/16", 2, 0)
    it.say(state="2")
    assert it.reader == {}


def test_what_is_not_allowed_is_kept_apart_and_told_to_nobody() -> None:
    it = Heard()
    it.say("10.1.0.0/16", "81.2.0.0/16", "nonsense")
    assert it.cidrs() == ["10.1.0.0/16"]
    shown = explorer.quarantine(it.book, "", 10)
    assert [(one.cidr, one.refusal.value) for one in shown.quarantined] == [
        ("81.2.0.0/16", "not-on-the-allow-list"), ("nonsense", "no-prefix"),
    ]  # fmt: skip
    it.change("1", "2", gone=("81.2.0.0/16", "nonsense"))
    assert explorer.quarantine(it.book, "", 10).total == 0


def test_another_policy_judges_what_was_heard_anew() -> None:
    it = Heard()
    it.say("10.1.0.0/16", "81.2.0.0/16")
    (source,) = it.book.put_policy("a", "a1/r1", RoutePolicy(allow=("81.2.0.0/16",)))
    it.tell(it.book.rejudge(source, judge_all(Gate(source.policy, None), source.heard)))
    assert it.cidrs() == ["81.2.0.0/16"]
    assert it.book.put_policy("a", "", RoutePolicy()) == [], "the session has a policy of its own"
    (source,) = it.book.put_policy("a", "a1/r1", None)
    it.tell(it.book.rejudge(source, judge_all(Gate(source.policy, None), source.heard)))
    assert it.reader == {}


def test_more_than_the_maximum_leaves_the_last_good_routes_standing() -> None:
    it = Heard()
    it.say(*many(5_000))
    assert len(it.reader) == 5_000
    assert it.say(*many(5_001), state="2") is Arrival.OVER_MAXIMUM
    assert (len(it.reader), it.session().state) == (5_000, SourceState.OVER_MAXIMUM)
    assert it.change("1", "3", gone=("10.0.0.0/24",)) is Arrival.OUT_OF_STEP
    assert it.say(*many(100), state="4") is Arrival.TAKEN
    assert (len(it.reader), it.session().state) == (100, SourceState.UP)


def test_refused_prefixes_count_for_the_maximum() -> None:
    it = Heard()
    foreign = [Route(f"81.{n // 256}.{n % 256}.0/24") for n in range(5_001)]
    assert it.say(*foreign) is Arrival.OVER_MAXIMUM
    assert it.session().heard == {}


def test_a_lost_session_keeps_its_routes_until_the_hold_time_is_over() -> None:
    it = Heard()
    it.say("10.1.0.0/16")
    it.lose()
    it.wait(29.0)
    assert (it.cidrs(), it.session().state) == (["10.1.0.0/16"], SourceState.HELD)
    it.lose()
    it.wait(1.0)
    assert (it.cidrs(), it.session().state) == ([], SourceState.DOWN)
    it.wait(100.0)
    assert it.session().state is SourceState.DOWN
    assert it.say("10.1.0.0/16", state="9") is Arrival.TAKEN
    assert (it.cidrs(), it.session().state) == (["10.1.0.0/16"], SourceState.UP)


def test_a_session_that_comes_back_in_time_moves_nobody() -> None:
    it = Heard()
    it.say(*many(300))
    before = dict(it.reader)
    it.lose()
    it.wait(10.0)
    source = it.session()
    step = sessions.step_of(source, RouteReport("r1", True, "2", announced=tuple(many(300))), it.now_s)
    assert (step.put, step.drop) == ({}, frozenset())
    it.say(*many(300), state="2")
    it.wait(100.0)
    assert it.reader == before


def test_a_table_that_flaps_stands_whole_until_it_is_calm() -> None:
    it = Heard()
    table = many(STORM_FLOOR)
    state = 0
    arrivals = []
    for _ in range(4):
        for routes in (table, []):
            state += 1
            arrivals.append(it.say(*routes, state=str(state)))
            it.now_s += 1.0
    assert arrivals == [Arrival.TAKEN] * 3 + [Arrival.STORM] * 5
    assert len(it.reader) == STORM_FLOOR, "withdrawals wait"
    assert it.session().state is SourceState.FLAPPING
    it.wait(CALM_S - 2.0)
    assert len(it.reader) == STORM_FLOOR
    it.wait(2.0)
    assert (it.reader, it.session().state) == ({}, SourceState.UP)


def test_the_first_table_and_its_loss_and_return_are_no_storm() -> None:
    it = Heard()
    table = many(4_000)
    assert [it.say(*routes, state=str(n)) for n, routes in enumerate((table, [], table))] == [Arrival.TAKEN] * 3


def test_guesses_stand_apart_from_what_is_announced() -> None:
    it = Heard()
    it.say("10.1.0.0/16")
    source = it.book.imported("a", "country", SourceKind.GEO)
    step = sessions.step_to(source, _routes(["10.1.0.0/16", "10.9.0.0/16"]), (), whole=True, now_s=it.now_s)
    it.tell(it.book.take(source, step, judge_all(Gate(source.policy, None), step.put), "", it.now_s, it.now_s))
    assert (it.cidrs(), it.cidrs(guessed=True)) == (["10.1.0.0/16"], ["10.1.0.0/16", "10.9.0.0/16"])
    it.tell(it.book.drop(source.id))
    assert it.cidrs(guessed=True) == []


def test_what_goes_takes_its_routes_with_it() -> None:
    it = Heard()
    it.say("10.1.0.0/16")
    it.say("10.2.0.0/16", box="a2")
    it.say("10.3.0.0/16", box="b1")
    it.tell(it.book.drop_box("a1"))
    assert (it.cidrs("a"), it.cidrs("b")) == (["10.2.0.0/16"], ["10.3.0.0/16"])
    it.tell(it.book.drop_site("a"))
    assert (it.cidrs("a"), it.cidrs("b")) == ([], ["10.3.0.0/16"])
    assert ("a", "") not in it.book.policies


NAMES = st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16", "2001:db8::/32", "81.0.0.0/8", "x"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from([("a1", "r1"), ("a1", "r2"), ("a2", "r1"), ("b1", "r1")]),
        st.one_of(
            st.lists(st.tuples(NAMES, st.integers(1, 3), st.integers(0, 2)), max_size=4),
            st.sampled_from(["lost", "wait", "drop"]),
        ),
    ),
    max_size=12,
)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_whatever_happens_a_reader_of_changes_knows_what_a_new_reader_is_told(
    steps: list[tuple[tuple[str, str], list[tuple[str, int, int]] | str]],
) -> None:
    it = Heard()
    for number, ((box, name), what) in enumerate(steps):
        if not isinstance(what, str):
            routes = [Route(cidr, (1,) * length, med) for cidr, length, med in what]
            it.say(*routes, box=box, name=name, state=str(number))
        elif what == "lost":
            it.lose(box, name)
        elif what == "wait":
            it.wait(40.0)
        else:
            it.tell(it.book.drop(f"{box}/{name}"))
    fresh = Heard()
    fresh.tell(it.book.snapshot())
    assert fresh.reader == it.reader
    assert not any(cidr in ("81.0.0.0/8", "x") for _, _, cidr in it.reader)


def test_a_snapshot_of_many_routes_comes_in_short_lines_of_which_the_first_replaces() -> None:
    it = Heard()
    it.say(*many(1_200))
    lines = [change.routes for change in it.book.snapshot() if change.routes is not None]
    assert [(line.full, len(line.announced)) for line in lines] == [(True, 500), (False, 500), (False, 200)]


# -- the explorer --------------------------------------------------------------------------------------------------

SITES = {"a": Site("a", "A", "isp", "CH", (Prefix("10.7.0.0/16"),)), "b": Site("b", "B", "isp", "CH")}


def test_the_explorer_says_where_a_prefix_comes_from() -> None:
    it = Heard()
    it.say(Route("10.1.0.0/16", (1, 2), 3, "192.0.2.1"), "81.2.0.0/16")
    it.say("10.1.0.0/16", box="b1")
    found = explorer.routes(it.book, SITES, "10.1.2.3", "", 10)
    assert [(route.cidr, route.sites, [one.source for one in route.heard]) for route in found.routes] == [
        ("10.1.0.0/16", ("a", "b"), ["a1/r1", "b1/r1"])
    ]
    assert found.routes[0].heard[0].next_hop == "192.0.2.1"
    everything = explorer.routes(it.book, SITES, "", "a", 10)
    assert [(route.cidr, route.sites) for route in everything.routes] == [
        ("10.1.0.0/16", ("a",)), ("10.7.0.0/16", ("a",)), ("81.2.0.0/16", ()),
    ]  # fmt: skip
    assert explorer.routes(it.book, SITES, "10.0.0.0/8", "", 1).total == 2
    with pytest.raises(explorer.QueryError):
        explorer.routes(it.book, SITES, "10.0.0.0/x", "", 1)


CLUSTERS = {"a1": ("a", "main"), "a2": ("a", "main"), "a3": ("a", "other"), "b1": ("b", "main")}


def test_boxes_of_a_cluster_that_do_not_hear_alike_are_named_others_are_not() -> None:
    it = Heard()
    it.say("10.1.0.0/16", "10.2.0.0/16")
    it.say("10.1.0.0/16", box="a2")
    it.say("10.9.0.0/16", box="a3")
    found = explorer.inconsistencies(it.book, CLUSTERS, 10).inconsistencies
    assert [(one.cidr, one.heard_by, one.missing_at) for one in found] == [("10.2.0.0/16", ("a1",), ("a2",))]
    it.say("10.2.0.0/16", box="a2", name="r2")
    assert explorer.inconsistencies(it.book, CLUSTERS, 10).total == 0, "either session of a box will do"


def test_a_box_whose_sessions_are_down_contradicts_nobody() -> None:
    it = Heard()
    it.say("10.1.0.0/16")
    it.say(box="a2")
    assert explorer.inconsistencies(it.book, CLUSTERS, 10).total == 1
    it.lose("a2")
    assert explorer.inconsistencies(it.book, CLUSTERS, 10).total == 0


def test_prefixes_that_only_one_site_is_known_by_are_named_with_who_else_has_them_in_more() -> None:
    it = Heard()
    it.say("10.1.0.0/16", "10.2.0.0/16", "81.2.0.0/16")
    it.say("10.1.0.0/16", "10.2.0.0/15", box="b1")
    found = explorer.lonely(it.book, SITES, "", 10)
    assert [(one.cidr, one.site_id, one.covered_by) for one in found.lonely] == [
        ("10.2.0.0/15", "b", ()), ("10.2.0.0/16", "a", ("b",)), ("10.7.0.0/16", "a", ()),
    ]  # fmt: skip
    assert explorer.lonely(it.book, SITES, "b", 10).total == 1


def test_every_state_of_a_source_has_words() -> None:
    for state in SourceState:
        source = Source("a1/r1", "a", SourceKind.BGP, "r1", "a1", state=state, detail="why")
        assert len(explorer.sentence_of(source, 30.0)) > 10
