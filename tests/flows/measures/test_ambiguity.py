"""What a velocity's place and time leave open, against laws where it is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.flows.measures.ambiguity import ambiguity

TIMES = np.array([0.1, 0.5, 0.9])


def clouds(seed, n=8_000):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, n, 2))


@given(st.integers(0, 1_000))
@settings(max_examples=4, deadline=None)
def test_oracle_independent_gaussians(seed):
    # For x0, x1 independent N(0, I): Var(v | x_t) = d / ((1 - t)^2 + t^2).
    x0, x1 = clouds(seed)
    want = 2 / ((1 - TIMES) ** 2 + TIMES**2)
    np.testing.assert_allclose(ambiguity(x0, x1, TIMES), want, rtol=0.08)


@pytest.mark.parametrize("angle", [0.0, 1.0, 2.5])
def test_oracle_rotated_pairs_leave_nothing_open(angle):
    # x_t = ((1 - t) R + t) x is invertible unless the angle is pi, however far points travel.
    x = clouds(0)[0]
    c, s = np.cos(angle), np.sin(angle)
    assert ambiguity(x @ np.array([[c, s], [-s, c]]), x, TIMES).max() < 0.02


def test_oracle_half_a_turn_leaves_all_of_it_open_at_the_middle():
    x = clouds(0)[0]
    noisy = -x + 1e-6 * clouds(1)[0]
    # At t = 1/2 all points meet; v = 2x there, of variance 4 a coordinate.
    assert ambiguity(noisy, x, [0.5])[0] == pytest.approx(8, rel=0.1)
    assert ambiguity(noisy, x, [0.2])[0] < 0.02


def test_invariant_a_common_shift_changes_nothing():
    x0, x1 = clouds(3, 500)
    np.testing.assert_allclose(ambiguity(x0 + 5, x1 + 5, TIMES), ambiguity(x0, x1, TIMES),
                               rtol=1e-6)


def test_failure_unpaired():
    with pytest.raises(ValueError, match="two pairs or more"):
        ambiguity(np.zeros((3, 2)), np.zeros((4, 2)), [0.5])
