"""The mean flow objective knows exact average velocities, and training finds them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_fields import Straight
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.scipy.linalg import expm

from otlab.flows import sampling
from otlab.flows.objectives import FlowMatching
from otlab.flows.paths import PathSample
from otlab.flows.semidiscrete_flow import mean_flow
from otlab.flows.semidiscrete_flow.mean_flow import Adaptive, Jump, MeanFlow, MeanVelocity
from otlab.learning.fit import fit

TURN = jnp.array([[0.0, -2.0], [2.0, 0.0]])


class Turn(eqx.Module):
    """Average velocity of a rotation, (exp((r - t) A) - 1) x / (r - t), by its power series."""

    sign: float = 1.0

    def __call__(self, t, r, x):
        far, term, total = self.sign * (r - t), TURN @ x, TURN @ x
        for k in range(2, 22):
            term = far / k * (TURN @ term)
            total = total + term
        return total


def turning(t, x0, x1):
    """The path of the rotation: its velocity is not constant, so that r - t matters."""
    x_t = expm(t * TURN) @ x0
    return PathSample(x_t, TURN @ x_t)


@pytest.fixture(scope="module")
def cloud():
    return jax.random.normal(jax.random.key(1), (64, 2))


def test_oracle_exact_average_velocity_has_no_loss(cloud, key):
    objective = MeanFlow(path=turning, apart=1.0)
    assert objective(key, Turn(), cloud, cloud) < 1e-8
    assert objective(key, Turn(-1.0), cloud, cloud) > 0.1  # time the other way


@pytest.mark.parametrize("steps", [1, 3])
def test_oracle_any_number_of_jumps_is_the_whole_flow(cloud, steps):
    want = cloud @ expm(TURN).T
    np.testing.assert_allclose(mean_flow.sample(Turn(), cloud, steps=steps), want, atol=1e-4)


def test_oracle_equal_times_are_flow_matching(cloud, key):
    """With r = t the loss is flow matching's at the same times."""
    field, target = Straight(jnp.ones(2), jnp.float32(2)), 3 * cloud[::-1]

    def even(key, n, dtype):
        return jnp.linspace(0, 1, n, dtype=dtype)

    plain = FlowMatching(times=even)(key, field, cloud, target)
    mean = MeanFlow(times=even, apart=0.0)(key, lambda t, r, x: field(t, x), cloud, target)
    np.testing.assert_allclose(mean, plain, rtol=1e-6)


def test_gradient_leaves_the_target_still(cloud, key, float64):
    """The gradient is that of the loss with its target frozen, by central differences."""
    x0, x1 = jnp.asarray(cloud, jnp.float64), jnp.asarray(2 * cloud[::-1], jnp.float64)

    def field(theta):
        return lambda t, r, x: theta * jnp.tanh(x) * (1 + 2 * (r - t))

    def frozen(theta, at):
        k_a, k_b, _ = jax.random.split(key, 3)
        a, b = (jax.random.uniform(k, (64,), jnp.float64) for k in (k_a, k_b))
        t, r = jnp.minimum(a, b)[:, None], jnp.maximum(a, b)[:, None]
        x, v = (1 - t) * x0 + t * x1, x1 - x0
        slope = at * ((1 - jnp.tanh(x) ** 2) * v * (1 + 2 * (r - t)) - 2 * jnp.tanh(x))
        return jnp.sum((field(theta)(t, r, x) - v - (r - t) * slope) ** 2) / 64

    theta, step = jnp.float64(0.8), 1e-5
    got = jax.grad(lambda c: MeanFlow(apart=1.0)(key, field(c), x0, x1))(theta)
    want = (frozen(theta + step, theta) - frozen(theta - step, theta)) / (2 * step)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_training_finds_one_step_samples(key):
    """N(0, 1) to N(2, 1/4) by independent pairs, whose exact flow is x -> 2 + x / 2.

    One Euler step of the velocity of the moment sends every noise to the mean; one jump does not.
    """
    key_x, key_y, key_model, key_fit, key_test = jax.random.split(key, 5)
    x0 = jax.random.normal(key_x, (8192, 1))
    x1 = 2 + 0.5 * jax.random.normal(key_y, (8192, 1))
    model = MeanVelocity(1, 32, 2, key=key_model)
    trained = fit(key_fit, model, (x0, x1), steps=3000, batch=256, rate=5e-3,
                  objective=MeanFlow(apart=0.5)).require_finite().model
    noise = jax.random.normal(key_test, (4096, 1))
    one = mean_flow.sample(trained, noise, steps=1)
    assert abs(float(one.mean()) - 2) < 0.06 and 0.35 < float(one.std()) < 0.55
    assert float(jnp.abs(one - (2 + noise / 2)).mean()) < 0.12
    euler = sampling.sample(Jump(trained), noise, steps=1)
    assert abs(float(euler.mean()) - 2) < 0.06 and float(euler.std()) < 0.12
    many = sampling.sample(Jump(trained), noise, steps=50)
    np.testing.assert_allclose([many.mean(), many.std()], [2, 0.5], atol=0.05)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 8), power=st.floats(0, 1))
def test_invariant_weights_are_positive_and_fall_with_the_gap(n, power):
    squares = jnp.linspace(0, 5, n)
    w = Adaptive(power)(None, squares)
    assert (w > 0).all() and (jnp.diff(w) <= 1e-6).all()


def test_weight_scales_the_loss(cloud, key):
    half = MeanFlow(path=turning, weight=lambda t, squares: jnp.full_like(squares, 0.5))
    whole = MeanFlow(path=turning)
    np.testing.assert_allclose(2 * half(key, Turn(-1.0), cloud, cloud),
                               whole(key, Turn(-1.0), cloud, cloud), rtol=1e-5)


def test_labels_reach_the_network(key):
    model = MeanVelocity(2, 8, 1, classes=3, key=key)
    x = jnp.ones((4, 2))
    out = mean_flow.sample(model, x, condition=jnp.arange(4))
    assert len(np.unique(np.asarray(out)[:, 0])) == 4  # "no label" is a fourth answer
    assert jnp.isfinite(MeanFlow()(key, model, x, 2 * x, jnp.arange(4)))


def test_failure_names_what_arrived(key, cloud):
    with pytest.raises(ValueError, match="0 to 1; got 1.5"):
        MeanFlow(apart=1.5)
    with pytest.raises(ValueError, match=r"shape \(2,\); got x of shape \(3,\)"):
        MeanVelocity(2, 8, 1, key=key)(0.0, 1.0, jnp.ones(3))
    with pytest.raises(ValueError, match="a label from 0 to 3"):
        MeanVelocity(2, 8, 1, classes=3, key=key)(0.0, 1.0, jnp.ones(2))
    with pytest.raises(ValueError, match="steps must be a whole number"):
        mean_flow.sample(Turn(), cloud, steps=0)
    with pytest.raises(ValueError, match=r"\(64, 2\) and \(3, 2\)"):
        MeanFlow()(key, Turn(), cloud, cloud[:3])
