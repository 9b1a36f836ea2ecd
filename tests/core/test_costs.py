"""Costs and their scale, against float64 NumPy tables."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from otlab.core.costs import (
    distances,
    great_circle,
    manhattan,
    mean_cost,
    neg_dot,
    paired_cost,
    power_cost,
    relative_epsilon,
    resolve_cost,
    squared_distances,
    squared_great_circle,
    std_cost,
)


def cityblock(x, y):
    return jnp.sum(jnp.abs(x[:, None] - y), axis=-1)


TABLES = {
    "sqeuclidean": oracles.squared,
    "dot": oracles.dot,
    cityblock: lambda x, y: np.abs(np.asarray(x, np.float64)[:, None] - y).sum(-1),
}


@pytest.fixture
def clouds(key):
    key_x, key_y = jax.random.split(key)
    x = jax.random.normal(key_x, (37, 5)) * jnp.array([1.0, 2.0, 0.1, 1.0, 3.0])
    return x + 0.7, jax.random.normal(key_y, (53, 5)) ** 3 - 1.5


@pytest.mark.parametrize("cost", ["sqeuclidean", "dot"])
def test_oracle_tables_match_float64(clouds, cost):
    C = resolve_cost(cost)(*clouds)
    assert C.shape == (37, 53) and C.dtype == jnp.float32
    np.testing.assert_allclose(C, TABLES[cost](*clouds), rtol=2e-6, atol=2e-4)


def test_oracle_squared_distances_stay_accurate_far_from_the_origin(clouds):
    x, y = (jnp.round(v * 64) / 64 + 4096 for v in clouds)  # exact in float32
    np.testing.assert_allclose(squared_distances(x, y), oracles.squared(x, y), rtol=1e-4, atol=1e-2)


def test_invariant_squared_distances_are_never_negative(clouds):
    x, _ = clouds
    C = squared_distances(x, x)
    assert (C >= 0).all() and jnp.diag(C).max() < 1e-3


def test_gradient_squared_distances_match_differences(clouds):
    x, y = clouds
    grad = jax.grad(lambda x, y: squared_distances(x, y).sum(), argnums=(0, 1))(x, y)
    gap = x[:, None] - y
    np.testing.assert_allclose(grad[0], 2 * gap.sum(1), rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(grad[1], -2 * gap.sum(0), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("cost", TABLES, ids=["sqeuclidean", "dot", "callable"])
def test_oracle_std_and_mean_match_the_table(clouds, cost):
    C = TABLES[cost](*clouds)
    centred = C - C.mean(0) - C.mean(1, keepdims=True) + C.mean()
    np.testing.assert_allclose(std_cost(*clouds, cost=cost, centre=False), C.std(), rtol=1e-4)
    np.testing.assert_allclose(std_cost(*clouds, cost=cost), centred.std(), rtol=1e-4)
    np.testing.assert_allclose(mean_cost(*clouds, cost=cost), C.mean(), rtol=1e-4)


def test_invariant_centred_std_ignores_translation_and_plain_std_does_not(clouds):
    x, y = clouds
    for cost in ("dot", "sqeuclidean"):
        np.testing.assert_allclose(
            std_cost(x, y + 3, cost=cost), std_cost(x, y, cost=cost), rtol=1e-5
        )
    assert std_cost(x, y + 9, centre=False) > 1.5 * std_cost(x, y, centre=False)


def test_invariant_squared_cost_needs_twice_the_epsilon_of_dot(clouds):
    double = 2 * relative_epsilon(*clouds, 0.1, cost="dot")
    np.testing.assert_allclose(
        relative_epsilon(*clouds, 0.1, cost="sqeuclidean"), double, rtol=1e-6
    )


def test_invariant_std_scales_with_the_clouds(clouds):
    x, y = clouds
    np.testing.assert_allclose(std_cost(3 * x, 2 * y), 6 * std_cost(x, y), rtol=1e-5)


def test_invariant_std_builds_no_table():
    n, m, d = 700, 600, 2
    shapes = jax.make_jaxpr(lambda x, y: std_cost(x, y))(jnp.ones((n, d)), jnp.ones((m, d)))
    assert max(v.aval.size for e in shapes.eqns for v in e.outvars) <= n * d


@pytest.mark.parametrize("cost", ["euclid", 3, None])
def test_failure_unknown_cost_names_the_known_ones(clouds, cost):
    with pytest.raises(ValueError, match="dot.*sqeuclidean.*function"):
        std_cost(*clouds, cost=cost)


def test_invariant_double_precision_is_kept(float64):
    x = jnp.linspace(0.0, 1.0, 6).reshape(3, 2)
    assert neg_dot(x, x).dtype == std_cost(x, x).dtype == jnp.float64


GROUND = {
    distances: lambda z: np.sqrt((z**2).sum(-1)),
    manhattan: lambda z: np.abs(z).sum(-1),
    power_cost(1.5): lambda z: (np.abs(z) ** 1.5).sum(-1),
}


@pytest.mark.parametrize("cost", GROUND, ids=lambda cost: cost.__name__)
def test_oracle_ground_costs_match_float64(clouds, cost):
    x, y = (np.asarray(v, np.float64) for v in clouds)
    C = GROUND[cost](x[:, None] - y)
    np.testing.assert_allclose(cost(*clouds), C, rtol=1e-5)
    np.testing.assert_allclose(mean_cost(*clouds, cost=cost), C.mean(), rtol=1e-5)
    np.testing.assert_allclose(paired_cost(clouds[0], clouds[1][:37], cost=cost),
                               np.diag(C[:, :37]), rtol=1e-5)


def test_oracle_paired_cost_of_a_named_cost(clouds):
    x, y = clouds[0] + 100, clouds[1][:37] + 100
    expected = np.diag(oracles.squared(x, y))
    np.testing.assert_allclose(paired_cost(x, y), expected, rtol=1e-5)


def test_oracle_great_circle_is_the_angle(key):
    x, y = (v / jnp.linalg.norm(v, axis=1, keepdims=True)
            for v in jax.random.normal(key, (2, 30, 3)))
    x64, y64 = np.asarray(x, np.float64), np.asarray(y, np.float64)
    angle = np.arccos(np.clip(x64 @ y64.T, -1, 1))
    np.testing.assert_allclose(great_circle(x, y), angle, atol=1e-5)
    np.testing.assert_allclose(squared_great_circle(x, y), angle**2, atol=1e-4)
    np.testing.assert_allclose(great_circle(x, -x).diagonal(), np.pi, atol=1e-6)
    small = x + 1e-4 * jnp.cross(x, y)  # where arccos of a float32 product has no digits left
    expected = 1e-4 * np.linalg.norm(np.cross(x64, y64), axis=1)
    np.testing.assert_allclose(paired_cost(x, small, cost=great_circle), expected, rtol=5e-3)


@pytest.mark.parametrize("cost", [distances, manhattan, power_cost(1.5), great_circle,
                                  squared_great_circle], ids=lambda cost: cost.__name__)
def test_gradient_of_ground_costs_is_finite_everywhere_and_right(float64, key, cost):
    x, y, v = jax.random.normal(key, (3, 7, 3))
    x, y = (z / jnp.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    total = jax.jit(lambda x, y: cost(x, y).sum())
    grad = jax.jit(jax.grad(total))
    assert jnp.isfinite(grad(x, x)).all() and jnp.isfinite(grad(x, -x)).all()
    h = 1e-6
    slope = (total(x + h * v, y) - total(x - h * v, y)) / (2 * h)
    np.testing.assert_allclose(jnp.sum(grad(x, y) * v), slope, rtol=1e-6)


def test_failure_power_cost_below_one():
    with pytest.raises(ValueError, match="p >= 1"):
        power_cost(0.5)
    assert power_cost(3.0) is power_cost(3.0)  # one function for each p: compiled once
