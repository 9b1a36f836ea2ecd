"""What the rule is for, by simulation: noise must never help a false claim."""

import numpy as np
import pytest

from otlab.lab.claims import simulation
from otlab.lab.claims.simulation import new_rule, old_rule, rates

NOISES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0)
RUNS = 1_000
ERROR = 0.025 + 3 * np.sqrt(0.025 / RUNS)      # one side of the interval, with Monte Carlo error


def of(rule, truth, verdict="reproduced"):
    return np.array([rates(rule, truth=truth, noise=s, runs=RUNS)[verdict] for s in NOISES])


def test_the_old_rule_rewarded_noise():
    assert of(old_rule, 10)[:5].min() == 1
    wrong = of(old_rule, 1.5)
    assert wrong[0] == 0 and wrong.max() > 0.3


@pytest.mark.parametrize("truth", [10, 1.5, 1.2, 1, 0.5])
def test_noise_never_makes_a_false_claim_reproduced(truth):
    assert of(new_rule, truth).max() < ERROR


def test_ten_times_is_stronger_than_twice():
    assert of(new_rule, 10, "stronger than claimed")[:5].min() == 1


def test_a_true_claim_is_reproduced_when_the_runs_are_quiet():
    true = of(new_rule, 2)
    assert true[0] > 0.93 and (np.diff(true[2:]) <= 0.01).all()
    assert of(new_rule, 2, "refuted").max() < ERROR


def test_no_effect_is_refuted_by_quiet_runs_and_undecided_by_noisy_ones():
    assert of(new_rule, 1, "refuted")[0] > 0.93 and of(new_rule, 1, "undecided")[-1] > 0.85
    assert of(new_rule, 0.5, "refuted")[:4].min() == 1
    assert of(new_rule, 0.5, "direction only").max() < ERROR


def test_the_table_of_the_page_is_seeded_and_adds_up():
    rows = simulation.table(runs=50)
    assert rows == simulation.table(runs=50)
    assert len(rows) == len(simulation.TRUTHS) * len(simulation.NOISES)
    assert all(sum(row[rule].values()) == pytest.approx(1) for row in rows
               for rule in ("old", "new"))
