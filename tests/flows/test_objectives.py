"""The loss: its weight, its feature map, its time laws, its labels."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_fields import Affine
from scipy import stats

from otlab.flows.objectives import FlowMatching, uniform, velocities
from otlab.flows.reflow.times import Exponential

FIELD = Affine(jnp.array([[0.3, -1.0], [0.5, 0.2]]), jnp.array([1.0, -1.0]))


@pytest.fixture(scope="module")
def pair():
    key_x, key_y = jax.random.split(jax.random.key(4))
    return jax.random.normal(key_x, (64, 2)), 2 + jax.random.normal(key_y, (64, 2))


def gaps(key, x0, x1, times=uniform):
    """Times (n,) and gaps (n, 2) of FIELD, in NumPy."""
    t = np.asarray(times(key, len(x0), x0.dtype), np.float64)
    x0, x1 = np.asarray(x0, np.float64), np.asarray(x1, np.float64)
    x_t = (1 - t)[:, None] * x0 + t[:, None] * x1
    return t, x_t @ np.asarray(FIELD.A, np.float64).T + np.asarray(FIELD.b) - (x1 - x0)


def test_oracle_the_plain_loss_in_numpy(pair, key):
    _, gap = gaps(key, *pair)
    found = FlowMatching()(key, FIELD, *pair)
    assert float(found) == pytest.approx((gap**2).sum(1).mean(), rel=1e-5)


def test_oracle_weight_of_times_and_of_squares(pair, key):
    t, gap = gaps(key, *pair)
    squares = (gap**2).sum(1)
    found = FlowMatching(weight=lambda t, s: 1 / (0.1 + t) + jnp.sqrt(s))(key, FIELD, *pair)
    assert float(found) == pytest.approx(((1 / (0.1 + t) + np.sqrt(squares)) * squares).mean(),
                                         rel=1e-5)


def test_gradient_does_not_pass_through_the_weight(pair, key):
    def slope(objective):
        return eqx.filter_grad(lambda field: objective(key, field, *pair))(FIELD)

    _, gap = gaps(key, *pair)
    w = 1 / np.sqrt((gap**2).sum(1))
    # d/db of mean w |A x + b - v|^2 with w held still is 2 mean(w gap).
    np.testing.assert_allclose(slope(FlowMatching(weight=lambda t, s: s**-0.5)).b,
                               2 * (w[:, None] * gap).mean(0), rtol=1e-4)


def test_oracle_feature_map_of_one_point(pair, key):
    M = np.array([[2.0, 1.0], [0.0, -3.0]])
    _, gap = gaps(key, *pair)
    found = FlowMatching(feature=lambda z: jnp.asarray(M, jnp.float32) @ z)(key, FIELD, *pair)
    assert float(found) == pytest.approx(((gap @ M.T) ** 2).sum(1).mean(), rel=1e-5)


def test_invariant_a_linear_feature_map_keeps_the_minimiser(pair, key):
    def turn(z):
        return jnp.array([[2.0, 1.0], [0.0, -3.0]]) @ z

    x0, _ = pair
    still = Affine(jnp.zeros((2, 2)), jnp.array([1.0, 2.0]))
    x1 = x0 + still.b                                             # v = b exactly
    grads = eqx.filter_grad(lambda f: FlowMatching(feature=turn)(key, f, x0, x1))(still)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads)) < 1e-5


def test_oracle_uniform_times_pass_kolmogorov_smirnov(key):
    t = np.asarray(uniform(key, 20_000, jnp.float32), np.float64)
    assert ((t >= 0) & (t < 1)).all()
    assert stats.kstest(t, stats.uniform.cdf).pvalue > 1e-3


def test_invariant_the_loss_uses_its_time_law(pair, key):
    law = Exponential(50.0)
    _, gap = gaps(key, *pair, times=law)
    assert float(FlowMatching(times=law)(key, FIELD, *pair)) == pytest.approx(
        (gap**2).sum(1).mean(), rel=1e-5)


class Labelled(eqx.Module):
    """v(t, x, label): a constant of each label."""

    table: jax.Array

    def __call__(self, t, x, label):
        return self.table[label]


def test_oracle_labels_reach_the_model_row_by_row(pair, key):
    table, labels = jnp.array([[1.0, 0.0], [0.0, 5.0], [-2.0, 2.0]]), jnp.arange(64) % 3
    t = jnp.zeros(64)
    np.testing.assert_array_equal(velocities(Labelled(table), t, pair[0], labels), table[labels])
    gap = np.asarray(table)[np.asarray(labels)] - np.asarray(pair[1] - pair[0])
    assert float(FlowMatching()(key, Labelled(table), *pair, labels)) == pytest.approx(
        (gap**2).sum(1).mean(), rel=1e-5)


def test_failure_unpaired_points_name_the_way_out(pair, key):
    with pytest.raises(ValueError, match=r"\(64, 2\) and \(7, 2\).*partners"):
        FlowMatching()(key, FIELD, pair[0], pair[1][:7])
