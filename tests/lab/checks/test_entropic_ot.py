"""The checks on plans accept right answers and say what is wrong with others."""

import jax
import jax.numpy as jnp
import pytest

from otlab.lab.checks import entropic_ot as check_entropic


def two_points(C, epsilon):
    p = jax.nn.sigmoid((C[0, 1] + C[1, 0] - C[0, 0] - C[1, 1]) / (2 * epsilon)) / 2
    return jnp.array([[p, 0.5 - p], [0.5 - p, p]])


def debiased(cost, x, a, y, b):
    return cost(x, a, y, b) - (cost(x, a, x, a) + cost(y, b, y, b)) / 2


def repaired(P, a, b):
    row = P.sum(1)
    P = P * jnp.where(row > a, a / jnp.where(row > 0, row, 1), 1)[:, None]
    column = P.sum(0)
    P = P * jnp.where(column > b, b / jnp.where(column > 0, column, 1), 1)
    left = a - P.sum(1)
    return P + jnp.outer(left, b - P.sum(0)) / jnp.maximum(left.sum(), 1e-12)


def contraction(P):
    scaled = P / jnp.sqrt(P.sum(1))[:, None] / jnp.sqrt(P.sum(0))
    return jnp.linalg.svd(scaled, compute_uv=False)[1] ** 2


def fitted_variance(t_squared, epsilon):
    return max(0.0, t_squared - epsilon / 2)


def test_right_answers_pass(capsys):
    check_entropic.two_points(two_points)
    check_entropic.debiased(debiased)
    check_entropic.repaired(repaired)
    check_entropic.contraction(contraction)
    check_entropic.fitted_variance(fitted_variance)
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_another_repair_passes():
    """Properties, not one solution: what is missing may be shared out by a greedy rule too."""
    def greedy(P, a, b):
        P = jnp.asarray(P) * jnp.minimum(1, a / jnp.maximum(P.sum(1), 1e-12))[:, None]
        P = P * jnp.minimum(1, b / jnp.maximum(P.sum(0), 1e-12))
        for i in range(len(a)):
            for j in range(len(b)):
                more = jnp.maximum(0, jnp.minimum(a[i] - P[i].sum(), b[j] - P[:, j].sum()))
                P = P.at[i, j].add(more)
        return P

    check_entropic.repaired(greedy)


@pytest.mark.parametrize("check, wrong, word", [
    (check_entropic.two_points, lambda C, e: jnp.exp(-C / e), "one half"),
    (check_entropic.two_points, lambda C, e: jnp.full((2, 2), 0.25), "cancel"),
    (check_entropic.two_points, lambda C, e: two_points(C, 2 * e), "first entry"),
    (check_entropic.two_points, lambda C, e: 0.25, "shape"),
    (check_entropic.debiased, lambda cost, x, a, y, b: cost(x, a, y, b), "from itself"),
    (check_entropic.debiased, lambda cost, x, a, y, b: cost(x, a, y, b) - cost(x, a, x, a),
     "exchanging"),
    (check_entropic.debiased, lambda cost, x, a, y, b: 2 * debiased(cost, x, a, y, b), "apart"),
    (check_entropic.debiased, lambda cost, x, a, y, b: x, "one number"),
    (check_entropic.repaired, lambda P, a, b: P, "rows are off"),
    (check_entropic.repaired, lambda P, a, b: jnp.outer(a, b), "Keep what was right"),
    (check_entropic.repaired, lambda P, a, b: P + jnp.outer(a - P.sum(1), b)
     + jnp.outer(a, b - P.sum(0)), "shrink before"),
    (check_entropic.contraction, lambda P: jnp.linalg.svd(P, compute_uv=False)[1] ** 2, "roots"),
    (check_entropic.contraction, lambda P: contraction(P) ** 0.5, "sweep shrinks"),
    (check_entropic.fitted_variance, lambda t2, e: t2, "average target"),
    (check_entropic.fitted_variance, lambda t2, e: t2 - e / 2, "negative")])
def test_wrong_answers_are_told_why(check, wrong, word):
    with pytest.raises(AssertionError, match=word):
        check(wrong)
