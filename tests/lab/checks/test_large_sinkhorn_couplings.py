import jax.numpy as jnp
import numpy as np
import pytest

from otlab.lab.checks import large_sinkhorn_couplings as check


def H(p):
    return -jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1)), 0))


def right_sharpness(P):
    return 2 * H(P) / (H(P.sum(0)) + H(P.sum(1))) - 1


def right_std(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    product = jnp.sum((x.T @ x / len(x)) * (y.T @ y / len(y)))
    return jnp.sqrt(jnp.var((x**2).sum(1)) + jnp.var((y**2).sum(1)) + 4 * product)


def right_lost(P):
    rows = P / P.sum(1, keepdims=True)
    return 0.0, jnp.prod(1 - rows, axis=0).mean()


def uniform_sharpness(P):
    return H(P) / jnp.log(len(P)) - 1


def dot_std(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return jnp.sqrt(jnp.sum((x.T @ x / len(x)) * (y.T @ y / len(y))))


@pytest.mark.parametrize("name, right, wrong, says", [
    ("sharpness", right_sharpness, uniform_sharpness, "sums of P"),
    ("sharpness", right_sharpness, lambda P: 0.5, "permutation"),
    ("std_of_squared_distance", right_std, dot_std, "squared norms"),
    ("std_of_squared_distance", right_std,
     lambda x, y: jnp.std(((x[:, None] - y) ** 2).sum(-1)), "covariances|centre"),
    ("lost_shares", right_lost, lambda P: (0.0, np.exp(-1)), "every row misses"),
    ("lost_shares", right_lost, lambda P: (np.exp(-1), right_lost(P)[1]), "no noise"),
    ("lost_shares", right_lost, lambda P: (0.0, ((1 - P.sum(0)) ** len(P)).mean()), "data"),
])
def test_right_answers_pass_and_wrong_ones_are_told_why(name, right, wrong, says, capsys):
    getattr(check, name)(right)
    assert name in capsys.readouterr().out
    with pytest.raises(AssertionError, match=says):
        getattr(check, name)(wrong)


@pytest.mark.parametrize("name, wrong", [
    ("sharpness", lambda P: P), ("std_of_squared_distance", lambda x, y: x),
    ("lost_shares", lambda P: 0.3), ("sharpness", lambda P: "text")])
def test_a_wrong_shape_is_said_first(name, wrong):
    with pytest.raises(AssertionError, match="^return "):
        getattr(check, name)(wrong)


def test_uncentred_std_fails_only_by_translation():
    half = lambda x, y: right_std(x, y) if abs(float(x.mean())) < 2 else 1.0  # noqa: E731
    with pytest.raises(AssertionError, match="centre first"):
        check.std_of_squared_distance(half)


def test_power_law_and_flops():
    x = np.array([1.0, 0.1, 0.01])
    check.power_law(0.9, x, 10 * x**-0.9)
    with pytest.raises(AssertionError, match="log K"):
        check.power_law(2.0, x, 10 * x**-0.9)
    cost = dict(d=10, limit=1e9, pairs=1e3, iterations=lambda e: 10 / e, least_n=50,
                largest_epsilon=0.3)
    check.within_flops(100, 0.1, **cost)
    with pytest.raises(AssertionError, match="over the limit"):
        check.within_flops(1e6, 0.1, **cost)
    for n, epsilon in ((1, 0.1), (100, 1.0)):
        with pytest.raises(AssertionError, match="the exercise wants"):
            check.within_flops(n, epsilon, **cost)
