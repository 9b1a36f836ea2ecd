import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from otlab.core.stats import (
    Interval,
    count_interval,
    exact,
    mean_interval,
    paired_interval,
    ratio_interval,
    step_intervals,
)
from otlab.lab.claims import (
    above,
    at_least,
    at_most,
    below,
    between,
    equals,
    number,
    ratio,
)
from otlab.lab.claims.rule import FEW, FLAT, HOLD, ITSELF, WORST_FIRST, judge


def interval(low, high, n=5, kind="mean"):
    middle = math.sqrt(low * high) if kind == "ratio" else (low + high) / 2
    return Interval(middle, low, high, n, kind=kind)


def word(expected, low, high, **more):
    return judge(expected, interval(low, high, **more)).word


@pytest.mark.parametrize("low, high, verdict", [
    (0.8, 1.2, "reproduced"), (0.7, 1.0, "reproduced"), (1.0, 1.3, "reproduced"),
    (0.6, 1.2, "direction only"), (0.8, 1.4, "direction only"), (0.1, 5.0, "direction only"),
    (0.8, 0.9, "direction only"), (1.01, 9.0, "stronger than claimed"),
    (-0.1, 1.2, "undecided"), (-0.1, 0.5, "undecided"), (-9.0, 9.0, "undecided"),
    (-0.1, 0.3, "refuted"), (-2.0, -0.1, "refuted")])
def test_verdicts_on_an_effect_of_claimed_size(low, high, verdict):
    assert word(number(1), low, high) == verdict
    assert word(number(-1), -high, -low) == verdict
    assert word(number(4, null=3), low + 3, high + 3) == verdict
    assert word(ratio(2), 2**low, 2**high, kind="ratio") == verdict
    assert word(ratio(1 / 2), 2**-high, 2**-low, kind="ratio") == verdict


@given(st.floats(0.05, 20), st.floats(0.05, 20), st.floats(0.05, 20))
def test_invariant_a_ratio_and_its_inverse_have_one_verdict(claimed, a, b):
    low, high = sorted((a, b))
    assume(abs(math.log(claimed)) > 1e-3 and high / low > 1.001)
    up, down = interval(low, high, kind="ratio"), interval(1 / high, 1 / low, kind="ratio")
    edges = [math.log(low) / math.log(claimed), math.log(high) / math.log(claimed)]
    assume(all(abs(e - at) > 1e-9 for e in edges for at in (0, 1 / 3, 2 / 3, 1, 4 / 3)))
    assert judge(ratio(claimed), up) == judge(ratio(1 / claimed), down)


@given(st.floats(-5, 5), st.floats(0.001, 5), st.floats(0.1, 5))
def test_invariant_reproduced_needs_the_number_inside_and_a_width_below_the_effect(
        mean, half, claimed):
    if word(number(claimed), mean - half, mean + half) == "reproduced":
        assert mean - half <= claimed <= mean + half and 2 * half < claimed


@given(st.floats(-5, 5), st.floats(0.001, 5), st.floats(1.01, 4), st.floats(0.1, 5))
def test_invariant_a_wider_interval_about_the_same_mean_gains_nothing(mean, half, wider, claimed):
    """Widening moves no verdict on a bound or a sign from refuted or undecided to reproduced."""
    for expected in (above(0), at_least(claimed), equals(claimed, margin=0.5)):
        if word(expected, mean - half * wider, mean + half * wider) == "reproduced":
            assert word(expected, mean - half, mean + half) == "reproduced"


def test_the_printed_case_is_stronger_not_reproduced():
    assert word(ratio(1.23), 120, 230, kind="ratio") == "stronger than claimed"


@pytest.mark.parametrize("expected, low, high, verdict", [
    (above(0), 0.1, 9, "reproduced"), (above(0), -0.1, 9, "undecided"),
    (above(0), -2, -1, "refuted"), (below(1), 0.2, 0.9, "reproduced"),
    (below(1), 1.1, 1.2, "refuted"), (at_least(20), 20, 30, "reproduced"),
    (at_least(20), 10, 30, "undecided"), (at_least(20), 5, 19, "refuted"),
    (at_most(0.2), 0.0, 0.2, "reproduced"), (at_most(0.2), 0.3, 0.4, "refuted"),
    (equals(1, margin=0.1), 0.95, 1.02, "reproduced"),
    (equals(1, margin=0.1), 0.85, 1.02, "undecided"),
    (equals(1, margin=0.1), 1.2, 1.3, "refuted"),
    (between(5, 10), 5, 10, "reproduced"), (between(5, 10), 4, 6, "undecided"),
    (between(5, 10), 11, 12, "refuted")])
def test_signs_bounds_and_equalities_want_the_whole_interval(expected, low, high, verdict):
    assert word(expected, low, high) == verdict


def test_rounding_and_equal_values_are_no_effect():
    same = mean_interval([5.6e-17] * 5)
    for expected in (above(0), number(1e-17), number(1)):
        assert judge(expected, same) == ("not tested", ITSELF)
    assert judge(at_least(0), same) == ("not tested", FLAT)
    assert judge(above(0), mean_interval([0.3] * 5)) == ("not tested", FLAT)
    noise = 1 + 1e-16 * np.arange(5)
    assert judge(above(0), paired_interval(3 * noise, 3.0 * np.ones(5))).why == ITSELF
    assert judge(above(1), ratio_interval(np.float32(1) + 1e-8 * np.arange(5), np.ones(5))
                 ).why == ITSELF
    tiny = mean_interval(1e-9 * np.array([1, 2, 1, 2, 1.5]))
    assert judge(above(0), tiny).word == "reproduced"
    assert judge(above(0), mean_interval(1e-9 * np.array([1, 2, 1, 2, 1.5]), scale=100.0)
                 ).why == ITSELF
    assert judge(at_most(0.05), count_interval([0] * 5, 400)).word == "reproduced"
    assert judge(at_most(0.05), count_interval([0] * 5, 10)).word == "undecided"


def test_fewer_than_five_seeds_test_nothing():
    assert judge(above(0), interval(1, 2, n=4)) == ("not tested", FEW)
    assert judge(at_most(1), exact(0.5)).word == "reproduced"


def test_what_is_exact_is_settled_by_every_value():
    errors = [1e-10, -3e-9, 2e-9]
    assert judge(equals(0, margin=1e-8), exact(errors)).word == "reproduced"
    assert judge(equals(0, margin=1e-9), exact(errors)).word == "refuted"
    assert judge(above(0), exact([1, 0])).word == "refuted"
    assert judge(above(0), exact([5.6e-17, 1])).word == "reproduced"
    with pytest.raises(ValueError, match="at_least"):
        judge(number(1), exact(1.0))


def test_of_several_intervals_the_worst_verdict_counts():
    good, bad, unsure = interval(1, 2), interval(-2, -1), interval(-1, 1)
    assert judge(above(0), (good, good)).word == "reproduced"
    assert judge(above(0), (good, unsure)).word == "undecided"
    assert judge(above(0), {"a": unsure, "b": bad}).word == "refuted"
    assert judge((above(0), below(0)), (good, bad)).word == "reproduced"
    assert judge(above(0), (bad, interval(1, 2, n=2))).word == "not tested"
    rising = np.arange(4) + 0.01 * np.random.default_rng(0).normal(size=(5, 4))
    assert judge(above(0), step_intervals(rising)).word == "reproduced"
    assert judge(above(0), step_intervals(rising[:, [0, 2, 1, 3]])).word == "refuted"
    assert set(HOLD) == set(WORST_FIRST[-2:])


def test_expectations_say_themselves():
    assert ratio(10.4 / 4, "10.4 / 4.0").text == "10.4 / 4.0 = 2.6"
    assert number(-0.5).text == "−0.5" and number(1855).text == "1,855"
    assert above(0).text == "above 0" and at_most(1e-8).text == "at most 10⁻⁸"
    assert equals(1, margin=0.05).text == "1, within 0.05" and between(5, 10).text == "5 to 10"


def test_failure_names_the_remedy():
    for wrong, says in ((lambda: ratio(1), "equals"), (lambda: ratio(-2), "number"),
                        (lambda: number(0), "equals"), (lambda: equals(1, margin=0), "margin"),
                        (lambda: between(2, 1), "smaller end"),
                        (lambda: judge(ratio(2), interval(1, 2)), "ratio_interval"),
                        (lambda: judge((above(0), above(0)), interval(1, 2)), "one for all")):
        with pytest.raises(ValueError, match=says):
            wrong()
    for wrong, says in ((lambda: judge(above(0), 3.0), "Interval"),
                        (lambda: judge(above(0), [3.0]), "Interval"),
                        (lambda: judge("above 0", interval(1, 2)), "above"),
                        (lambda: judge(above(0), "0.3 ± 0.1"), "Interval")):
        with pytest.raises(TypeError, match=says):
            wrong()
