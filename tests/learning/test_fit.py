"""Flow matching finds the regression optimum, one step at a time or many models at once."""

import functools
import inspect
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flow_fields import Affine, Straight
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.flows.objectives import FlowMatching
from otlab.flows.paths import LinearPath
from otlab.learning import fit as training
from otlab.learning import loop as steps
from otlab.learning.fit import fit, fit_many, stack, unstack
from otlab.learning.nets.mlp import Velocity
from otlab.learning.optimiser import AdamW, Group


def zero_field():
    return Affine(jnp.zeros((2, 2)), jnp.zeros(2))


@pytest.fixture(scope="module")
def pairs():
    """Independent pairs, N(0, I) to N(m, 4 I)."""
    key_x, key_y = jax.random.split(jax.random.key(3))
    x0 = jax.random.normal(key_x, (4_000, 2))
    return x0, jnp.array([1.0, -2.0]) + 2 * jax.random.normal(key_y, (4_000, 2))


def test_oracle_affine_field_is_the_least_squares_solution(pairs, key):
    # Regress v = x1 - x0 on (x_t, 1) over pairs and times: 20 times on a grid, in float64.
    x0, x1 = (np.asarray(x, np.float64) for x in pairs)
    t = (np.arange(20)[:, None, None] + 0.5) / 20
    x_t = ((1 - t) * x0 + t * x1).reshape(-1, 2)
    rows = np.column_stack([x_t, np.ones(len(x_t))])
    W = np.linalg.lstsq(rows, np.tile(x1 - x0, (20, 1)), rcond=None)[0]
    model = fit(key, zero_field(), pairs, steps=1_500, batch=256, rate=2e-2,
                objective=FlowMatching()).model
    np.testing.assert_allclose(model.A, W[:2].T, atol=0.06)
    np.testing.assert_allclose(model.b, W[2], atol=0.06)


def test_oracle_loss_of_the_true_field_is_zero(pairs, key):
    m, s = jnp.array([1.0, -2.0]), jnp.float32(2.0)
    x0 = pairs[0]
    assert FlowMatching()(key, Straight(m, s), x0, m + s * x0) < 1e-9


def test_oracle_loss_of_a_still_field_is_the_mean_square_speed(pairs, key):
    x0, x1 = pairs
    speed = jnp.sum((x1 - x0) ** 2, axis=1).mean()
    assert float(FlowMatching()(key, zero_field(), x0, x1)) == pytest.approx(float(speed), rel=1e-5)


def test_oracle_step_is_plain_gradient_descent(pairs, key):
    x0, x1 = pairs[0][:64], pairs[1][:64]
    state = steps.init(zero_field(), optax.sgd(0.1))
    new, info = eqx.filter_jit(steps.step)(key, state, x0, x1, objective=FlowMatching())
    # With v = 0 the gradient in b is -2 mean(x1 - x0), whatever the times.
    np.testing.assert_allclose(new.model.b, 0.2 * (x1 - x0).mean(0), rtol=1e-4)
    assert int(new.count) == 1 and info["gradient_norm"] > 0
    assert float(info["loss"]) == pytest.approx(float(((x1 - x0) ** 2).sum(1).mean()), rel=1e-5)


def test_invariant_steps_of_adam_lower_the_loss(pairs, key):
    state = steps.init(zero_field(), optax.adam(0.05))
    run = eqx.filter_jit(steps.step)
    losses = []
    for k in jax.random.split(key, 60):
        state, info = run(k, state, pairs[0][:512], pairs[1][:512], objective=FlowMatching())
        losses.append(float(info["loss"]))
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])


def test_invariant_many_models_train_as_each_would_alone(pairs, key):
    keys = jax.random.split(key, 2)
    models = [Velocity(2, width=8, depth=1, key=k) for k in keys]
    stacked = tuple(jnp.stack([x, x[::-1]]) for x in (pairs[0], pairs[1]))
    settings = dict(steps=20, batch=32, rate=1e-2, ema=0.9, objective=FlowMatching())
    many = fit_many(keys, stack(models), stacked, **settings)
    assert many.losses.shape == (2, 20)
    for k, model in enumerate(unstack(many.model)):
        alone = fit(keys[k], models[k], (stacked[0][k], stacked[1][k]), **settings)
        np.testing.assert_allclose(many.losses[k], alone.losses, rtol=1e-4)
        np.testing.assert_allclose(model.mlp.layers[0].weight, alone.model.mlp.layers[0].weight,
                                   rtol=1e-3, atol=1e-5)


def test_invariant_a_function_draws_the_pairs(pairs, key):
    def draw(key):
        rows = jax.random.randint(key, (32,), 0, 4_000)
        return pairs[0][rows], pairs[1][rows]

    settings = dict(steps=20, rate=1e-2, objective=FlowMatching())
    drawn = fit(key, zero_field(), draw, batch=1, **settings)
    held = fit(key, zero_field(), pairs, batch=32, **settings)
    np.testing.assert_allclose(drawn.losses, held.losses, rtol=1e-5)


def test_invariant_rates_compile_nothing(pairs, key):
    traces = []

    class Counting(LinearPath):
        def __call__(self, t, x0, x1):
            traces.append(1)
            return super().__call__(t, x0, x1)

    path = Counting()
    fit(key, zero_field(), pairs, steps=3, batch=8, rate=1e-2, ema=0.5,
        objective=FlowMatching(path))
    count = len(traces)
    assert count > 0
    fit(key, zero_field(), pairs, steps=3, batch=8, rate=2e-2, ema=0.9,
        objective=FlowMatching(path))
    assert len(traces) == count


def test_invariant_average_is_corrected_for_its_start(pairs, key):
    start = Affine(jnp.eye(2), jnp.array([5.0, -3.0]))
    settings = dict(steps=5, batch=8, objective=FlowMatching())
    still = fit(key, start, pairs, rate=1e-9, ema=0.999, **settings).model
    np.testing.assert_allclose(still.b, start.b, rtol=1e-3)
    last = fit(key, start, pairs, rate=0.1, ema=0.0, **settings).model
    plain = fit(key, start, pairs, rate=0.1, **settings).model
    np.testing.assert_allclose(last.b, plain.b, rtol=1e-5)
    slow = fit(key, start, pairs, rate=0.1, ema=0.9, **settings).model
    assert jnp.abs(slow.b - start.b).sum() < jnp.abs(plain.b - start.b).sum()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1_000))
def test_invariant_stack_and_unstack(seed):
    keys = jax.random.split(jax.random.key(seed), 3)
    models = [Affine(jax.random.normal(k, (2, 2)), jnp.zeros(2)) for k in keys]
    for model, back in zip(models, unstack(stack(models)), strict=True):
        np.testing.assert_array_equal(model.A, back.A)


@pytest.mark.parametrize("block", [64, 16])
def test_oracle_a_step_in_blocks_is_the_step_of_all_rows(pairs, key, block):
    """With an objective that draws nothing, blocks change rounding alone."""
    def objective(key, model, x0, x1):
        return jnp.mean(jnp.sum((jax.vmap(lambda x: model(0.0, x))(x0) - x1) ** 2, axis=1))

    state = steps.init(Velocity(2, width=8, depth=1, key=key), optax.sgd(0.1))
    run = eqx.filter_jit(steps.step)
    whole, info = run(key, state, pairs[0][:64], pairs[1][:64], objective=objective)
    parts, same = run(key, state, pairs[0][:64], pairs[1][:64], objective=objective, block=block)
    for a, b in zip(jax.tree.leaves(eqx.filter(whole.model, eqx.is_array)),
                    jax.tree.leaves(eqx.filter(parts.model, eqx.is_array)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for name in ("loss", "gradient_norm"):
        assert float(info[name]) == pytest.approx(float(same[name]), rel=1e-5)


def test_invariant_blocks_draw_times_of_their_own(pairs, key):
    """Four blocks of equal rows see four sets of times, where one block sees one."""
    seen = []

    def objective(key, model, x0, x1):
        jax.debug.callback(lambda t: seen.append(float(t)), jax.random.uniform(key))
        return jnp.sum(model.b**2)

    state = steps.init(zero_field(), optax.sgd(0.1))
    eqx.filter_jit(steps.step)(key, state, pairs[0][:8], pairs[1][:8], objective=objective,
                                  block=2)
    jax.effects_barrier()
    assert len(set(seen)) == 4


def test_gradient_of_the_loss_matches_finite_differences(pairs, key, float64):
    x0, x1 = (jnp.asarray(np.asarray(x[:16]), jnp.float64) for x in pairs)

    def value(b):
        return FlowMatching()(key, Affine(jnp.eye(2), b), x0, x1)

    b, h = jnp.array([0.3, -0.2]), 1e-5
    slopes = [(value(b + h * e) - value(b - h * e)) / (2 * h) for e in jnp.eye(2)]
    np.testing.assert_allclose(jax.grad(value)(b), slopes, rtol=1e-6)


def test_failure_sentences(pairs, key):
    x0, x1 = pairs
    good = dict(steps=3, batch=8, rate=1e-2, objective=FlowMatching())
    for bad, sentence in [({"steps": 0}, "steps must"), ({"batch": -1}, "batch must"),
                          ({"rate": 0.0}, "rate must be a positive"), ({"ema": 1.0}, "ema must")]:
        with pytest.raises(ValueError, match=sentence):
            fit(key, zero_field(), pairs, **(good | bad))
    with pytest.raises(ValueError, match="belong together row by row.*7.*partners"):
        fit(key, zero_field(), (x0, x1[:7]), **good)
    with pytest.raises(ValueError, match="block=3 does not divide a batch of 8"):
        fit(key, zero_field(), pairs, **good, block=3)
    with pytest.raises(ValueError, match="array 1 of source holds NaN"):
        fit(key, zero_field(), (x0, x1.at[3].set(jnp.nan)), **good)
    with pytest.raises(ValueError, match="2 of everything"):
        fit_many(jax.random.split(key), stack([zero_field()] * 3), (x0[None], x1[None]), **good)
    with pytest.raises(ValueError, match="belong together row by row"):
        fit_many(jax.random.split(key), stack([zero_field()] * 2),
                 (jnp.stack([x0, x0]), jnp.stack([x1[:7], x1[:7]])), **good)
    with pytest.raises(ValueError, match="at least one model"):
        stack([])


def test_failure_a_lost_loss_names_its_step_and_the_rate():
    losses = jnp.array([1.0, 2.0, jnp.inf, jnp.nan])
    with pytest.raises(RuntimeError, match="step 2 of 4; lower rate"):
        training.Fit(None, losses).require_finite()
    with pytest.raises(RuntimeError, match="step 2 of 4"):
        training.Fit(None, jnp.stack([jnp.ones(4), losses])).require_finite()
    assert training.Fit(None, losses[:2]).require_finite().losses.shape == (2,)


class Numbered(eqx.Module):
    """Rows of zeros, and of the number of the step and of the length of the run."""

    def __call__(self, key, *, step):
        told = jnp.stack(step).astype(jnp.float32)
        return jnp.zeros((4, 2)), jnp.broadcast_to(told, (4, 2))


def by_step(key, model, x0, x1, step):
    """1,000 times what the source was told of the step, plus what the objective was told."""
    count, total = step
    return (1_000 * x1[0, 0] + count.astype(jnp.float32)
            + 0 * model(jnp.zeros(()), x0[0]).sum()), {"total": total, "of the source": x1[0, 1]}


def test_invariant_source_and_objective_see_the_step_and_the_length_of_the_run():
    model = Velocity(2, 4, 1, key=jax.random.key(0))
    settings = dict(objective=by_step, steps=5, batch=4, rate=1e-3)
    run = fit(jax.random.key(1), model, Numbered(), **settings)
    np.testing.assert_allclose(run.losses, 1_001 * np.arange(5))
    assert run.told["total"].tolist() == run.told["of the source"].tolist() == [5] * 5
    many = fit_many(jax.random.split(jax.random.key(1)), stack([model] * 2), Numbered(), **settings)
    np.testing.assert_allclose(many.losses, 1_001 * np.tile(np.arange(5), (2, 1)))


def test_oracle_who_takes_a_step_is_read_from_the_signature():
    def wide(key, **more):
        return more

    takers = [by_step, Numbered(), jax.jit(by_step), functools.partial(by_step, None),
              lambda key, step=None: None]
    assert all(steps.takes_step(f) for f in takers)
    others = [wide, FlowMatching(), lambda key, *step: None, lambda step, /: None, max]
    assert not any(steps.takes_step(f) for f in others)
    assert steps.with_step(wide, 3)(1) == {}
    assert steps.with_step(lambda key, step: (key, step), 3)(1) == (1, 3)
    assert steps.with_step(lambda key, step=7: step, None)(1) == 7


def test_oracle_each_model_has_its_own_numbers(pairs, key):
    """Learning rate, decay, epsilon, betas and average: one a model, as each would alone."""
    keys = jax.random.split(key, 3)
    models = [Affine(jax.random.normal(k, (2, 2)), jnp.ones(2)) for k in keys]
    x = tuple(jnp.stack([z[:200]] * 3) for z in pairs)
    settings = dict(steps=8, batch=16, objective=FlowMatching())
    own = dict(rate=np.array([0.01, 0.1, 0.3]), decay=np.array([0.0, 0.5, 1.0]),
               epsilon=np.array([1e-8, 1e-2, 1.0]), ema=np.array([0.0, 0.5, 0.9]))
    first, second = np.array([0.9, 0.5, 0.0]), np.array([0.999, 0.9, 0.5])
    spared = np.array([0.0, 0.5, 1.0])

    def groups(decay):
        def group(path, tensor):
            assert tensor.shape == ((2, 2) if path == ".A" else (2,))
            return Group(decay=decay) if path == ".b" else Group()
        return group

    many = fit_many(keys, stack(models), x, **settings, **own, betas=(first, second),
                    groups=groups(spared))
    for k, model in enumerate(unstack(many.model)):
        alone = fit(keys[k], models[k], (x[0][k], x[1][k]), **settings,
                    **{name: float(v[k]) for name, v in own.items()},
                    betas=(float(first[k]), float(second[k])), groups=groups(float(spared[k])))
        np.testing.assert_allclose(many.losses[k], alone.losses, rtol=1e-4)
        np.testing.assert_allclose(model.A, alone.model.A, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(model.b, alone.model.b, rtol=1e-3, atol=1e-5)


def test_invariant_numbers_and_groups_compile_nothing(pairs, key):
    traces = []

    class Noted(LinearPath):
        def __call__(self, t, x0, x1):
            traces.append(1)
            return super().__call__(t, x0, x1)

    def run(scale):
        fit(key, zero_field(), pairs, objective=objective, steps=3, batch=8, rate=0.1 * scale,
            ema=0.5 * scale, decay=0.1 * scale, epsilon=1e-8 * scale, betas=(0.9 * scale, 0.5),
            groups=lambda path, leaf: Group(rate=scale) if path == ".b" else Group())
        many = dict(objective=objective, steps=3, batch=8)
        fit_many(jax.random.split(key), stack([zero_field()] * 2),
                 tuple(jnp.stack([x, x]) for x in pairs), rate=[0.1, 0.2 * scale], **many)
        return len(traces)

    objective = FlowMatching(Noted())
    count = run(1.0)
    assert run(0.9) == count > 0


def test_invariant_the_way_of_a_batch_is_short_and_never_goes_up(pairs, key):
    """From the call to the objective and to the optimiser: eight places, deeper at each."""
    seen = []

    def ours():
        here = [frame for frame in inspect.stack() if "otlab/learning" in frame.filename]
        return [(Path(f.filename).stem, f.function) for f in reversed(here)]

    def objective(key, model, x0, x1):
        seen.append(ours())
        return FlowMatching()(key, model, x0, x1)

    class Watched(AdamW):
        def update(self, gradient, moments, params, *, step):
            seen.append(ours())
            return super().update(gradient, moments, params, step=step)

    def source(key):
        seen.append(ours())
        return pairs

    floors = ["fit", "loop", "optimiser"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("otlab.learning.fit.AdamW", Watched)
        fit(key, zero_field(), source, objective=objective, steps=2, batch=8, rate=0.1)
    assert {way[-1][1] for way in seen} == {"draw", "value", "descend"}
    for way in seen:
        assert way[0] == ("fit", "fit") and len(way) <= 8, way
        heights = [floors.index(module) for module, _ in way]
        assert heights == sorted(heights), way
