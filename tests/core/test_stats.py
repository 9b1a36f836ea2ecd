import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from otlab.core.stats import Interval, mean_interval, paired_interval, ratio_interval

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


@pytest.mark.parametrize("mean, half, text", [
    (0.0487, 0.0213, "0.049 ± 0.021"), (-4.68e-4, 0.0121, "0.000 ± 0.012"),
    (-0.05, 0.012, "−0.050 ± 0.012"), (536.94, 123.4, "537 ± 123"), (1.768, 0.1139, "1.77 ± 0.11"),
    (3.93e-4, 6.4e-5, "(3.93 ± 0.64) × 10⁻⁴"), (2.0, 0.0, "2.00 ± 0.00"), (0.0, 0.0, "0 ± 0")])
def test_text_rounds_the_mean_to_its_uncertainty(mean, half, text):
    assert str(Interval(mean, mean - half, mean + half, 5)) == text


def test_text_of_a_lopsided_interval_names_its_ends():
    assert str(Interval(8.43, 4.14, 17.2, 5)) == "8.4 (4.1 to 17.2)"
    assert Interval(1.06, 0.777, 1.446, 5).with_ends == "1.06 (0.78 to 1.45)"
    assert str(ratio_interval([2.0, 2.1, 1.9], [1.0, 1.0, 1.0])) == "2.00 ± 0.25"
    assert str(Interval(4e-4, 1e-4, 9e-4, 5)) == "(4.0 (1.0 to 9.0)) × 10⁻⁴"


@pytest.mark.parametrize("bad, says", [([1.0], "at least two"), ([1.0, np.nan], "NaN")])
def test_failure_names_the_remedy(bad, says):
    with pytest.raises(ValueError, match=says):
        mean_interval(bad)


def test_failure_unpaired_and_negative():
    with pytest.raises(ValueError, match="same seeds"):
        paired_interval([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="positive"):
        ratio_interval([1.0, -2.0], [1.0, 2.0])
