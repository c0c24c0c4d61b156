"""The egress cap: many workers and bodies, one cap, nobody forgotten."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from oca.worker.egress import TICK_S, Crowd, Egress

WINDOW = 512 * 1024


@dataclass
class Words:
    """The shared memory: taken bytes and askers of each worker."""

    taken: list[int]
    askers: list[int]


@dataclass(eq=False)
class Body:
    """Takes one window after another; `gap_s` between them."""

    egress: Egress
    gap_s: float
    length: int
    sent: int = 0
    next_at: float = 0.0
    waits: bool = False
    now: float = 0.0
    first_wait: float = 0.0
    longest_wait_s: float = 0.0
    log: list[tuple[float, int]] = field(default_factory=list)

    def turn(self, now: float) -> None:
        self.now = now
        if self.waits or now < self.next_at:
            return
        self.ask()

    def ask(self) -> None:
        granted = self.egress.take(self, self.length)
        if not granted:
            if not self.waits:
                self.waits, self.first_wait = True, self.now
            self.egress.wait(self, self.ask)
            return
        if self.waits:
            self.longest_wait_s = max(self.longest_wait_s, self.now - self.first_wait)
        self.waits = False
        self.sent += granted
        self.next_at = self.now + self.gap_s
        self.log.append((self.now, granted))


def counted(words: Words, worker: int) -> Callable[[int], None]:
    def add(count: int) -> None:
        words.taken[worker] += count

    return add


def run(cap_bps: int, bodies_of: list[list[tuple[float, int]]], for_s: float, seed: int = 1) -> list[Body]:
    """`bodies_of` worker: (gap, length of a window). Ticks of the workers have different phases and are late now and then."""
    rng = random.Random(seed)
    workers = len(bodies_of)
    words = Words([0] * workers, [0] * workers)
    egresses = [Egress(cap_bps, counted(words, number)) for number in range(workers)]
    bodies = [Body(egresses[number], *facts) for number, its in enumerate(bodies_of) for facts in its]
    due = [rng.random() * TICK_S for _ in range(workers)]
    now = 0.0
    while now < for_s:
        for number, egress in enumerate(egresses):
            if now >= due[number]:
                due[number] = now + TICK_S * rng.choice((1, 1, 1, 3))
                for body in bodies:
                    body.now = now
                egress.tick(now, Crowd(sum(words.taken), sum(words.askers), workers))
                words.askers[number] = egress.askers
        for body in bodies:
            body.turn(now)
        now += 0.005
    return bodies


def worst_ten_seconds(bodies: list[Body]) -> int:
    log = sorted(entry for body in bodies for entry in body.log)
    worst, total, oldest = 0, 0, 0
    for at, granted in log:
        total += granted
        while log[oldest][0] < at - 10.0:
            total -= log[oldest][1]
            oldest += 1
        worst = max(worst, total)
    return worst


GREEDY = (0.0, WINDOW)


@pytest.mark.parametrize("cap_bps", [20_000_000, 200_000_000, 2_000_000_000])
@pytest.mark.parametrize("workers", [1, 4])
def test_greedy_bodies_use_the_cap_and_do_not_exceed_it_over_ten_seconds(cap_bps: int, workers: int) -> None:
    bodies = run(cap_bps, [[GREEDY] * 5 for _ in range(workers)], 25.0)
    assert worst_ten_seconds(bodies) <= 1.05 * 10 * cap_bps / 8
    assert sum(body.sent for body in bodies) >= 0.9 * 25 * cap_bps / 8


def test_bodies_of_a_crowded_worker_get_as_much_as_those_of_an_empty_one() -> None:
    bodies = run(100_000_000, [[GREEDY] * 19, [GREEDY], [], []], 40.0)
    fair = sum(body.sent for body in bodies) / len(bodies)
    assert min(body.sent for body in bodies) >= 0.4 * fair
    assert max(body.sent for body in bodies) <= 2.0 * fair


def test_what_slow_bodies_leave_is_used_by_others() -> None:
    slow, greedy = (1.0, 20_000), GREEDY
    bodies = run(100_000_000, [[slow] * 10, [greedy] * 3], 20.0)
    assert sum(body.sent for body in bodies) >= 0.9 * 20 * 100_000_000 / 8
    assert all(body.longest_wait_s < 1.0 for body in bodies if body.length == 20_000)


@pytest.mark.parametrize("seed", range(5))
def test_a_mixed_crowd_stays_below_the_cap_and_nobody_starves(seed: int) -> None:
    rng = random.Random(seed)
    crowd = [
        [(rng.choice((0.0, 0.1, 2.0)), rng.choice((900, 20_000, WINDOW))) for _ in range(rng.randint(0, 30))]
        for _ in range(4)
    ]
    cap_bps = rng.choice((50_000_000, 400_000_000))
    bodies = run(cap_bps, crowd, 20.0, seed)
    assert worst_ten_seconds(bodies) <= 1.05 * 10 * cap_bps / 8
    assert all(body.sent for body in bodies)


def test_many_workers_under_a_small_cap_all_get_their_pieces() -> None:
    bodies = run(10_000_000, [[GREEDY] for _ in range(16)], 30.0)
    assert all(body.sent for body in bodies)
    assert worst_ten_seconds(bodies) <= 1.05 * 10 * 10_000_000 / 8


def test_nobody_overtakes_who_waits() -> None:
    egress = Egress(8_000_000, lambda _count: None)
    egress.tick(0.0, Crowd(0, 0, 1))
    egress.wait("first", lambda: None)
    assert egress.take("second", 100) == 0


def test_an_answer_that_cannot_be_cut_is_granted_whole_or_not_at_all() -> None:
    egress = Egress(8_000_000, lambda _count: None)
    egress.tick(0.0, Crowd(0, 0, 1))
    egress.tick(0.05, Crowd(0, 0, 1))
    assert egress.take("body", WINDOW, whole=True) == 0
    assert egress.take("body", 40_000, whole=True) == 40_000


def test_who_is_forgotten_is_not_called() -> None:
    egress = Egress(8_000_000, lambda _count: None)
    egress.tick(0.0, Crowd(0, 0, 1))
    called: list[str] = []
    egress.wait("gone", lambda: called.append("gone"))
    egress.wait("here", lambda: called.append("here"))
    egress.forget("gone")
    egress.tick(0.05, Crowd(0, 0, 1))
    assert called == ["here"]


def test_a_death_of_a_worker_between_two_ticks_changes_no_sum() -> None:
    """The words survive their worker; a replacement starts from what they say."""
    words = Words([10_000_000], [3])
    egress = Egress(8_000_000, counted(words, 0))
    egress.tick(100.0, Crowd(sum(words.taken), 0, 1))
    egress.tick(100.05, Crowd(sum(words.taken), 0, 1))
    assert egress.take("body", 20_000) == 20_000


def test_the_share_in_use_follows_the_last_seconds() -> None:
    words = Words([0], [0])
    egress = Egress(80_000_000, counted(words, 0))
    for step in range(400):
        egress.tick(step * TICK_S, Crowd(words.taken[0], 0, 1))
        words.taken[0] += 500_000
    assert 0.95 < egress.used < 1.05
    for step in range(400, 800):
        egress.tick(step * TICK_S, Crowd(words.taken[0], 0, 1))
    assert egress.used < 0.1
