"""What the control plane is told: nothing twice, nothing lost, no half of a table."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.routes import LONGEST_DETAIL, Route, RouteAnswer, RouteReport, SourceKind
from control_plane.routes import sessions
from control_plane.routes.admission import Judged
from control_plane.routes.sessions import Arrival, Source
from oca.routes.table import Heard
from oca.routes.telling import REPEAT_LOOKS, UNSETTLED_LOOKS, Telling

OK = RouteAnswer()


def heard(*cidrs: str, up: bool = True, settled: bool = True, detail: str = "", med: int = 0) -> Heard:
    return Heard("r1", up, {cidr: Route(cidr, (1,), med) for cidr in cidrs}, "192.0.2.1", 64500, detail, settled)


def told(telling: Telling, it: Heard) -> RouteReport:
    report = telling.report(it)
    assert report is not None
    telling.arrived(it, report, OK)
    return report


def test_first_the_whole_table_then_what_changed_then_nothing() -> None:
    telling = Telling("boot")
    first = told(telling, heard("a", "b"))
    assert (first.after, {r.cidr for r in first.announced}, first.withdrawn) == ("", {"a", "b"}, ())
    second = told(telling, heard("b", "c"))
    assert (second.after, [r.cidr for r in second.announced], second.withdrawn) == (first.state, ["c"], ("a",))
    assert telling.report(heard("b", "c")) is None
    third = told(telling, heard("b", "c", med=5))
    assert {r.cidr for r in third.announced} == {"b", "c"}
    assert telling.told("r1") == 2


def test_a_report_that_may_be_lost_is_followed_by_the_whole_table() -> None:
    telling = Telling("boot")
    told(telling, heard("a"))
    it = heard("a", "b")
    assert telling.report(it) is not None
    telling.failed(it)
    assert told(telling, it).after == ""


def test_a_control_plane_that_wants_everything_gets_it() -> None:
    telling = Telling("boot")
    told(telling, heard("a"))
    it = heard("a", "b")
    report = telling.report(it)
    assert report is not None
    telling.arrived(it, report, RouteAnswer(want_full=True))
    again = told(telling, it)
    assert (again.after, len(again.announced)) == ("", 2)
    assert again.state != report.state


def test_a_session_that_is_down_is_told_once_for_each_reason() -> None:
    telling = Telling("boot")
    told(telling, heard("a"))
    assert not told(telling, heard(up=False, detail="reset")).up
    assert telling.report(heard(up=False, detail="reset")) is None
    assert told(telling, heard(up=False, detail="refused")).detail == "refused"
    assert told(telling, heard("a")).after == ""


def test_a_session_that_stays_down_is_told_again_for_a_control_plane_that_believes_its_archive() -> None:
    telling, down = Telling("boot"), heard(up=False, detail="reset")
    told(telling, down)
    for _ in range(2):
        assert [telling.report(down) for _ in range(REPEAT_LOOKS - 1)] == [None] * (REPEAT_LOOKS - 1)
        assert not told(telling, down).up


def test_a_reason_of_any_length_is_told_as_far_as_it_is_taken() -> None:
    telling, down = Telling("boot"), heard(up=False, detail="x" * 5000)
    assert told(telling, down).detail == "x" * LONGEST_DETAIL
    assert telling.report(down) is None


def test_a_table_over_the_maximum_is_sent_again_after_a_while_and_not_at_every_look() -> None:
    telling, it = Telling("boot"), heard("a", "b")
    told(telling, heard("a"))
    for after_looks in (0, 0, UNSETTLED_LOOKS, UNSETTLED_LOOKS):
        assert [telling.report(it) for _ in range(after_looks)] == [None] * after_looks
        report = telling.report(it)
        assert report is not None
        telling.arrived(it, report, RouteAnswer(want_full=True))
    assert told(telling, heard(up=False, detail="reset")).detail == "reset", "that it is down is told at once"


def test_half_a_table_is_not_told_but_not_waited_for_for_ever() -> None:
    telling = Telling("boot")
    for _ in range(UNSETTLED_LOOKS):
        assert telling.report(heard("a", settled=False)) is None
    assert told(telling, heard("a", settled=False)).announced
    assert told(telling, heard("b", settled=False)).after, "a table that was told goes on as it comes"


STEPS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sets(st.sampled_from("abcd"))),
        st.integers(0, 1),
        st.sampled_from(["arrives", "lost on the way", "answer lost", "restart", "forgets"]),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_whatever_is_lost_the_control_plane_has_the_table_after_one_more_exchange(
    steps: list[tuple[set[str] | None, int, str]],
) -> None:
    telling, source, now_s = Telling("boot-0"), Source("b/r1", "s", SourceKind.BGP, "r1", "b"), 0.0

    def exchange(it: Heard, how: str) -> None:
        report = telling.report(it)
        if report is None:
            return
        if how == "lost on the way":
            telling.failed(it)
            return
        step = sessions.step_of(source, report, now_s)
        if step.arrival is Arrival.LOST:
            sessions.lose(source, report, now_s, now_s)
        elif step.arrival is Arrival.TAKEN:
            sessions.take(source, step, Judged(step.put, {}), report.state, now_s, now_s)
        if how == "answer lost":
            telling.failed(it)
        else:
            telling.arrived(it, report, RouteAnswer(step.arrival is Arrival.OUT_OF_STEP))

    for number, (cidrs, med, how) in enumerate(steps, 1):
        now_s += 1.0
        if how == "restart":
            telling = Telling(f"boot-{number}")
        elif how == "forgets":
            source.token = "something else"
        exchange(heard(up=False, detail="x") if cidrs is None else heard(*sorted(cidrs), med=med), how)
    last = heard("a", "d", med=9)
    for _ in range(2):
        exchange(last, "arrives")
    assert source.heard == last.routes
    assert telling.report(last) is None
