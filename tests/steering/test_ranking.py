"""The laws of a ranking."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.places import ApplianceState, Attachment
from contracts.reports import Heartbeat
from contracts.world import Change, FallbackOrigin, RankFile, Ranking, RankRequest, Why
from control_plane import health
from steering.candidates import Rules
from steering.errors import NothingKnown, RankError
from steering.explaining import MOST_EXPLAINED, explain
from steering.ranking import MOST_FILES, rank
from steering.world import World
from tests.steering.worlds import asking, box, holds, key, origin, site, suspect, two_networks, well, world

SEEDS = st.integers(0, 100_000)


def names(ranking: Ranking, group: int = 0) -> list[str]:
    return [choice.appliance_id or "origin" for choice in ranking.groups[group].choices]


def whys(ranking: Ranking, group: int = 0) -> list[Why]:
    return [choice.why for choice in ranking.groups[group].choices]


def random_changes(seed: int) -> list[Change]:
    """Up to four sites with overlapping prefixes, up to 24 boxes in every state of health, some holding the file."""
    rng = random.Random(seed)
    cidrs = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "10.2.0.0/16", "2001:db8::/32"]
    sites = [f"s{n}" for n in range(rng.randint(1, 4))]
    changes = [
        site(s, *rng.sample(cidrs, rng.randint(0, 3)), tier=rng.random() < 0.4, attachment=rng.choice(list(Attachment)))
        for s in sites
    ]
    for n in range(rng.randint(0, 24)):
        name = f"box{n}"
        state = rng.choice([ApplianceState.LIVE] * 4 + [ApplianceState.DRAINING])
        urls = rng.choice([(f"http://{name}.example",), (f"http://192.0.2.{n + 1}",), (f"https://{name}.example",)])
        changes.append(
            box(name, rng.choice(sites), *urls, state=state, domain=rng.choice(["", "", "rack-1", "rack-2"]))
        )
        if rng.random() < 0.95:
            sick = suspect(name)
            fine = well(name, load=rng.random() * 1.1, score=rng.random(), serving=rng.random() < 0.9)
            changes.append(sick if rng.random() < 0.3 else fine)
        if rng.random() < 0.5:
            changes.append(rng.choice([holds(name, key()), holds(name, planned=(key(),)), holds(name, key("other"))]))
    return [*changes, origin()]


CLIENTS = st.sampled_from(["10.1.1.5", "10.2.0.1", "10.9.9.9", "192.0.2.200", "2001:db8::5", "::ffff:10.1.1.5"])


@settings(max_examples=200, deadline=None)
@given(SEEDS, CLIENTS, st.integers(1, 4))
def test_an_answer_is_never_empty_never_doubled_and_ends_with_the_origin(seed: int, client: str, count: int) -> None:
    found = names(rank(world(random_changes(seed)), asking(client, count=count)))
    assert found[-1] == "origin"
    assert found.count("origin") == 1
    assert len(found) == len(set(found)) <= count + 1


@settings(max_examples=100, deadline=None)
@given(SEEDS, CLIENTS)
def test_the_order_in_which_changes_of_different_things_arrive_does_not_matter(seed: int, client: str) -> None:
    changes = random_changes(seed)
    shuffled = random.Random(seed + 1).sample(changes, len(changes))
    assert rank(world(changes), asking(client)) == rank(world(shuffled), asking(client))


@settings(max_examples=200, deadline=None)
@given(SEEDS, CLIENTS, st.booleans())
def test_a_suspect_never_stands_before_one_of_its_site_that_is_not(seed: int, client: str, doubted: bool) -> None:
    base = world(random_changes(seed))
    suspects = frozenset(name for name, health in base.health.items() if health.suspect)
    found = rank(base.doubting(suspects if doubted else frozenset()), asking(client))
    well_or_not = [c.why is Why.SUSPECT_LAST for c in found.groups[0].choices if c.appliance_id]
    assert well_or_not == sorted(well_or_not)
    if not doubted and any(well_or_not):
        assert all(well_or_not), "suspects come back only when there is nobody else"


@settings(max_examples=100, deadline=None)
@given(SEEDS, CLIENTS, st.data())
def test_when_an_appliance_leaves_the_others_keep_their_order(seed: int, client: str, data: st.DataObject) -> None:
    """Loads are equal here: a bound that moves with the mean is the other test's matter."""
    rng = random.Random(seed)
    boxes = [f"box{n}" for n in range(rng.randint(2, 12))]
    changes = [site("s", "10.0.0.0/8"), origin(), *(box(name, "s") for name in boxes), *(well(name) for name in boxes)]
    changes += [holds(name, key()) for name in boxes if rng.random() < 0.3]
    gone = data.draw(st.sampled_from(boxes))
    before = names(rank(world(changes), asking("10.1.1.5", count=12)))
    after = names(rank(world([*changes, Change(2, appliance_gone=gone)]), asking("10.1.1.5", count=12)))
    assert after == [name for name in before if name != gone]


@settings(max_examples=100, deadline=None)
@given(SEEDS, CLIENTS)
def test_an_explanation_has_every_appliance_once_and_agrees_with_the_ranking(seed: int, client: str) -> None:
    it = world(random_changes(seed))
    found = explain(it, asking(client))
    assert found.ranking == rank(it, asking(client))
    facts = found.candidates["t/v-360"]
    assert sorted(fact.appliance_id for fact in facts) == sorted(it.appliances)
    placed = [fact for fact in facts if fact.position is not None]
    assert [fact.appliance_id for fact in placed] == names(found.ranking)[:-1]
    assert [fact.why for fact in placed] == whys(found.ranking)[:-1]
    assert [fact.position for fact in placed] == list(range(len(placed)))
    for fact in facts:
        assert fact.sentence.startswith(f"{fact.appliance_id} is ")
        assert (fact.position is None) == ("left out" in fact.sentence)


def test_a_holder_comes_before_a_planned_one_before_one_that_must_fetch() -> None:
    ranking = rank(world(two_networks()), asking())
    assert names(ranking) == ["a2", "a3", "a1", "origin"]
    assert whys(ranking) == [Why.HOLDS, Why.PLANNED, Why.RENDEZVOUS, Why.ORIGIN]
    assert (ranking.prefix, ranking.site_id, ranking.world_number) == ("10.1.0.0/16", "a", 1)


def test_the_own_box_that_must_fetch_comes_before_a_tier_that_holds_and_the_tier_before_the_origin() -> None:
    changes = [*two_networks(), holds("b1")]
    ranking = rank(world(changes), asking("10.2.0.1"))
    assert names(ranking) == ["b1", "a2", "origin"]
    assert whys(ranking) == [Why.RENDEZVOUS, Why.OTHER_SITE, Why.ORIGIN]


def test_a_site_that_is_no_tier_serves_only_its_own_network() -> None:
    found = explain(world(two_networks()), asking("10.1.0.1", count=4))
    assert "b1" not in names(found.ranking)
    assert next(f.why for f in found.candidates["t/v-360"] if f.appliance_id == "b1") is Why.NO_PREFIX


def test_a_group_is_held_only_when_all_of_its_files_are() -> None:
    playlist = key(file="v-360.m3u8")
    assert whys(rank(world(two_networks()), asking("10.2.0.1", key(), playlist)))[0] is Why.RENDEZVOUS
    both = [*two_networks(), holds("b1", key(), playlist)]
    assert whys(rank(world(both), asking("10.2.0.1", key(), playlist)))[0] is Why.HOLDS


def test_each_group_gets_its_own_order_once() -> None:
    files = (
        RankFile(key("x"), "x/v"),
        RankFile(key(), "t/v"),
        RankFile(key("x", "v-360.m3u8"), "x/v"),
        RankFile(key("y"), ""),
    )
    ranking = rank(world(two_networks()), RankRequest("10.1.0.1", files))
    assert [group.group for group in ranking.groups] == ["x/v", "t/v", key("y")]


def test_the_longest_prefix_decides_before_the_kind_of_attachment() -> None:
    changes = [
        site("wide", "10.0.0.0/8"),
        site("close", "10.1.0.0/16", attachment=Attachment.PUBLIC_PEERING),
        *(box(name, name) for name in ("wide", "close")),
        *(well(name) for name in ("wide", "close")),
        origin(),
    ]
    assert names(rank(world(changes), asking("10.1.0.1"))) == ["close", "wide", "origin"]


def test_at_equal_prefix_attachment_then_as_path_then_med_decide() -> None:
    kinds = {
        "peer": site("peer", "10.0.0.0/8", attachment=Attachment.PUBLIC_PEERING),
        "far": site("far", "10.0.0.0/8", as_path=3),
        "dear": site("dear", "10.0.0.0/8", as_path=2, med=50),
        "near": site("near", "10.0.0.0/8", as_path=2, med=10),
    }
    changes = [*kinds.values(), *(box(name, name) for name in kinds), *(well(name) for name in kinds), origin()]
    assert names(rank(world(changes), asking("10.1.0.1", count=4))) == ["near", "dear", "far", "peer", "origin"]


def test_failure_domains_are_distinct_as_far_as_there_are_enough() -> None:
    racks = {"a1": "r1", "a2": "r1", "a3": "r1", "a4": "r2"}
    changes = [
        site("a", "10.0.0.0/8"),
        origin(),
        *(box(n, "a", domain=d) for n, d in racks.items()),
        *(well(n) for n in racks),
    ]
    found = names(rank(world([*changes, *(holds(n, key()) for n in ("a1", "a2", "a3"))]), asking(count=3)))
    assert found[1] == "a4", "the second is of the other rack though it must fetch"
    assert len(found) == 4


def test_a_dead_appliance_leaves_the_answers_at_once() -> None:
    found = rank(world([*two_networks(), suspect("a2")]), asking())
    assert names(found) == ["a3", "a1", "origin"]


def test_suspects_come_back_as_the_last_when_there_is_nobody_else() -> None:
    found = rank(world([*two_networks(), suspect("b1"), holds("a2")]), asking("10.2.0.1"))
    assert (names(found), whys(found)[0]) == (["b1", "origin"], Why.SUSPECT_LAST)


def test_doubted_suspects_stay_in_the_answer_after_the_others() -> None:
    changes = [*two_networks(), suspect("a2")]
    found = rank(world(changes, doubted=frozenset({"a2"})), asking())
    assert (names(found), whys(found)[2]) == (["a3", "a1", "a2", "origin"], Why.SUSPECT_LAST)


def test_an_appliance_nobody_has_heard_of_is_suspect() -> None:
    changes = [site("a", "10.0.0.0/8"), box("a1", "a"), origin()]
    assert whys(rank(world(changes), asking())) == [Why.SUSPECT_LAST, Why.ORIGIN]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (well("b1", load=0.99), Why.OVERLOADED),
        (well("b1", shedding=True), Why.SHEDDING),
        (well("b1", score=0.1), Why.UNHEALTHY),
        (suspect("b1"), Why.SUSPECT_LAST),
    ],
)
def test_the_least_bad_is_better_than_nothing(change: Change, why: Why) -> None:
    found = rank(world([*two_networks(), holds("a2"), change]), asking("10.2.0.1"))
    assert (names(found), whys(found)[0]) == (["b1", "origin"], why)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (well("b1", serving=False), Why.NOT_SERVING),
        (box("b1", "b", state=ApplianceState.DRAINING), Why.NOT_LIVE),
        (box("b1", "b", "https://b1.example"), Why.SCHEME),
        (box("b1", "b", "http://[::1"), Why.SCHEME),
        (box("b1", "b", "http://[2001:db8::1]"), Why.ADDRESS_FAMILY),
    ],
)
def test_who_cannot_serve_this_client_never_comes_back(change: Change, why: Why) -> None:
    it = world([*two_networks(), holds("a2"), change])
    assert names(rank(it, asking("10.2.0.1"))) == ["origin"]
    facts = explain(it, asking("10.2.0.1")).candidates["t/v-360"]
    assert next(fact.why for fact in facts if fact.appliance_id == "b1") is why


def test_the_address_of_the_clients_family_and_scheme_is_given() -> None:
    urls = ("https://192.0.2.1", "http://[2001:db8::1]:80", "http://192.0.2.1:80")
    changes = [site("a", "10.0.0.0/8", "2001:db8::/32"), box("a1", "a", *urls), well("a1"), origin()]
    answers = [
        rank(world(changes), asking(c, scheme=s)).groups[0].choices[0].url
        for c, s in [("10.0.0.1", "http"), ("2001:db8::9", "http"), ("10.0.0.1", "https")]
    ]
    assert answers == ["http://192.0.2.1:80", "http://[2001:db8::1]:80", "https://192.0.2.1"]


@pytest.mark.parametrize(("families", "reached"), [((), (4, 6)), ((4,), (4,)), ((6,), (6,)), ((4, 6), (4, 6))])
def test_a_host_name_reaches_the_families_that_it_is_published_for(
    families: tuple[int, ...], reached: tuple[int, ...]
) -> None:
    named = box("a1", "a", "https://a1.example")
    assert named.appliance is not None
    named = Change(0, appliance=msgspec.structs.replace(named.appliance, families=families))
    it = world([site("a", "10.0.0.0/8", "2001:db8::/32"), named, well("a1"), origin()])
    clients = {4: "10.0.0.1", 6: "2001:db8::9"}
    assert (
        tuple(v for v, client in clients.items() if "a1" in names(rank(it, asking(client, scheme="https")))) == reached
    )


def test_the_families_of_one_host_name_say_nothing_of_another() -> None:
    named = box("a1", "a", "https://a1.cdn.example", "https://own.example")
    assert named.appliance is not None
    named = Change(0, appliance=msgspec.structs.replace(named.appliance, families=(4,), families_of="a1.cdn.example"))
    it = world([site("a", "10.0.0.0/8", "2001:db8::/32"), named, well("a1"), origin()])
    urls = [rank(it, asking(c, scheme="https")).groups[0].choices[0].url for c in ("10.0.0.1", "2001:db8::9")]
    assert urls == ["https://a1.cdn.example", "https://own.example"]


def test_a_crowded_holder_goes_behind_the_other_holder() -> None:
    changes = [site("a", "10.0.0.0/8"), origin(), *(box(n, "a") for n in ("a1", "a2", "a3"))]
    changes += [holds("a1", key()), holds("a2", key()), well("a3", load=0.2)]
    for crowded, other in (("a1", "a2"), ("a2", "a1")):
        it = world([*changes, well(crowded, load=0.8), well(other, load=0.2)])
        assert names(rank(it, asking("10.0.0.1"))) == [other, crowded, "a3", "origin"]


def test_sessions_of_one_group_spread_over_its_holders_and_misses_go_to_one_box() -> None:
    boxes = ("a1", "a2", "a3")
    base = [site("a", "10.0.0.0/8"), origin(), *(box(n, "a") for n in boxes), *(well(n) for n in boxes)]
    clients = [f"10.0.{n // 250}.{n % 250}" for n in range(500)]
    held = world([*base, holds("a1", key()), holds("a2", key())])
    firsts = Counter(names(rank(held, asking(client)))[0] for client in clients)
    assert firsts.keys() == {"a1", "a2"}
    assert min(firsts.values()) > 200
    assert len({tuple(names(rank(world(base), asking(client)))) for client in clients[:50]}) == 1


def test_misses_spread_by_what_boxes_can_carry() -> None:
    base = [site("a", "10.0.0.0/8"), origin(), well("small"), well("big")]
    it = world([*base, box("small", "a", egress_bps=10**9), box("big", "a", egress_bps=3 * 10**9)])
    firsts = Counter(names(rank(it, asking(group=f"title-{n}/v")))[0] for n in range(1000))
    assert 0.2 < firsts["small"] / 1000 < 0.3


def test_several_origins_come_last_the_one_of_the_clients_scheme_first() -> None:
    more = [
        Change(1, origin=FallbackOrigin(n, f"{s}://{n}.example", "")) for n, s in (("a-cdn", "https"), ("z", "http"))
    ]
    found = rank(world([*two_networks(), *more]), asking("192.0.2.1", key("unknown")))
    assert [c.url for c in found.groups[0].choices] == [
        "http://127.0.0.9:80",
        "http://z.example",
        "https://a-cdn.example",
    ]


def test_a_request_that_makes_no_sense_is_refused_with_everything_that_is_wrong() -> None:
    with pytest.raises(RankError) as caught:
        rank(world(two_networks()), RankRequest("10.1.0", (), 0, "ftp"))
    assert [line.split(":")[0] for line in caught.value.errors] == ["client", "files", "count", "scheme"]


def test_without_any_world_there_is_no_answer() -> None:
    with pytest.raises(NothingKnown):
        rank(World(), asking())


def test_the_rules_are_settings() -> None:
    it = world([*two_networks(), well("b1", load=0.6, score=0.5), holds("a2")])
    assert whys(rank(it, asking("10.2.0.1"), Rules(overloaded_from=0.5)))[0] is Why.OVERLOADED
    assert whys(rank(it, asking("10.2.0.1"), Rules(unhealthy_below=0.6)))[0] is Why.UNHEALTHY
    assert whys(rank(it, asking("10.2.0.1")))[0] is Why.HOLDS


def test_a_box_that_sheds_leaves_the_answers_for_others_with_the_beat_that_says_so() -> None:
    """From the heartbeat over the control plane's pulse to the ranking."""
    pulse = health.opened(health.Pulse())
    for number in range(3):
        pulse = health.beat(pulse, Heartbeat(number, 0.2), float(number))
    pulse = health.reported(pulse, 1.0, ())
    two = [site("a", "10.1.0.0/16"), box("a1", "a"), box("a2", "a"), well("a2"), holds("a1", key()), origin()]
    before = world([*two, Change(1, health=pulse.health("a1"))])
    assert names(rank(before, asking("10.1.0.1"))) == ["a1", "a2", "origin"]
    told = msgspec.json.decode(msgspec.json.encode(Heartbeat(3, 0.2, shedding=True)), type=Heartbeat)
    pulse = health.beat(pulse, told, 3.0)
    during = world([*two, Change(1, health=pulse.health("a1"))])
    assert names(rank(during, asking("10.1.0.1"))) == ["a2", "origin"]
    facts = {fact.appliance_id: fact for fact in explain(during, asking("10.1.0.1")).candidates["t/v-360"]}
    assert facts["a1"].why is Why.SHEDDING
    assert "refuses new sessions" in facts["a1"].sentence
    pulse = health.beat(pulse, Heartbeat(4, 0.2), 4.0)
    after = world([*two, Change(1, health=pulse.health("a1"))])
    assert names(rank(after, asking("10.1.0.1"))) == ["a1", "a2", "origin"]


def test_more_files_than_a_decision_should_take_time_for_are_refused_in_words() -> None:
    it, files = world(two_networks()), tuple(RankFile(key(file=f"{n}.mp4"), f"g-{n}") for n in range(MOST_FILES + 1))
    assert len(rank(it, RankRequest("10.1.0.1", files[:100])).groups) == 100
    with pytest.raises(RankError, match="files: 2001 are more than 2000"):
        rank(it, RankRequest("10.1.0.1", files))
    assert len(explain(it, RankRequest("10.1.0.1", files[:MOST_EXPLAINED])).candidates) == MOST_EXPLAINED
    with pytest.raises(RankError, match="65 groups are more than the 64"):
        explain(it, RankRequest("10.1.0.1", files[: MOST_EXPLAINED + 1]))
