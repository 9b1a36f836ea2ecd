import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from otlab.core.stats import mean_interval, paired_interval, ratio_interval

numbers = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20)


def test_oracle_scipy_gives_the_same_interval():
    s = np.array([1.0, 2.0, 4.0, 8.0, 9.0])
    low, high = stats.t.interval(0.95, 4, loc=s.mean(), scale=stats.sem(s))
    got = mean_interval(s)
    assert np.allclose([got.low, got.high], [low, high])


def test_oracle_coverage_is_95_percent():
    rng = np.random.default_rng(0)
    inside = [i.low < 0 < i.high for i in (mean_interval(rng.normal(size=5)) for _ in range(2000))]
    assert 0.93 < np.mean(inside) < 0.97


@given(numbers, st.floats(-50, 50))
def test_invariant_shift_moves_the_interval(values, shift):
    a, b = mean_interval(values), mean_interval(np.array(values) + shift)
    assert np.allclose([b.low, b.high], [a.low + shift, a.high + shift], atol=1e-6)


def test_invariant_pairing_removes_what_seeds_share():
    base = np.random.default_rng(0).normal(size=8) * 100
    assert paired_interval(base + 1, base).half_width < 1e-9
    assert ratio_interval([2.0, 20.0, 200.0], [1.0, 10.0, 100.0]).mean == pytest.approx(2.0)


def test_order_above_and_below():
    low, high = mean_interval([1.0, 1.1, 0.9]), mean_interval([5.0, 5.1, 4.9])
    assert low.below(high) and high.above(low) and not low.above(0.95)


@pytest.mark.parametrize("bad, says", [([1.0], "at least two"), ([1.0, np.nan], "NaN")])
def test_failure_names_the_remedy(bad, says):
    with pytest.raises(ValueError, match=says):
        mean_interval(bad)


def test_failure_unpaired_and_negative():
    with pytest.raises(ValueError, match="same seeds"):
        paired_interval([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="positive"):
        ratio_interval([1.0, -2.0], [1.0, 2.0])
