import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from otlab.core.stats import (
    ROUNDING,
    Interval,
    count_interval,
    exact,
    mean_interval,
    paired_interval,
    positive_interval,
    ratio_interval,
    short,
    step_intervals,
)

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


positive = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=20)


def covered(intervals, truth):
    return np.mean([i.low <= truth <= i.high for i in intervals])


# -- positive quantities with long tails


@given(positive)
def test_oracle_log_intervals_are_those_of_the_logs(values):
    got, logs = positive_interval(values), mean_interval(np.log(values))
    assert np.allclose(np.log([got.low, got.mean, got.high]), [logs.low, logs.mean, logs.high])
    assert got.kind == "log" and got.low > 0
    assert got.mean == pytest.approx(stats.gmean(values))


@given(positive, st.floats(0.01, 100))
def test_invariant_units_and_inverses_move_a_log_interval_with_them(values, unit):
    a, b = positive_interval(values), positive_interval(unit * np.array(values))
    c = positive_interval(1 / np.array(values))
    assert np.allclose([b.low, b.high], [unit * a.low, unit * a.high])
    assert np.allclose([c.low, c.high], [1 / a.high, 1 / a.low])


def test_log_intervals_cover_the_median_of_a_long_tail_and_never_reach_below_zero():
    draws = np.random.default_rng(0).lognormal(sigma=1.5, size=(2000, 5))
    assert 0.93 < covered([positive_interval(d) for d in draws], 1) < 0.97
    assert np.mean([mean_interval(d).low < 0 for d in draws]) > 0.5     # "189 ± 346"


# -- counts


@given(st.integers(1, 400), st.floats(0, 1), st.integers(2, 30))
def test_oracle_fractions_follow_clopper_and_pearson(trials, part, seeds):
    hits = round(part * trials)
    got = count_interval([hits] * seeds, trials)            # no spread: independent trials
    total = seeds * trials
    known = (stats.norm.ppf(0.975) / stats.t.ppf(0.975, seeds - 1)) ** 2
    n, k = total * known, seeds * hits * known
    low = stats.beta.ppf(0.025, k, n - k + 1) if hits else 0
    high = stats.beta.ppf(0.975, k + 1, n - k) if hits < trials else 1
    assert np.allclose([got.low, got.high], [low, high], atol=1e-9)
    assert got.low <= got.mean <= got.high and got.low < got.high


def test_oracle_with_many_seeds_it_is_the_exact_binomial_interval():
    exact_one = stats.binomtest(6_000, 60_000).proportion_ci(method="exact")
    got = count_interval([3] * 2_000, 30)
    assert np.allclose([got.low, got.high], [exact_one.low, exact_one.high], rtol=2e-3)


def test_oracle_events_follow_garwood():
    got = count_interval([2] * 1000)
    low, high = stats.chi2.ppf(0.025, 4000) / 2000, stats.chi2.ppf(0.975, 4002) / 2000
    assert np.allclose([got.low, got.high], [low, high], rtol=2e-3) and got.mean == 2


@pytest.mark.parametrize("hits, trials", [([0] * 5, 100), ([100] * 5, 100), ([0] * 5, None)])
def test_no_hit_at_all_still_has_a_width(hits, trials):
    got = count_interval(hits, trials)
    assert got.high - got.low > 0.01 and got.n == 5 and not got.flat
    assert (got.low == 0) == (hits[0] == 0)
    assert str(count_interval([0] * 5, 200)) == "0 (0 to 0.0074)"


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("sharing", [0.0, 0.1])
def test_counts_are_covered_also_when_trials_share_a_seed(rate, sharing):
    """sharing: correlation of two trials of one seed, beta-binomial."""
    rng, m = np.random.default_rng(1), 60
    size = (2000, 5)
    p = rate if not sharing else rng.beta(rate * (1 / sharing - 1),
                                          (1 - rate) * (1 / sharing - 1), size=size)
    inside = covered([count_interval(h, m) for h in rng.binomial(m, p, size=size)], rate)
    assert inside > (0.92 if sharing else 0.95)


def test_events_are_covered_also_when_seeds_differ():
    rng = np.random.default_rng(2)
    assert covered([count_interval(h) for h in rng.poisson(0.4, size=(2000, 5))], 0.4) > 0.95
    uneven = rng.poisson(rng.gamma(4, 1.0, size=(2000, 5)))
    assert covered([count_interval(h) for h in uneven], 4) > 0.95


# -- random splits of one data set


def test_oracle_overlapping_splits_follow_nadeau_and_bengio():
    s = np.array([0.7, 0.72, 0.69, 0.74, 0.71])
    got, naive = mean_interval(s, test_fraction=0.5), mean_interval(s)
    assert got.half_width / naive.half_width == pytest.approx(np.sqrt((1 / 5 + 1) * 5))
    assert got.resampled and "overlapping" in got.how and got.mean == naive.mean
    ratio = ratio_interval(s, np.ones(5), test_fraction=0.5)
    assert ratio.resampled and ratio.high / ratio.mean > ratio_interval(s, np.ones(5)).high / .71


def test_splits_of_one_data_set_are_covered_only_with_the_correction():
    """Error of a mean fitted on the rest of 80 points; the truth is its expectation."""
    rng, n, held, splits = np.random.default_rng(3), 80, 20, 15
    truth = 1 + 1 / (n - held)
    plain, corrected = [], []
    for _ in range(600):
        x = rng.normal(size=n)
        order = np.array([rng.permutation(n) for _ in range(splits)])
        fitted = x[order[:, held:]].mean(1, keepdims=True)
        errors = ((x[order[:, :held]] - fitted) ** 2).mean(1)
        plain.append(mean_interval(errors))
        corrected.append(mean_interval(errors, test_fraction=held / n))
    assert covered(plain, truth) < 0.75 and covered(corrected, truth) > 0.9


# -- steps, exact values, rounding


def test_steps_are_paired_differences_of_neighbours():
    values = np.arange(12.0).reshape(4, 3) ** 2
    first, second = step_intervals(values)
    assert first == paired_interval(values[:, 1], values[:, 0])
    assert second == paired_interval(values[:, 2], values[:, 1])


def test_exact_values_have_a_range_and_no_error():
    one, many = exact(0.9998), exact([[1e-9, -3e-10], [0, 2e-9]])
    assert str(one) == "0.9998" and one.how == "exact"
    assert (many.low, many.high, many.n, many.kind) == (-3e-10, 2e-9, 4, "exact")
    assert str(many) == "−3 × 10⁻¹⁰ to 2 × 10⁻⁹" and many.how == "exact, 4 cases"


def test_kinds_say_how_they_were_made():
    s = [1.0, 1.1, 1.2, 1.3, 1.1]
    assert mean_interval(s).how == "mean, 5 seeds"
    assert ratio_interval(s, s).how == "geometric mean of ratios, 5 seeds"
    assert positive_interval(s).how == "geometric mean, 5 seeds"
    assert count_interval([1, 2, 0, 1, 1], 9).how == "count, 5 seeds"


def test_resolution_is_rounding_at_the_size_of_what_was_compared():
    a = np.array([3.0, 3.1, 2.9, 3.2, 3.0])
    assert paired_interval(a, a - 1e-9).resolution == pytest.approx(ROUNDING * 3.2)
    assert mean_interval([5.6e-17] * 5).resolution >= 1e-13
    assert mean_interval([1.0, 2.0], scale=100).resolution == pytest.approx(100 * ROUNDING)
    assert mean_interval([0.3] * 5).flat and not mean_interval([0.3, 0.31]).flat
    assert not mean_interval([1e-14, 2e-14]).flat


@pytest.mark.parametrize("value, text", [
    (2.6, "2.6"), (0.046, "0.046"), (1855, "1,855"), (-0.5, "−0.5"), (1e-8, "10⁻⁸"),
    (3.4e-5, "3.4 × 10⁻⁵"), (0.0004, "4 × 10⁻⁴"), (0, "0"), (12.438, "12.4"), (650, "650"),
    (9.999e-9, "10⁻⁸"), (999.9, "1,000"), (0.9999, "1")])
def test_numbers_as_a_table_states_them(value, text):
    assert short(value) == text


@pytest.mark.parametrize("call, says", [
    (lambda: positive_interval([1.0, -2.0]), "count_interval"),
    (lambda: count_interval([0.5, 1]), "whole"), (lambda: count_interval([-1, 1], 3), "whole"),
    (lambda: count_interval([5, 1], 3), "at most"),
    (lambda: mean_interval([1.0, 2.0], test_fraction=1.5), "0.25"),
    (lambda: mean_interval([1.0, 2.0], level=95), "0.95"),
    (lambda: step_intervals([1.0, 2.0]), "row a seed"), (lambda: exact([np.nan]), "failed"),
    (lambda: exact([]), "failed"), (lambda: Interval(1, 0, 2, 5, kind="median"), "kind")])
def test_failure_of_the_other_intervals_names_the_remedy(call, says):
    with pytest.raises(ValueError, match=says):
        call()
