from __future__ import annotations

import itertools

import pytest

from contracts.ingest import TitleState
from origin import states
from origin.states import STEPS, Stage


def test_every_state_either_rests_or_has_exactly_one_stage_that_leads_on() -> None:
    assert states.RESTING | set(STEPS) == set(TitleState)
    assert not states.RESTING & set(STEPS)


def test_a_title_reaches_publication_from_the_upload_through_all_stages_in_order() -> None:
    passed: list[Stage] = []
    state = TitleState.UPLOADED
    while state is not TitleState.PUBLISHED:
        passed.append(STEPS[state].stage)
        following = STEPS[state].to
        assert following is not None
        state = following
    assert passed == [Stage.PROBE, Stage.CHUNK, Stage.ENCODE, Stage.PACKAGE, Stage.CHECK, Stage.PUBLISH]


def test_progress_only_grows_on_the_way() -> None:
    way = [state for state in STEPS if state is not TitleState.WITHDRAWING]
    shares = [states.progress(state, part) for state in way for part in (0.0, 0.5, 1.0)]
    assert all(a <= b for a, b in itertools.pairwise(shares))
    assert shares[0] == 0.0
    assert shares[-1] == pytest.approx(1.0)
    assert states.progress(TitleState.PUBLISHED, 0.0) == 1.0


def test_a_retry_probes_a_rejected_title_again_and_means_nothing_at_rest() -> None:
    assert states.retried(TitleState.REJECTED) is TitleState.UPLOADED
    assert states.retried(TitleState.CHECKED) is TitleState.CHECKED
    assert states.retried(TitleState.PUBLISHED) is None
    assert states.retried(TitleState.CREATED) is None


def test_waiting_for_others_never_rejects_a_title() -> None:
    assert TitleState.CHECKED not in states.REJECTABLE
    assert TitleState.CHUNKED in states.REJECTABLE


def test_waits_double_up_to_the_longest() -> None:
    assert [states.backoff_s(n, 0.5, 3.0) for n in (1, 2, 3, 4, 5000)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_the_diagram_has_every_state() -> None:
    drawn = states.diagram()
    assert all(state.value in drawn for state in TitleState)
