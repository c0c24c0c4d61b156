"""The bound: the model handed to HiGHS is the one that placements are judged by, and the greedy is close to it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fill_planner.bound import gap, upper_bound
from fill_planner.cli import app
from fill_planner.placement.greedy import solve
from fill_planner.placement.instances import BoxesOf
from fill_planner.placement.pricing import bound, prices
from fill_planner.placement.problem import Problem, fetched_bytes, worth
from tests.fill_planner.test_placement_laws import DOMAINS, EQUAL, THIN, TYPES, cluster

TWO = (BoxesOf(2, 0.3, 0.35),)
TINY = """
kind: placement
seeds: [1, 2]
units: 200
sizes: {law: lognormal, median_bytes: 600000000, sigma: 1.0, least_bytes: 2000000, most_bytes: 12000000000}
views: {law: mandelbrot-zipf, exponent: 1.15, shift: 50, per_day: 20000}
peak_share: 0.09
boxes: [{count: 2, disk_share: 0.1, egress_share: 1.0}]
"""


def best_of_all(problem: Problem) -> float:
    """The optimum by trying every placement."""
    n, width = problem.missing.shape
    best = -np.inf
    for bits in product((False, True), repeat=n * width):
        placed = np.array(bits).reshape(n, width)
        fits = ((placed * problem.disk[:, None]).sum(axis=0) <= problem.boxes.space).all()
        if fits and fetched_bytes(problem, placed) <= problem.fill_bytes:
            best = max(best, worth(problem, placed).total)
    return best


@pytest.mark.parametrize("seed", range(6))
def test_the_integer_problem_is_the_one_that_placements_are_judged_by(seed: int) -> None:
    problem = cluster(seed, TWO, units=5, volume=0.6)
    assert upper_bound(problem, exact=True) == pytest.approx(best_of_all(problem), rel=1e-6)


@pytest.mark.parametrize("boxes", [EQUAL, TYPES, DOMAINS, (BoxesOf(4, 0.06, 0.12, domains=2),)])
def test_boxes_that_are_joined_for_the_relaxation_have_the_bound_of_single_ones(boxes: tuple[BoxesOf, ...]) -> None:
    problem = cluster(3, boxes, units=60)
    # A byte that lies on each box, of another unit each time, makes them all different.
    single = replace(problem, missing=problem.missing - np.eye(*problem.missing.shape))
    assert upper_bound(problem) == pytest.approx(upper_bound(single), rel=1e-6)


@pytest.mark.parametrize("boxes", [EQUAL, TYPES, THIN])
def test_no_placement_is_above_the_relaxation_or_what_the_prices_say(boxes: tuple[BoxesOf, ...]) -> None:
    problem = cluster(2, boxes, units=150, volume=0.5, held=0.5)
    found = solve(problem)
    relaxed = upper_bound(problem)
    assert worth(problem, found.placed(problem)).total <= relaxed * (1 + 1e-6)
    priced = bound(problem, prices(problem, np.arange(len(problem))))
    assert worth(problem, found.placed(problem)).total <= priced * (1 + 1e-6)
    # Neither is always the lower one, but they speak of the same problem.
    assert priced == pytest.approx(relaxed, rel=0.15)


@pytest.mark.parametrize(
    ("boxes", "volume", "held", "most"),
    [(EQUAL, None, None, 0.02), (EQUAL, 0.05, 0.5, 0.02), (TYPES, None, None, 0.04), (THIN, None, None, 0.04), (DOMAINS, None, None, 0.06)],
)  # fmt: skip
def test_the_greedy_is_close_to_the_bound(
    boxes: tuple[BoxesOf, ...], volume: float | None, held: float | None, most: float
) -> None:
    assert gap(cluster(1, boxes, units=500, volume=volume, held=held)).share <= most


def test_the_greedy_is_close_to_the_optimum_where_a_few_units_decide() -> None:
    shares = [gap(cluster(seed, TWO, units=12), exact=True) for seed in range(8)]
    assert all(one.exact for one in shares)
    assert np.mean([one.share for one in shares]) <= 0.08


def test_what_an_operator_requires_is_in_the_bound_too() -> None:
    problem = cluster(4, TWO, units=8)
    least = int(problem.disk.argmin())
    must = replace(problem, required=np.arange(len(problem)) == least)
    assert upper_bound(must, exact=True) <= upper_bound(problem, exact=True) + 1.0
    assert solve(must).placed(must)[least].any()


def test_where_nothing_is_wanted_nothing_is_missed() -> None:
    problem = cluster(1, EQUAL, units=5)
    nothing = replace(problem, peak=np.zeros(5))
    assert (upper_bound(nothing), gap(nothing).share) == (0.0, 0.0)


def test_the_command_prints_greedy_bound_and_gap_for_each_seed(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    result = CliRunner().invoke(app, ["bound", str(path)])
    assert result.exit_code == 0, result.output
    lines = [line.split("│") for line in result.stdout.splitlines() if "tiny" in line]
    assert [line[2].strip() for line in lines] == ["1", "2"]
    assert all(0 <= float(line[5].strip().rstrip("%")) < 5 for line in lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: scale\n", "Invalid value 'scale'"),
        (TINY + "settings: {churn: 1}\n", "no settings named churn"),
        (TINY.replace("[1, 2]", "[]"), "needs seeds"),
        (TINY.replace("median_bytes: 600000000, ", ""), "median_bytes"),
        ("{", "is not an instance of placement"),
    ],
)
def test_a_bad_instance_is_named_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    result = CliRunner().invoke(app, ["bound", str(path)])
    assert result.exit_code == 2
    assert said in result.stderr
