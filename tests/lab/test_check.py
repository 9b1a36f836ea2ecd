import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.lab import check


def right_std(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return jnp.sqrt(jnp.sum((x.T @ x / len(x)) * (y.T @ y / len(y))))


def right_sharpness(P):
    return -jnp.sum(jnp.where(P > 0, P * jnp.log(jnp.where(P > 0, P, 1)), 0)) / jnp.log(len(P)) - 1


def right_pairs(key, P):
    return jnp.argmax(jnp.log(P) + jax.random.gumbel(key, P.shape), axis=1)


def right_missing(key, n):
    return 1 - len(np.unique(jax.random.randint(key, (n,), 0, n))) / n


@pytest.mark.parametrize("name, right, wrong, says", [
    ("std_of_cost", right_std, lambda x, y: jnp.std(x @ y.T), "centre"),
    ("sharpness", right_sharpness, lambda P: jnp.float32(0.5), "permutation"),
    ("stratified_pairs", right_pairs, lambda k, P: jnp.argmax(P, axis=1), "row"),
    ("missing_share", right_missing, lambda k, n: 0.0, "lost"),
])
def test_right_answers_pass_and_wrong_ones_are_told_why(name, right, wrong, says, capsys):
    getattr(check, name)(right)
    assert name in capsys.readouterr().out
    with pytest.raises(AssertionError, match=says):
        getattr(check, name)(wrong)


def test_uncentred_std_fails_only_by_translation():
    half = lambda x, y: right_std(x, y) if abs(float(x.mean())) < 1 else jnp.std(x @ y.T)  # noqa
    with pytest.raises(AssertionError, match="translation"):
        check.std_of_cost(half)


def test_rows_sharing_their_randomness_are_caught():
    def lazy(key, P):
        u = jax.random.uniform(key)
        return jnp.sum(jnp.cumsum(P / P.sum(1, keepdims=True), 1) < u, axis=1)
    with pytest.raises(AssertionError, match="own randomness"):
        check.stratified_pairs(lazy)


def test_power_law_and_flops():
    x = np.array([1.0, 0.1, 0.01])
    check.power_law(0.9, x, 10 * x**-0.9)
    with pytest.raises(AssertionError, match="log K"):
        check.power_law(2.0, x, 10 * x**-0.9)
    cost = dict(d=10, limit=1e9, pairs=1e3, iterations=lambda e: 10 / e)
    check.within_flops(100, 0.1, **cost)
    with pytest.raises(AssertionError, match="over the limit"):
        check.within_flops(1e6, 0.1, **cost)
    with pytest.raises(AssertionError, match="wastes"):
        check.within_flops(10, 0.1, least_n=50, **cost)
