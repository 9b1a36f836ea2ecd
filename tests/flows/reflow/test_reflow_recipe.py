"""The switches of Simple ReFlow: laws of time, weights, features, dropout, grids and solvers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_fields import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.flows.objectives import FlowMatching
from otlab.flows.reflow.recipe import (
    Dropped,
    HighPass,
    Normalised,
    Recipe,
    WithDropout,
    denoiser_weight,
)
from otlab.flows.reflow.times import Cosh, Exponential, SigmoidGrid, noise_end
from otlab.flows.sampling import Ratio, heun, sample
from otlab.learning.fit import fit
from otlab.learning.nets.mlp import Velocity


def mass_below(law, t):
    s = np.linspace(0, t, 2001)
    return np.trapezoid(law.density(jnp.asarray(s, jnp.float32)), s)


LAWS = {"exponential": (Exponential, 0.05, 100.0), "cosh": (Cosh, 0.1, 10.0)}


@pytest.mark.parametrize("law", LAWS)
@settings(max_examples=12, deadline=None)
@given(u=st.floats(0.01, 0.99), where=st.floats(0, 1))
def test_oracle_quantiles_invert_the_integral_of_the_density(law, u, where):
    make, low, high = LAWS[law]
    law = make(low * (high / low) ** where)
    t = float(law.quantile(jnp.float32(u)))
    mass = mass_below(law, t)
    assert mass == pytest.approx(u, abs=2e-3)


def test_oracle_base_is_the_ratio_of_noise_to_data():
    law = Exponential(10.0)
    assert float(law.density(jnp.float32(0)) / law.density(jnp.float32(1))) == pytest.approx(10)
    # The sheet's own formula, with its time turned round: t = log10(1 + 9 u).
    u = jnp.linspace(0, 1, 11)
    np.testing.assert_allclose(1 - law.quantile(1 - u), jnp.log10(1 + 9 * u), atol=1e-6)


def test_invariant_base_one_is_uniform_and_the_limit_is_smooth():
    u = jnp.linspace(0, 1, 11)
    np.testing.assert_allclose(Exponential(1.0).quantile(u), u, atol=1e-6)
    for base in (1.0009, 1.0011):             # on both sides of where the formula changes
        np.testing.assert_allclose(Exponential(base).quantile(u), u, atol=2e-4)
    assert (np.diff(Exponential(100.0).quantile(u)) > 0).all()


@pytest.mark.parametrize("law", [Exponential(10.0), Cosh(4.0)])
def test_invariant_draws_follow_the_density(law):
    t = np.asarray(law(jax.random.key(0), 20_000))
    assert t.min() >= 0 and t.max() <= 1
    assert (t < 0.25).mean() == pytest.approx(mass_below(law, 0.25), abs=0.015)
    assert (noise_end(jax.random.key(0), 5) == 0).all()


@pytest.mark.parametrize("kappa", [0.0, 1e-3, 5.0, 20.0])
def test_oracle_the_grid_is_the_sigmoid_formula(kappa):
    times = SigmoidGrid(6, kappa).times()
    i = np.arange(7) / 6
    exact = i
    if kappa > 0.1:
        s = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
        exact = (s(kappa * (i - 0.5)) - s(-kappa / 2)) / (s(kappa / 2) - s(-kappa / 2))
    np.testing.assert_allclose(times, exact, atol=1e-3 if kappa == 1e-3 else 1e-5)
    assert times[0] == 0 and times[-1] == 1 and (np.diff(times) > 0).all()


def test_gradient_of_the_normalised_loss_is_that_of_the_logarithm():
    x0, x1 = (jax.random.normal(k, (16, 2)) for k in jax.random.split(jax.random.key(1)))
    key, A = jax.random.key(2), jnp.eye(2)

    def loss(weight, scale, b):
        return FlowMatching(weight=weight)(key, Affine(A, b), scale * x0, scale * x1)

    def logs(b):
        t = jax.random.uniform(key, (16,))
        x = (1 - t[:, None]) * x0 + t[:, None] * x1
        return jnp.log(jnp.sum((x + b - (x1 - x0)) ** 2, 1)).mean()

    slope = jax.grad(lambda b: loss(Normalised(1e-6), 1.0, b))(jnp.ones(2))
    np.testing.assert_allclose(slope, jax.grad(logs)(jnp.ones(2)), rtol=1e-3)
    values = [loss(Normalised(1e-6), scale, jnp.zeros(2)) for scale in (1.0, 100.0)]
    np.testing.assert_allclose(values, 1, rtol=1e-3)


def test_oracle_the_denoiser_weight_is_the_squared_gap_of_denoisers():
    x0, x1 = (jax.random.normal(k, (16, 2)) for k in jax.random.split(jax.random.key(3)))
    key, field = jax.random.key(4), Affine(jnp.eye(2), jnp.ones(2))
    t = jax.random.uniform(key, (16,))[:, None]
    x_t = (1 - t) * x0 + t * x1
    denoised = x_t + (1 - t) * jax.vmap(field)(t[:, 0], x_t)
    np.testing.assert_allclose(FlowMatching(weight=denoiser_weight)(key, field, x0, x1),
                               jnp.sum((denoised - x1) ** 2) / 16, rtol=1e-4)


def test_oracle_the_high_pass_is_linear_invertible_and_blind_to_the_mean():
    phi = HighPass((4, 4), 2.0)
    matrix = np.asarray(jax.vmap(phi)(jnp.eye(16))).T
    values = np.linalg.eigvals(matrix)
    assert np.abs(values).min() > 0.99 and np.abs(values).max() < 1 + 2 * 4 / 3 + 1e-3
    np.testing.assert_allclose(phi(jnp.ones(16)), 1, rtol=1e-5)
    board = jnp.asarray((-1.0) ** np.add.outer(range(4), range(4)), jnp.float32).reshape(-1)
    assert jnp.abs(phi(board)).min() > 2         # a checkerboard is all high frequency
    x, y = jax.random.normal(jax.random.key(5), (2, 16))
    np.testing.assert_allclose(phi(2 * x - y), 2 * phi(x) - phi(y), atol=1e-4)


def test_invariant_dropout_of_nothing_is_the_network():
    model = Velocity(3, 8, 2, key=jax.random.key(6))
    x, t = jax.random.normal(jax.random.key(7), (3,)), jnp.float32(0.3)
    np.testing.assert_allclose(Dropped(model, jnp.float32(0))(t, x, jax.random.key(8)),
                               model(t, x), rtol=1e-5)
    key, x0 = jax.random.key(9), jax.random.normal(jax.random.key(10), (6, 3))
    plain, dropped = FlowMatching(), WithDropout(FlowMatching(), jnp.float32(0))
    np.testing.assert_allclose(dropped(key, model, x0, -x0),
                               plain(jax.random.split(key)[0], model, x0, -x0), rtol=1e-5)


def test_invariant_dropped_units_differ_by_pair_and_keep_the_mean():
    net = Velocity(2, 64, 1, key=jax.random.key(11))
    x, t = jnp.array([0.5, -1.0]), jnp.float32(0.3)
    many = jax.vmap(Dropped(net, jnp.float32(0.3)), (None, None, 0))(
        t, x, jax.random.split(jax.random.key(12), 4000))
    assert (many.std(0) > 0.01).all()
    spread = many.std(0) / 4000**0.5
    assert (jnp.abs(many.mean(0) - net(t, x)) < 4 * spread).all()   # one hidden layer: exact


@pytest.mark.parametrize(("solver", "evaluations"), [("euler", 4), ("heun", 4), ("heun", 5),
                                                     (Ratio(0.4), 5), ("heun", 1)])
def test_invariant_sampling_spends_what_it_says(solver, evaluations):
    met = []

    class Spy:
        def __call__(self, t, x):
            jax.debug.callback(lambda t: met.append(float(t)), t)
            return x

    x0 = jnp.ones((1, 2))
    end = sample(Spy(), x0, **Recipe(solver=solver, kappa=5.0).sampling(evaluations))
    jax.effects_barrier()
    assert len(met) == evaluations and np.isfinite(end).all()
    assert max(met) < 1 or evaluations % 2 == 0


def test_oracle_a_final_euler_step_and_no_other():
    field = Affine(jnp.array([[0.3, -1.2], [0.8, -0.5]]), jnp.ones(2))
    x0 = jax.random.normal(jax.random.key(13), (4, 2))
    got = sample(field, x0, **Recipe(solver="heun", kappa=4.0).sampling(5))
    times = SigmoidGrid(3, 4.0).times()
    inner = sample(field, x0, times=times[:-1], method=heun)
    np.testing.assert_allclose(got, sample(field, inner, times=times[-2:]), rtol=1e-5)


def test_invariant_one_recipe_trains_with_all_switches_on():
    key = jax.random.key(14)
    x = jax.random.normal(key, (32, 16))
    recipe = Recipe(weight=Normalised(0.1), times=Exponential(10.0), feature=HighPass((4, 4), 1.0),
                    dropout=0.1, share=0.5, solver=Ratio(0.4), kappa=4.0, anneal=2)
    model = Velocity(16, 8, 2, key=key)
    result = fit(key, model, steps=3, rate=1e-3, **recipe.training((x, -x), (x, 2 * x), batch=8))
    result.require_finite()
    assert not np.allclose(result.model.mlp.layers[0].weight, model.mlp.layers[0].weight)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Exponential(0.0), "base must be"), (lambda: Cosh(-1.0), "steepness must be"),
    (lambda: Normalised(0.0), "floor must be"), (lambda: Recipe(dropout=1.0), "dropout"),
    (lambda: SigmoidGrid(0, 1.0), "steps must be"), (lambda: SigmoidGrid(4, -2.0), "kappa"),
    (lambda: Recipe(solver="rk4").sampling(8), "order one or two"),
])
def test_failure_says_the_way_out(make, words):
    with pytest.raises(ValueError, match=words):
        make()
