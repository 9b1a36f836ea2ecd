"""Every check passes a right answer, and tells a wrong one what is wrong."""

import jax.numpy as jnp
import numpy as np
import pytest
import told_why

from otlab.lab.checks import progot as check


def slope(s, epsilon):
    q = epsilon / (4 * s**2)
    return np.sqrt(q**2 + 1) - q


def remaining(A, b, alpha):
    back = jnp.linalg.inv((1 - alpha) * jnp.eye(len(b)) + alpha * A)
    return A @ back, b - alpha * A @ back @ b


def shares(alphas):
    after = 1 - jnp.cumprod(1 - alphas)
    return jnp.concatenate([jnp.zeros(1), after[:-1]]), after


RIGHT = {
    "self_map_slope": slope,
    "remaining_map": remaining,
    "progress": shares,
    "debiased": lambda E_xy, E_xx, z: z + E_xy(z) - E_xx(z),
    "not_straight": lambda x, y: (x**3 - y**3) ** 2,
}
WRONG = [
    ("self_map_slope", lambda s, e: slope(s, 2 * e), "inverse covariance"),
    ("self_map_slope", lambda s, e: slope(1, e), "three times the spread"),
    ("self_map_slope", lambda s, e: jnp.ones(2), "one number"),
    ("remaining_map", lambda A, b, alpha: (A, b), "First undo S"),
    ("remaining_map", lambda A, b, alpha: (A[0], b), "matrix A1"),
    ("progress", lambda alphas: (jnp.cumsum(alphas), jnp.cumsum(alphas)), "1 − alpha"),
    ("progress", lambda alphas: (shares(alphas)[1],) * 2, "before the first step"),
    ("debiased", lambda E_xy, E_xx, z: E_xy(z), "blur alone"),
    ("debiased", lambda E_xy, E_xx, z: z + E_xx(z) - E_xy(z), "everything moves"),
    ("not_straight", lambda x, y: jnp.abs(x - y) ** 3, "x − y alone"),
    ("not_straight", lambda x, y: x**2, "cost nothing"),
    ("not_straight", lambda x, y: jnp.maximum(x - y, 0), "symmetric"),
]


test_right_answers_pass, test_wrong_answers_are_told_why = told_why.of(check, RIGHT, WRONG)


def test_paths_are_compared_solve_by_solve(capsys):
    path = np.random.default_rng(0).normal(size=(4, 6, 2))
    check.same_path(path, path + 1e-5)
    assert "4 times" in capsys.readouterr().out
    other = path.copy()
    other[2, 3] += 0.5
    with pytest.raises(AssertionError, match="at solve 3"):
        check.same_path(path, other)
    with pytest.raises(AssertionError, match="nothing moves"):
        check.same_path(np.ones((3, 2, 1)), np.ones((3, 2, 1)))
    with pytest.raises(AssertionError, match="two arrays"):
        check.same_path(path, path[0])
