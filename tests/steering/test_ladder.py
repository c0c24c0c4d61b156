"""Where clients go when their own sites have no room."""

from __future__ import annotations

import pytest

from contracts.places import Attachment, Prefix, Site
from contracts.world import Change, Why
from steering.candidates import Rules
from steering.config import CommercialCdn, Overflow, SiteOverflow
from steering.explaining import explain
from steering.ladder import Cdn, Ladder, Rung, band, distance_km
from steering.ranking import rank
from tests.steering.test_ranking import names, whys
from tests.steering.worlds import asking, box, holds, key, origin, site, suspect, well, world

ALL = (Rung.SIBLING, Rung.PEERING, Rung.TIER, Rung.ORIGIN, Rung.CDN)


def placed(
    site_id: str, isp: str, *, at: tuple[float, float] = (0.0, 0.0), region: str = "CH", **more: object
) -> Change:
    return Change(1, site=Site(site_id, site_id, isp, region, latitude=at[0], longitude=at[1], **more))  # type: ignore[arg-type]


def country() -> list[Change]:
    """`own` announces 10/8; a sibling of its ISP, an exchange that holds the file, a tier far away that does too."""
    sites = [
        site("own", "10.0.0.0/8"),
        placed("sibling", "isp"),
        placed("exchange", "carrier", attachment=Attachment.PUBLIC_PEERING),
        placed("tier", "carrier", is_tier=True),
        placed("stranger", "carrier"),
    ]
    boxes = [
        change
        for name in ("own", "sibling", "exchange", "tier", "stranger")
        for change in (box(f"{name}1", name), well(f"{name}1"))
    ]
    return [*sites, *boxes, holds("exchange1", key()), holds("tier1", key()), holds("stranger1", key()), origin()]


def rules(*rungs: Rung, cdns: tuple[Cdn, ...] = ()) -> Rules:
    return Rules(ladder=Ladder(rungs, {}, cdns))


def test_the_rungs_are_climbed_in_order_below_the_own_site() -> None:
    found = rank(world(country()), asking(count=8), rules(*ALL, cdns=(Cdn("big", "http://cdn.example"),)))
    assert names(found)[:4] == ["own1", "sibling1", "exchange1", "tier1"]
    assert whys(found) == [Why.RENDEZVOUS, Why.SIBLING, Why.PEERING, Why.OTHER_SITE, Why.ORIGIN, Why.CDN]


def test_a_box_on_no_rung_is_never_in_the_answer_and_the_explanation_says_so() -> None:
    found = explain(world(country()), asking(count=8), rules(*ALL))
    facts = {fact.appliance_id: fact for fact in found.candidates["t/v-360"]}
    assert facts["stranger1"].why is Why.NO_PREFIX
    assert "on no rung" in facts["stranger1"].sentence


def test_without_configuration_only_tiers_stand_in() -> None:
    assert names(rank(world(country()), asking(count=8))) == ["own1", "tier1", "origin"]


def test_each_site_has_its_own_ladder() -> None:
    ladder = Ladder((Rung.TIER,), {"own": (Rung.SIBLING,)})
    changes = [*country(), site("other", "11.0.0.0/8"), box("other1", "other"), well("other1")]
    it = world(changes)
    found = names(rank(it, asking(count=8), Rules(ladder=ladder)))
    assert found[0] == "own1"
    assert set(found[1:-1]) == {"sibling1", "other1"}, "all other sites of the ISP, and no tier"
    assert names(rank(it, asking("11.0.0.1", count=8), Rules(ladder=ladder))) == ["other1", "tier1", "origin"]


def test_load_spills_before_the_own_site_is_saturated() -> None:
    below = world([*country(), well("own1", load=0.84)])
    above = world([*country(), well("own1", load=0.86)])
    assert names(rank(below, asking(), rules(Rung.SIBLING)))[0] == "own1"
    assert names(rank(above, asking(), rules(Rung.SIBLING))) == ["sibling1", "own1", "origin"]
    assert names(rank(above, asking(), rules())) == ["own1", "origin"], "nearly full is better than the origin"


def test_a_full_box_elsewhere_takes_no_overflow() -> None:
    changes = [*country(), well("own1", load=0.86), well("sibling1", load=0.86)]
    assert names(rank(world(changes), asking(), rules(Rung.SIBLING))) == ["own1", "origin"]


def test_when_the_own_site_is_gone_the_ladder_carries_all_of_it() -> None:
    changes = [*country(), suspect("own1")]
    assert names(rank(world(changes), asking(), rules(*ALL))) == ["sibling1", "exchange1", "tier1", "origin"]


def test_the_commercial_cdn_may_come_before_the_origin_which_is_always_there() -> None:
    cdns = (Cdn("a", "https://a.example"), Cdn("b", "http://b.example"))
    found = rank(world(country()), asking(count=1), rules(Rung.CDN, cdns=cdns)).groups[0].choices
    assert [choice.url for choice in found[1:]] == ["http://b.example", "https://a.example", "http://127.0.0.9:80"]


def test_nearer_siblings_come_first_and_another_region_last() -> None:
    zurich, berne, geneva = (47.37, 8.54), (46.95, 7.45), (46.20, 6.15)
    changes = [
        placed("own", "isp", at=zurich, prefixes=(Prefix("10.0.0.0/8"),)),
        placed("g", "isp", at=geneva),
        placed("b", "isp", at=berne),
        placed("d", "isp", at=zurich, region="DE"),
        origin(),
    ]
    for name in ("own", "g", "b", "d"):
        changes += [box(f"{name}1", name), well(f"{name}1")]
    assert names(rank(world(changes), asking(count=8), rules(Rung.SIBLING))) == ["own1", "b1", "g1", "d1", "origin"]


def test_distances_are_those_of_the_globe() -> None:
    zurich, geneva = (
        Site(n, n, "i", "CH", latitude=a, longitude=o) for n, a, o in (("z", 47.37, 8.54), ("g", 46.20, 6.15))
    )
    assert 220 < distance_km(zurich, geneva) < 230
    assert band(geneva, zurich) == (False, 2)
    assert distance_km(zurich, Site("unplaced", "", "i", "CH")) == 0.0


@pytest.mark.parametrize(
    ("rungs", "wrong"),
    [((Rung.ORIGIN, Rung.TIER), "come before origin"), ((Rung.TIER, Rung.TIER), "named twice")],
)
def test_a_ladder_that_makes_no_sense_is_refused_with_the_site(rungs: tuple[Rung, ...], wrong: str) -> None:
    with pytest.raises(ValueError, match=f"site zurich: .*{wrong}"):
        SiteOverflow("zurich", rungs)
    with pytest.raises(ValueError, match=wrong):
        Overflow(rungs)


def test_the_configuration_becomes_the_ladder() -> None:
    found = Overflow((Rung.TIER,), (SiteOverflow("z", (Rung.SIBLING,)),), (CommercialCdn("big", "http://cdn.example"),))
    assert found.ladder() == Ladder((Rung.TIER,), {"z": (Rung.SIBLING,)}, (Cdn("big", "http://cdn.example"),))
