"""Running sessions: they stay where it is well, leave what serves no more, and are never left without an order."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.content_steering import LONGEST_TTL_S
from contracts.pathways import last_of
from contracts.places import ApplianceState
from contracts.world import Change, FallbackOrigin, Health, RankFile, RankRequest
from steering.candidates import DEFAULTS, Rules, Scene
from steering.content_steering import MOVES, Asked, Course, Steered, SteeringRules, steer
from steering.heard import Heard
from steering.ladder import Cdn, Ladder, Rung
from steering.ranking import rank_in
from steering.sessions import Session, opened
from steering.standing import Standing
from tests.steering.worlds import box, holds, key, origin, site, suspect, well, world

NOW = 1_763_000_000
RULES = SteeringRules()
FILES = tuple(RankFile(key(file=f"{name}.mp4"), f"t/{name}") for name in ("v-240", "v-480", "v-720", "a-und"))
NAMES = ("a1", "a2", "a3", "a4", "b1", "b2")
PORT = ":8830"
SILENT = Heard()


def changes(port: str = PORT, names: Sequence[str] = NAMES, **urls: str) -> list[Change]:
    """Site `a` with four boxes at 10.1/16, site `b` with two at 10.2/16, or some of them; all hold the title."""
    return [
        site("a", "10.1.0.0/16"),
        site("b", "10.2.0.0/16"),
        *(box(name, name[0], urls.get(name, f"http://{name}.example{port}")) for name in names),
        *(well(name) for name in names),
        *(holds(name, *(file.key for file in FILES)) for name in names),
        origin(),
    ]


def scene(
    *more: Change,
    of: Iterable[Change] | None = None,
    rules: Rules = DEFAULTS,
    among: Mapping[str, Standing] | None = None,
    **more_standings: Standing,
) -> Scene:
    standings = {**(among or {}), **more_standings}
    its = world([*(changes() if of is None else of), *more])
    return Scene(its, rules, {name: standings.get(name, Standing()) for name in its.appliances})


def begun(at: Scene, play: str = "s-1", client: str = "10.1.7.9") -> Session:
    request = RankRequest(client, FILES, play=play, until=NOW + 7200, needs_bps=400_000)
    found = opened(request, rank_in(at, request), NOW)
    assert isinstance(found, Session)
    return found


def going_on(
    at: Scene, session: Session, now_s: int = NOW, heard: Heard = SILENT, client: str = "", live: bool = True
) -> Course:
    address = ipaddress.ip_address(client) if client else None
    return steer(at, session, Asked(heard, address, live, now_s), RULES)


def drain(name: str) -> Change:
    return box(name, name[0], f"http://{name}.example{PORT}", state=ApplianceState.DRAINING)


def first_box(session: Session) -> str:
    return session.at(1)[0]


def leads(course: Course) -> str:
    """The one appliance that a moved session goes to for all renditions: by a clone, or by a pathway of its manifest."""
    name = course.priority[0]
    if name in {clone.id for clone in course.clones}:
        return name
    boxes = set(course.session.at(int(name.removeprefix("pathway-"))))
    assert len(boxes) == 1
    return boxes.pop()


WELL = scene()
OF_MANIFEST = ("pathway-1", "pathway-2", "pathway-3", "pathway-4", "origin")


def test_while_all_is_well_the_order_is_the_manifest_s() -> None:
    course = going_on(WELL, begun(WELL))
    assert course.priority == OF_MANIFEST
    assert (course.why, course.clones, course.ttl_s) == (Steered.AS_MANIFEST, (), 60)
    assert course.session == begun(WELL)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (suspect, Steered.SUSPECT),
        (drain, Steered.DRAINING),
        (lambda name: Change(1, appliance_gone=name), Steered.GONE),
        (lambda name: well(name, serving=False), Steered.GONE),
        (lambda name: well(name, score=0.1), Steered.UNWELL),
    ],
)
def test_who_sits_on_a_place_that_serves_no_more_is_moved_whole_to_one_that_does(change: object, why: Steered) -> None:
    assert callable(change)
    session = begun(WELL)
    lost = first_box(session)
    course = going_on(scene(change(lost)), session)
    assert course.why is why
    assert leads(course) != lost
    assert course.priority[-1] == "origin"
    assert course.reserved == (leads(course),)
    assert lost in course.left
    assert course.ttl_s == RULES.trouble_ttl_s


def test_who_has_no_pathway_of_its_own_in_the_manifest_is_named_by_a_clone_on_its_host() -> None:
    session = begun(WELL)
    lost = [name for name in NAMES[:4] if any(set(session.at(n)) == {name} for n in range(2, 5))]
    course = going_on(scene(*map(suspect, lost)), session)
    (clone,) = course.clones
    assert course.priority[0] == clone.id
    assert clone.id not in lost
    assert (clone.base_id, clone.uri_replacement.host) == ("pathway-1", f"{clone.id}.example")


def test_a_move_is_said_again_and_not_made_again() -> None:
    session = begun(WELL)
    broken = scene(suspect(first_box(session)))
    first = going_on(broken, session)
    again = going_on(broken, first.session, NOW + 10)
    assert (again.priority, again.clones) == (first.priority, first.clones)
    assert again.why is Steered.STAYS
    assert again.session == first.session


def test_who_was_moved_stays_when_the_old_place_is_well_again() -> None:
    session = begun(WELL)
    moved = going_on(scene(suspect(first_box(session))), session)
    back = going_on(WELL, moved.session, NOW + 600)
    assert back.priority[0] == moved.priority[0]
    assert (back.why, back.ttl_s) == (Steered.STAYS, 60)


def test_only_those_on_the_lost_place_are_moved() -> None:
    sessions = [begun(WELL, f"s-{n}", f"10.1.{n}.1") for n in range(200)]
    broken = scene(suspect("a1"))
    for session in sessions:
        course = going_on(broken, session)
        assert (course.why in MOVES) is ("a1" in session.at(1))


def test_those_who_are_moved_spread_over_the_places_that_are_left() -> None:
    sessions = [begun(WELL, f"s-{n}", f"10.1.{n}.1") for n in range(200)]
    broken = scene(suspect("a1"))
    to = Counter(leads(going_on(broken, one)) for one in sessions if "a1" in one.at(1))
    assert set(to) == {"a2", "a3", "a4"}
    assert max(to.values()) < 2 * min(to.values())


def test_a_suspicion_that_is_doubted_moves_nobody_and_is_looked_at_again_soon() -> None:
    session = begun(WELL)
    lost = first_box(session)
    doubted = Scene(world([*changes(), suspect(lost)], frozenset({lost})))
    course = going_on(doubted, session)
    assert (course.priority[0], course.ttl_s) == ("pathway-1", RULES.trouble_ttl_s)


def test_a_broken_change_stream_moves_nobody_and_is_looked_at_again_soon() -> None:
    course = going_on(WELL, begun(WELL), live=False)
    assert (course.why, course.ttl_s) == (Steered.AS_MANIFEST, RULES.trouble_ttl_s)


def test_when_all_are_suspect_the_session_stays_and_the_origin_is_last() -> None:
    session = begun(WELL)
    course = going_on(scene(*map(suspect, NAMES)), session)
    assert course.why is Steered.NOWHERE
    assert (course.priority[0], course.priority[-1]) == ("pathway-1", "origin")


def test_when_nothing_can_serve_any_more_it_goes_to_the_origin_and_comes_back_by_slow_start() -> None:
    session = begun(WELL)
    gone = scene(*(well(name, serving=False) for name in NAMES))
    course = going_on(gone, session)
    assert (course.why, course.priority, course.clones) == (Steered.GONE, ("origin",), ())
    assert going_on(gone, course.session, NOW + 10).priority == ("origin",)
    slow = {name: Standing(ramp=0.1) for name in NAMES}
    away = [replace(course.session, play=f"s-{n}") for n in range(300)]
    early = sum(going_on(scene(among=slow), one, NOW + 20).why is Steered.BACK for one in away)
    assert 10 <= early <= 60
    assert all(going_on(WELL, one, NOW + 20).priority[0] != "origin" for one in away)


ODD = changes(**{name: f"http://{name}.example:90{n:02d}" for n, name in enumerate(NAMES)})
"""No two appliances have one port: no clone is possible."""


def test_who_sits_at_the_origin_comes_back_to_a_pathway_of_the_manifest_where_no_clone_is_possible() -> None:
    gone = scene(*(well(name, serving=False) for name in NAMES), of=ODD)
    session = begun(scene(of=ODD))
    away = going_on(gone, session)
    assert (away.priority, away.session.base) == (("origin",), "")
    back = going_on(scene(of=ODD), away.session, NOW + 10)
    assert (back.why, back.clones) == (Steered.BACK, ())
    assert leads(back) in NAMES
    lost = first_box(session)
    part = going_on(scene(well(lost, serving=False), of=ODD), away.session, NOW + 10)
    whole = [n for n in (1, 2, 3, 4) if lost not in session.at(n)]
    assert part.priority[0] in ([f"pathway-{number}" for number in whole] or ["origin"])


def test_who_sits_at_the_origin_comes_back_when_others_than_its_first_appliances_do() -> None:
    late = ("a3", "a4")
    early = [change for change in changes() if not (change.appliance and change.appliance.id in late)]
    session = begun(scene(of=early))
    assert not set(late) & set(session.boxes)
    others = [well(name, serving=False) for name in NAMES if name not in late]
    away = going_on(scene(*others, of=early), session).session
    assert away.course == ("origin",)
    assert going_on(scene(*others), away, NOW + 10).priority[0] in late
    slow = scene(*others, a3=Standing(ramp=0.1), a4=Standing(ramp=0.1))
    back = sum(going_on(slow, replace(away, play=f"s-{n}"), NOW + 10).why is Steered.BACK for n in range(300))
    assert 10 <= back <= 60


def test_a_title_that_lost_a_rendition_in_every_pathway_goes_to_the_origin_which_has_all() -> None:
    both = replace(
        begun(scene(of=ODD)), groups=(("v-240", ("sd/v-240.mp4",)), ("a-und", ("sd/a-und.mp4",))), boxes=("a1", "a2")
    )
    crossed = replace(both, places=((0, 1), (1, 0)))
    at = scene(well("a1", serving=False), of=ODD)
    course = going_on(at, crossed)
    assert (course.why, course.priority[0], course.priority[-1]) == (Steered.GONE, "origin", "pathway-2")
    assert going_on(at, course.session, NOW + 60).priority[0] == "origin", "no pathway is whole"
    assert going_on(scene(of=ODD), course.session, NOW + 60).priority[0] == "pathway-1"
    kept = replace(both, places=((0, 1), (0, 1)))
    assert going_on(at, kept).priority[0] == "pathway-2", "a pathway that is whole comes before the origin"


def test_a_place_that_is_nearly_full_gives_away_what_it_has_too_much() -> None:
    sessions = [begun(WELL, f"s-{n}", f"10.1.{n % 200}.1") for n in range(600)]
    on_it = [one for one in sessions if "a1" in one.at(1)]
    full = scene(well("a1", load=0.9), a1=Standing(load=0.9, full=True))
    moved = [course for course in (going_on(full, one) for one in on_it) if course.why is Steered.FULL]
    assert 0.03 < len(moved) / len(on_it) < 0.25  # (0.9 - 0.8) / 0.9 is 0.11
    assert all("a1" not in course.priority[0] for course in moved)


def test_a_place_that_refuses_new_sessions_keeps_those_that_run() -> None:
    session = begun(WELL)
    course = going_on(scene(well(first_box(session), shedding=True)), session)
    assert (course.why, course.ttl_s) == (Steered.AS_MANIFEST, RULES.trouble_ttl_s)


def test_nobody_leaves_a_full_place_for_one_that_is_full_too() -> None:
    packed = {name: Standing(load=0.94, full=True) for name in NAMES}
    at = scene(*(well(name, load=0.94) for name in NAMES), among=packed)
    courses = [going_on(at, begun(WELL, f"s-{n}")) for n in range(60)]
    assert {course.priority[0] for course in courses} == {"pathway-1"}
    assert Steered.NOWHERE in {course.why for course in courses}


def test_a_player_that_is_too_slow_twice_in_a_row_is_moved_once_and_then_left_alone() -> None:
    slow = Heard("pathway-1", 200_000.0)
    first = going_on(WELL, begun(WELL), NOW, slow)
    assert first.why is Steered.AS_MANIFEST
    second = going_on(WELL, first.session, NOW + 10, slow)
    assert second.why is Steered.SLOW
    assert second.priority[0] not in first.session.at(1)
    slow_there = Heard(second.priority[0], 200_000.0)
    at, courses = second, []
    for n in range(2, 12):
        at = going_on(WELL, at.session, NOW + 10 * n, slow_there)
        courses.append(at)
    assert {course.why for course in courses} == {Steered.STAYS}
    assert going_on(WELL, at.session, NOW + 10 + RULES.slow_move_s, slow_there).why is Steered.SLOW


def test_a_player_that_is_slow_over_all_appliances_of_its_site_tries_each_of_them_alone() -> None:
    at = scene(of=changes(names=("a2", "a4")))
    spread = begun(at)
    assert set(spread.at(1)) == {"a2", "a4"}
    slow = Heard("pathway-1", 200_000.0)
    first = going_on(at, going_on(at, spread, NOW, slow).session, NOW + 10, slow)
    assert first.why is Steered.SLOW
    tried, session, moved_s = [leads(first)], first.session, NOW + 10
    for _ in range(2):
        slow = Heard(session.course[0], 200_000.0)
        session = going_on(at, going_on(at, session, moved_s + 20, slow).session, moved_s + 40, slow).session
        moved_s += RULES.slow_move_s
        course = going_on(at, session, moved_s, slow)
        assert course.why is Steered.SLOW
        tried.append(leads(course))
        session = course.session
    assert tried in (["a2", "a4", "a2"], ["a4", "a2", "a4"])


@pytest.mark.parametrize("heard", [Heard("pathway-2", 1.0), Heard("pathway-1", 0.0), Heard("", 0.0)])
def test_what_says_nothing_of_its_place_is_no_report_of_it(heard: Heard) -> None:
    course = going_on(WELL, begun(WELL), NOW, heard)
    assert going_on(WELL, course.session, NOW + 10, heard).session.low == 0


def test_one_good_report_forgives_a_bad_one_and_throughput_is_smoothed() -> None:
    session = begun(WELL)
    for bps, low, kbps in ((300_000.0, 1, 300), (500_000.0, 0, 400), (200_000.0, 1, 300)):
        session = going_on(WELL, session, NOW, Heard("pathway-1", bps)).session
        assert (session.low, session.throughput_kbps) == (low, kbps)


def test_a_viewer_in_another_network_is_sent_to_its_site() -> None:
    first = going_on(WELL, begun(WELL), client="10.2.3.4")
    assert (first.why, first.ttl_s) == (Steered.AS_MANIFEST, RULES.trouble_ttl_s)
    course = going_on(WELL, first.session, NOW + 10, client="10.2.3.4")
    assert course.why is Steered.NETWORK
    assert course.priority[0] in ("b1", "b2")
    assert (course.session.client, course.session.site) == ("10.2.3.0/24", "b")
    assert going_on(WELL, course.session, NOW + 20, client="10.2.3.4").why is Steered.STAYS


def test_a_viewer_who_asks_from_two_sites_in_turn_is_left_where_it_is() -> None:
    session = begun(WELL)
    for turn in range(20):
        course = going_on(WELL, session, NOW + 60 * turn, client=("10.2.3.4", "10.1.7.9")[turn % 2])
        assert course.why is Steered.AS_MANIFEST
        session = course.session


def test_a_viewer_who_wanders_between_networks_is_moved_for_it_once_in_a_while() -> None:
    session, moves = begun(WELL), 0
    for turn in range(60):
        client = ("10.2.3.4", "10.2.3.4", "10.1.7.9", "10.1.7.9")[turn % 4]
        course = going_on(WELL, session, NOW + 10 * turn, client=client)
        moves += course.why is Steered.NETWORK
        session = course.session
    assert 2 <= moves <= 600 // RULES.ttl_s + 1


def test_a_viewer_whose_new_network_is_served_from_where_it_is_already_is_of_that_network_from_then_on() -> None:
    at = scene(well("b2", serving=False))
    session = replace(begun(WELL), course=("b1",), moved_at=NOW - 600)
    first = going_on(at, session, client="10.2.3.4")
    second = going_on(at, first.session, NOW + 10, client="10.2.3.4")
    assert (second.why, second.priority[0]) == (Steered.STAYS, "b1")
    assert (second.session.client, second.session.site) == ("10.2.3.0/24", "b")
    third = going_on(at, second.session, NOW + 20, client="10.2.3.4")
    assert (third.why, third.ttl_s) == (Steered.STAYS, RULES.ttl_s)


def test_a_moved_session_goes_to_its_own_site_though_part_of_its_network_is_another_s() -> None:
    inside = (site("c", "10.1.7.128/25", "10.1.7.0/29"), box("c1", "c", f"http://c1.example{PORT}"), well("c1"))
    at = scene(*inside, holds("c1", *(file.key for file in FILES)))
    broken = scene(*inside, holds("c1", *(file.key for file in FILES)), suspect("a1"))
    sessions = [begun(at, f"s-{n}") for n in range(100)]
    assert {(one.client, one.site) for one in sessions} == {("10.1.7.0/24", "a")}
    to = Counter(leads(going_on(broken, one)) for one in sessions if "a1" in one.at(1))
    assert set(to) == {"a2", "a3", "a4"}


@pytest.mark.parametrize("client", ["10.1.7.200", "10.1.99.1", "127.0.0.1", "192.0.2.7", "2001:db8::1"])
def test_an_address_of_the_same_site_or_of_nobody_moves_nobody(client: str) -> None:
    assert going_on(WELL, begun(WELL), client=client).why is Steered.AS_MANIFEST


def test_a_viewer_of_both_families_at_one_site_is_not_moved_to_and_fro() -> None:
    both = scene(site("a", "10.1.0.0/16", "2001:db8:1::/48"))
    assert going_on(both, begun(both), client="2001:db8:1::7").why is Steered.AS_MANIFEST


def test_a_viewer_in_a_network_whose_boxes_are_all_away_still_leaves_what_serves_no_more() -> None:
    session = begun(WELL)
    at = scene(well("b1", serving=False), well("b2", serving=False), suspect(first_box(session)))
    course = going_on(at, replace(session, away="b"), client="10.2.3.4")
    assert course.why is Steered.SUSPECT
    assert course.priority[0] not in (first_box(session), "pathway-1")


def test_hosts_that_a_clone_cannot_reach_are_not_cloned_and_pathways_are_ordered_by_what_they_kept() -> None:
    session = begun(scene(of=ODD))
    lost = first_box(session)
    course = going_on(scene(suspect(lost), of=ODD), session)
    assert course.clones == ()
    kept = {f"pathway-{n}": sum(one != lost for one in session.at(n)) for n in (1, 2, 3, 4)}
    assert kept[course.priority[0]] == max(kept.values())
    assert [kept[name] for name in course.priority[1:-1]] == sorted(
        (kept[name] for name in course.priority[1:-1]), reverse=True
    )


def test_a_pathway_that_is_one_appliance_is_used_instead_of_a_clone_of_it() -> None:
    pair = [change for change in changes() if not (change.appliance and change.appliance.id in ("a3", "a4"))]
    one_file = replace(begun(scene(of=pair)), groups=(("v-240", ("sd/v-240.mp4",)),), places=((0, 1),))
    course = going_on(scene(suspect(one_file.boxes[0]), of=pair), one_file)
    assert (course.priority, course.clones) == (("pathway-2", "pathway-1", "origin"), ())


def test_players_of_dash_get_the_port_with_the_host_and_those_of_hls_a_host_name() -> None:
    session = begun(WELL)
    broken = scene(suspect(first_box(session)))
    dash_js, begins, hls_js, silent = (
        going_on(broken, session, heard=said).clones[0].uri_replacement.host
        for said in (Heard("pathway-1", 5e6, is_dash=True), Heard(is_dash=True), Heard("pathway-1", 5e6), SILENT)
    )
    assert dash_js == begins == hls_js + PORT
    assert silent == hls_js


def test_a_session_of_the_origin_alone_is_left_there() -> None:
    alone = scene(of=[site("a", "10.1.0.0/16"), origin()])
    course = going_on(WELL, begun(alone))
    assert (course.priority, course.clones) == (("origin",), ())


def test_the_last_pathway_stands_for_the_cdn_that_the_ladder_puts_before_the_origin() -> None:
    ladder = Ladder((Rung.CDN, Rung.ORIGIN), cdns=(Cdn("c", "http://cdn.example"),))
    rules = Rules(ladder=ladder)
    at = scene(rules=rules)
    assert going_on(at, begun(at)).priority == OF_MANIFEST
    assert {last_url(at, group) for group in range(len(FILES))} == {"http://cdn.example"}
    assert {last_url(WELL, group) for group in range(len(FILES))} == {"http://127.0.0.9:80"}


def last_url(at: Scene, group: int) -> str:
    """Where the pathway `origin` of a new play leads."""
    last = last_of(rank_in(at, RankRequest("10.1.7.9", FILES)).groups[group].choices)
    assert last is not None
    return last.url


STATES = st.sampled_from(
    ("well", "suspect", "draining", "drained", "gone", "unwell", "shedding", "full", "overloaded", "doubted")
)


@given(
    st.lists(st.lists(STATES, min_size=len(NAMES), max_size=len(NAMES)), min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from(("", "10.2.3.4", "10.1.7.1", "203.0.113.9")),
    st.sampled_from((Heard(), Heard("pathway-1", 1000.0), Heard("a1", 1000.0), Heard("origin", 1.0, is_dash=True))),
)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_the_answer_keeps_its_laws(
    history: list[list[str]], one_port: bool, client: str, said: Heard
) -> None:
    base = changes() if one_port else changes(a1="http://a1.example:1", b2="https://b2.example")
    session = begun(scene(of=base))
    for turn, states in enumerate(history):
        at = _after(base, dict(zip(NAMES, states, strict=True)))
        course = going_on(at, session, NOW + 10 * turn, said, client)
        assert course == going_on(at, session, NOW + 10 * turn, said, client), "deterministic"
        assert course.priority, "never empty"
        assert len(set(course.priority)) == len(course.priority), "distinct"
        ids = {clone.id for clone in course.clones}
        assert set(course.priority) <= ids | set(OF_MANIFEST), "nothing unknown"
        assert "origin" in course.priority
        assert {clone.base_id for clone in course.clones} <= {"pathway-1"}
        assert not course.clones or session.base
        assert 1 <= course.ttl_s <= LONGEST_TTL_S
        again = going_on(at, course.session, NOW + 10 * turn, Heard(), "")
        if course.why is Steered.STAYS:
            assert again.priority == course.priority, "it stays while nothing changed"
        session = course.session
    for turn in range(2):
        course = going_on(scene(of=base), session, NOW + 1000 + 10 * turn, Heard(), client)
        session = course.session
    assert course.priority[0] != "origin", "nobody is left at the origin when all is well"


def _after(base: list[Change], states: dict[str, str]) -> Scene:
    more: list[Change] = []
    by_id = {change.appliance.id: change.appliance for change in base if change.appliance is not None}
    named = {"draining": ApplianceState.DRAINING, "drained": ApplianceState.DRAINED}
    standings: dict[str, Standing] = {}
    for name, state in states.items():
        load = {"full": 0.9, "overloaded": 0.97}.get(state, 0.1)
        standings[name] = Standing(load=load, full=load > 0.8)
        told = Health(
            name,
            0.1 if state == "unwell" else 1.0,
            state in ("suspect", "doubted"),
            True,
            load,
            shedding=state == "shedding",
        )
        more.append(Change(1, health=told))
        if state in named:
            more.append(Change(1, appliance=msgspec.structs.replace(by_id[name], state=named[state])))
        if state == "gone":
            more.append(Change(1, appliance_gone=name))
    doubted = frozenset(name for name, state in states.items() if state == "doubted")
    its = world([*base, *more], doubted)
    return Scene(its, DEFAULTS, {name: one for name, one in standings.items() if name in its.appliances})


def test_two_origins_are_one_pathway() -> None:
    second = Change(1, origin=FallbackOrigin("second", "http://origin-2.example", ""))
    at = scene(second)
    assert going_on(at, begun(at)).priority == OF_MANIFEST
    assert last_url(at, 0) == "http://127.0.0.9:80"
