"""ReFlow against what is known exactly: the identity of straightness and crossing, closed forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_fields import Affine, Straight, rotation
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.flows.objectives import FlowMatching
from otlab.flows.reflow.distillation import Distillation, FlowGuided, TwoStep, one_step
from otlab.flows.reflow.pairs import Mixture, blur_noise, generated_pairs, inverted_pairs
from otlab.flows.reflow.projection import normal, project, whiten
from otlab.flows.reflow.straightness import MixtureVelocity, balance, loss_by_time
from otlab.flows.sampling import sample
from otlab.learning.fit import fit
from otlab.learning.loop import Step
from otlab.learning.nets.mlp import Velocity

MIXTURE = MixtureVelocity(jnp.array([0.5, 0.3, 0.2]),
                          jnp.array([[2.0, 0.0], [-1.5, 1.5], [0.0, -2.0]]), jnp.float32(0.3))


@pytest.fixture(scope="module")
def drawn():
    """Independent pairs of the mixture, and other sources, 8,192 of each."""
    keys = jax.random.split(jax.random.key(0), 3)
    x0, z0 = (jax.random.normal(k, (8192, 2)) for k in keys[:2])
    return x0, MIXTURE.sample(keys[2], 8192), z0


def test_oracle_the_identity_of_straightness_and_crossing(drawn):
    b = balance(MIXTURE, *drawn, steps=100)
    left = float(b.before - b.after)
    spread = float(jnp.std(jnp.sum((drawn[1] - drawn[0]) ** 2, 1))) / 8192**0.5
    assert abs(float(b.residual)) < 4 * spread + 0.02 * left
    assert float(b.straightness) > 10 * spread and float(b.crossing) > 10 * spread


def test_oracle_the_identity_fails_for_another_velocity(drawn):
    class Wrong(eqx.Module):
        def __call__(self, t, x):
            return 0.7 * MIXTURE(t, x)

    b = balance(Wrong(), *drawn, steps=100)
    assert abs(float(b.residual)) > 0.1 * float(b.before)


def test_oracle_the_mixture_velocity_is_the_conditional_mean(drawn):
    x0, x1, _ = drawn
    t = jnp.float32(0.6)
    x_t, gaps = (1 - t) * x0 + t * x1, x1 - x0
    for place in ([1.0, 0.2], [-0.6, 0.6]):
        near = jnp.sum((x_t - jnp.array(place)) ** 2, 1) < 0.15**2
        mean, spread = gaps[near].mean(0), gaps[near].std(0) / float(near.sum()) ** 0.5
        exact = jax.vmap(MIXTURE, (None, 0))(t, x_t[near]).mean(0)
        assert near.sum() > 30 and (jnp.abs(mean - exact) < 4 * spread).all()


def test_oracle_one_gaussian_has_the_optimal_affine_flow():
    field = Straight(jnp.array([3.0, -1.0]), jnp.float32(0.4))
    one = MixtureVelocity(jnp.ones(1), field.m[None], jnp.float32(0.4))
    x0 = jax.random.normal(jax.random.key(1), (64, 2))
    # Independent pairs of Gaussians do not travel straight, but end where the optimal map ends.
    np.testing.assert_allclose(sample(one, x0, steps=64, method="rk4"),
                               sample(field, x0, steps=1), atol=2e-4)


def test_invariant_a_straight_flow_has_no_crossing_on_its_own_pairs():
    field = Straight(jnp.array([1.0, 2.0]), jnp.float32(0.5))
    x0, x1 = generated_pairs(jax.random.key(2), field, 64, (2,), steps=1)
    b = balance(field, x0, x1, x0, steps=8)
    assert float(b.straightness) < 1e-9 and float(b.crossing) < 1e-9
    np.testing.assert_allclose(b.before, b.after, rtol=1e-5)


def test_invariant_the_loss_by_time_averages_to_the_crossing(drawn):
    curve = loss_by_time(MIXTURE, drawn[0], drawn[1], times=20)
    assert curve.shape == (20,) and (curve >= 0).all()
    np.testing.assert_allclose(curve.mean(), balance(MIXTURE, *drawn, steps=20).crossing, rtol=1e-5)
    # At t = 0 nothing of the datum is known: what is left is its whole variance.
    ends = loss_by_time(MIXTURE, drawn[0], drawn[1], times=1000)[jnp.array([0, -1])]
    np.testing.assert_allclose(ends, [drawn[1].var(0).sum(), 2.0], rtol=0.05)


def test_oracle_the_loss_by_time_looks_at_the_middles_of_the_intervals():
    still = jnp.zeros((3, 2))                    # v = (t, t) on points that stay: a loss of 2 t²
    curve = loss_by_time(lambda t, x: t + 0 * x, still, still, times=4)
    np.testing.assert_allclose(curve, 2 * (np.array([1, 3, 5, 7]) / 8) ** 2, rtol=1e-6)


def test_oracle_pairs_of_a_rotation_and_back():
    field = rotation(1.5)
    x0, x1 = generated_pairs(jax.random.key(3), field, 16, (2,), steps=40, method="rk4")
    angle = jnp.array([[np.cos(1.5), -np.sin(1.5)], [np.sin(1.5), np.cos(1.5)]], jnp.float32)
    np.testing.assert_allclose(x1, x0 @ angle.T, atol=1e-4)
    noise, same = inverted_pairs(field, x1, steps=40, method="rk4")
    np.testing.assert_allclose(noise, x0, atol=1e-4)
    np.testing.assert_array_equal(same, x1)


def test_oracle_blurred_noise_stays_normal_with_the_right_correlation():
    x0 = jax.random.normal(jax.random.key(4), (20_000, 1))
    for beta in (0.0, 0.6, 1.0):
        z = blur_noise(jax.random.key(5), x0, beta)
        assert abs(float(z.std()) - 1) < 0.02
        assert abs(float((z * x0).mean()) - np.sqrt(1 - beta**2)) < 0.03
    np.testing.assert_array_equal(blur_noise(jax.random.key(5), x0, 0.0), x0)


@settings(max_examples=10, deadline=None)
@given(share=st.floats(0, 1))
def test_invariant_a_mixture_holds_its_share_and_never_splits_a_pair(share):
    made = (jnp.arange(50.0)[:, None], jnp.arange(50.0)[:, None] + 100)
    real = (jnp.arange(7.0)[:, None] - 50, jnp.arange(7.0)[:, None] + 50)
    x0, x1 = MIX(made, real, share, jax.random.key(6))
    inverted = np.asarray(x0[:, 0] < 0)
    assert abs(inverted.mean() - share) < 0.06
    np.testing.assert_array_equal(x1[:, 0] - x0[:, 0], 100)


@jax.jit
def MIX(made, real, share, key):
    return Mixture(made, real, share=share, batch=2048)(key)


def test_invariant_annealing_ends_in_the_pairs_themselves():
    made = (jnp.arange(50.0)[:, None], jnp.arange(50.0)[:, None] + 100)
    mix = Mixture(made, batch=256, anneal=10)
    np.testing.assert_allclose([mix.beta(k) for k in (0, 5, 10, 99)], [1, 0.5, 0, 0])
    np.testing.assert_allclose(Mixture(made, batch=2).beta(0), 0)
    key = jax.random.key(7)
    early, late = (mix(key, step=Step(jnp.asarray(k), jnp.asarray(20))) for k in (0, 10))
    np.testing.assert_array_equal(early[1], late[1])
    assert abs(float(early[0].mean())) < 0.3 and (late[1] - late[0] == 100).all()
    with_steps = fit(key, Velocity(1, 4, 1, key=key), mix, steps=3, batch=256, rate=1e-3,
                     objective=FlowMatching())
    assert np.isfinite(with_steps.losses).all()


def test_oracle_distillation_is_the_squared_gap_of_one_step():
    field = Affine(jnp.array([[0.3, -1.2], [0.8, -0.5]]), jnp.ones(2))
    x0, x1 = (jax.random.normal(k, (32, 2)) for k in jax.random.split(jax.random.key(8)))
    loss = Distillation()(jax.random.key(9), field, x0, x1)
    np.testing.assert_allclose(loss, jnp.sum((one_step(field, x0) - x1) ** 2) / 32, rtol=1e-5)


@pytest.mark.parametrize("own", [True, False])
def test_invariant_the_teacher_of_straight_paths_is_its_own_target(own):
    teacher = Straight(jnp.array([1.0, 2.0]), jnp.float32(0.5))
    x0 = jax.random.normal(jax.random.key(10), (32, 2))
    loss = TwoStep(teacher, own=own)(jax.random.key(11), teacher, x0, x0)
    assert float(loss) < 1e-9


def test_oracle_the_two_step_target_is_two_euler_steps():
    teacher = Affine(jnp.array([[0.3, -1.2], [0.8, -0.5]]), jnp.ones(2))
    x0 = jax.random.normal(jax.random.key(12), (8, 2))
    s = jnp.full(8, 0.25)
    first = jax.vmap(teacher, (None, 0))(jnp.float32(0), x0)
    mean = TwoStep(teacher).target(s, x0, first)
    end = sample(teacher, x0, times=jnp.array([0, 0.25, 1.0]))
    np.testing.assert_allclose(x0 + mean, end, rtol=1e-5)


def test_gradient_no_slope_flows_through_the_two_step_target():
    teacher = Affine(jnp.eye(2), jnp.ones(2))
    student = Affine(0.5 * jnp.eye(2), jnp.zeros(2))
    x0 = jax.random.normal(jax.random.key(13), (8, 2))
    key = jax.random.key(14)
    loss = TwoStep(teacher, low=0.5, high=0.5)
    slope = jax.grad(lambda b: loss(key, Affine(student.A, b), x0, x0))(student.b)
    zero, half = jnp.zeros(8), jnp.full(8, 0.5)
    guess = jax.vmap(student)(zero, x0)
    target = loss.target(half, x0, guess)
    np.testing.assert_allclose(slope, 2 * (guess - target).mean(0), rtol=1e-4)


def test_invariant_flow_guided_is_the_sum_of_its_parts():
    teacher = Affine(jnp.eye(2), jnp.ones(2))
    student = Affine(0.5 * jnp.eye(2), jnp.zeros(2))
    x0, x1 = (jax.random.normal(k, (8, 2)) for k in jax.random.split(jax.random.key(15)))
    key, both = jax.random.key(16), FlowGuided(teacher, weight=0.3)
    parts = Distillation()(key, student, x0, x1) + 0.3 * both.two_step(key, student, x0, x1)
    np.testing.assert_allclose(both(key, student, x0, x1), parts, rtol=1e-6)


def test_oracle_whitening_leaves_no_moment_and_moves_least():
    x = jax.random.normal(jax.random.key(17), (500, 3)) @ jnp.diag(jnp.array([2.0, 1, 0.3])) + 1
    z = whiten(x)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(z.T @ z / len(z), np.eye(3), atol=1e-4)
    # Among whitening maps the symmetric one moves points least: a turned one moves them more.
    turn = jnp.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert jnp.sum((z - x) ** 2) < jnp.sum((z @ turn - x) ** 2)


def test_invariant_projection_lowers_the_divergence_and_keeps_the_number():
    x = 0.6 * jax.random.normal(jax.random.key(18), (128, 2)) + 0.5
    moved = project(jax.random.key(19), x, normal(2), epsilon=0.2, steps=10, batch=128)
    assert moved.points.shape == x.shape
    assert moved.divergences[-3:].mean() < 0.5 * moved.divergences[0]
    spread = float((moved.points**2).sum(1).mean())
    assert abs(spread - 2) < abs(float((x**2).sum(1).mean()) - 2)


def test_oracle_projecting_a_point_mass_reaches_the_target_mean():
    x, y = jnp.zeros((16, 2)), jnp.broadcast_to(jnp.array([1.0, -2.0]), (16, 2))
    moved = project(jax.random.key(20), x, y, epsilon=0.5, steps=1, batch=16)
    np.testing.assert_allclose(moved.points, y, atol=1e-3)


@pytest.mark.parametrize(("make", "words"), [
    (lambda x: Mixture((x, x), share=0.5, batch=4), "inverted=inverted_pairs"),
    (lambda x: Mixture((x, x), (x, x), share=1.5, batch=4), "between 0 and 1"),
    (lambda x: Mixture((x, x), (x[:, :1], x[:, :1]), share=0.5, batch=4), "points of one shape"),
    (lambda x: Mixture((x, x[:3]), batch=4), "paired row by row"),
    (lambda x: Mixture((x, x), batch=4, anneal=-1), "anneal must be a number of steps"),
    (lambda x: TwoStep(None, low=0.0), "split time"),
    (lambda x: project(jax.random.key(0), x, normal(2), epsilon=0.1, steps=1, batch=99), "lower"),
    (lambda x: project(jax.random.key(0), x, normal(3), epsilon=0.1, steps=1, batch=4), "coord"),
    (lambda x: project(jax.random.key(0), x, normal(2), epsilon=0, steps=1, batch=4), "epsilon"),
])
def test_failure_says_the_way_out(make, words):
    with pytest.raises(ValueError, match=words):
        make(jnp.zeros((6, 2)))
