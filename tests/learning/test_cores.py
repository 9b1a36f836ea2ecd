"""Steps whose blocks the cores of a CPU share are those of the compiled loop."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from independent_pairs import Independent

from otlab.flows.objectives import FlowMatching
from otlab.flows.paths import LinearPath
from otlab.learning import checkpointing as runs
from otlab.learning import cores as shared
from otlab.learning import loop as steps
from otlab.learning.fit import fit
from otlab.learning.nets.mlp import Velocity
from otlab.learning.nets.unet import UNet
from otlab.learning.optimiser import AdamW


@pytest.fixture(params=[2, 3])
def cores(request, monkeypatch):
    """As on a CPU of that many cores; steps done on them are counted in `.steps`."""
    class Seen:
        steps = 0

    def counted(deal, state, count):
        Seen.steps += count
        return advance(deal, state, count)

    advance = shared.advance
    monkeypatch.setattr(shared, "cores", lambda: request.param)
    monkeypatch.setattr(shared, "advance", counted)
    return Seen


class Scaled(eqx.Module):
    """v = a x + b t of one image, and a name that is no number."""

    a: jax.Array
    b: jax.Array
    name: str = "scaled"

    def __call__(self, t, x, label=None):
        more = 0.0 if label is None else label.astype(x.dtype)
        return self.a * x + self.b * t + more * self.b[0]


def problem():
    """Key, model and images of two labels."""
    key = jax.random.key(3)
    images = jax.random.normal(key, (20, 4, 4)) + 1
    return key, Scaled(jnp.ones((4, 4)), jnp.zeros(4)), images, jnp.arange(20) % 2


class Counting(eqx.Module):
    """A schedule: noise shrinks with the number of the step."""

    pairs: Independent

    def __call__(self, key, *, step):
        x0, x1 = self.pairs(key)
        return x0 / (1 + step.fraction), x1


def fits(**more):
    """The same run on the cores of the fixture, pairs drawn in three ways."""
    key, model, images, labels = problem()
    settings = dict(steps=7, batch=16, rate=1e-2, block=2, objective=FlowMatching(), **more)
    return [fit(key, model, pairs, **settings) for pairs in (
        Independent(images, 16), Independent(images, 16, labels, drop=0.3),
        Counting(Independent(images, 16)), (images, images[::-1]))]


@pytest.fixture(scope="module", params=[{}, {"ema": 0.9, "decay": 0.1}], ids=["adam", "averaged"])
def alone(request):
    """Settings, and the runs that a CPU of one core makes of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "cores", lambda: 1)
        return request.param, fits(**request.param)


def test_oracle_weights_and_losses_are_those_of_the_compiled_loop(alone, cores):
    settings, expected = alone
    for ours, theirs in zip(fits(**settings), expected, strict=True):
        np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-5)
        np.testing.assert_allclose(ours.model.a, theirs.model.a, atol=1e-5)
        np.testing.assert_allclose(ours.model.b, theirs.model.b, atol=1e-5)
        assert ours.model.name == "scaled" and len(set(np.asarray(ours.losses))) == 7
    assert cores.steps == 4 * 7


def test_oracle_a_unet_takes_the_steps_of_the_compiled_loop(monkeypatch):
    key = jax.random.key(0)
    net = UNet((4, 4), (4, 8), classes=2, key=key)
    _, _, images, labels = problem()
    pairs = Independent(images, 8, labels)
    results = []
    for count in (1, 2):
        monkeypatch.setattr(shared, "cores", lambda count=count: count)
        results.append(fit(key, net, pairs, steps=3, batch=8, rate=1e-3, block=2,
                           objective=FlowMatching()))
    one, two = results
    np.testing.assert_allclose(one.losses, two.losses, rtol=1e-4)
    # The first steps of Adam turn rounding of slopes near zero into whole steps of 1e-3.
    apart = [jnp.abs(a - b).mean() for a, b in zip(
        jax.tree.leaves(one.model), jax.tree.leaves(two.model), strict=True)]
    assert np.median(apart) < 1e-6 and max(apart) < 1e-4


def test_invariant_batches_of_another_size_than_batch(cores):
    """A function of a key may draw any number of rows; `batch` then is not read."""
    key, model, images, _ = problem()
    big, small = (fit(key, model, Independent(images, 16), steps=3, batch=batch, rate=1e-2,
                      block=4, objective=FlowMatching()) for batch in (16, 2))
    np.testing.assert_array_equal(big.losses, small.losses)
    assert cores.steps == 6


def test_invariant_a_second_run_compiles_nothing(cores):
    traces = []

    class Noted(LinearPath):
        def __call__(self, t, x0, x1):
            traces.append(1)
            return super().__call__(t, x0, x1)

    key, model, images, _ = problem()
    objective, counts = FlowMatching(Noted()), []
    for rate in (1e-2, 2e-2):
        fit(key, model, Independent(images, 16), steps=3, batch=16, rate=rate, block=2,
            objective=objective)
        counts.append(len(traces))
    assert counts[0] == counts[1] > 0


def test_invariant_points_whole_batches_and_traces_stay_in_one_program(cores):
    key, model, images, _ = problem()
    points = jnp.ones((20, 3))
    settings = dict(steps=2, rate=1e-2, objective=FlowMatching())
    fit(key, Velocity(3, 4, 1, key=key), (points, points), batch=8, block=4, **settings)
    fit(key, model, Independent(images, 16), batch=16, **settings)
    jax.jit(lambda key: fit(key, model, Independent(images, 16), batch=16, block=4,
                            **settings).losses)(key)
    assert cores.steps == 0


def test_invariant_an_interrupted_run_ends_with_the_weights_of_an_unbroken_one(cores, tmp_path):
    key, model, images, _ = problem()
    settings = dict(steps=9, batch=16, rate=1e-2, ema=0.9, block=2, every=3,
                    objective=FlowMatching())
    pairs = Independent(images, 16)

    class Cut(Exception):
        pass

    def cut(done, loss):
        if done == 6:
            raise Cut

    unbroken = runs.train(key, model, pairs, **settings)
    with pytest.raises(Cut):
        runs.train(key, model, pairs, **settings, folder=tmp_path, report=cut)
    assert cores.steps == 9 + 6
    resumed = runs.train(key, model, pairs, **settings, folder=tmp_path)
    assert cores.steps == 9 + 6 + 3
    np.testing.assert_array_equal(resumed.losses, unbroken.losses)
    np.testing.assert_array_equal(resumed.model.a, unbroken.model.a)


def test_invariant_counters_of_any_size_survive_the_packing():
    """Step numbers are integers: one vector of floats would lose those above 2 to the 24."""
    _, model, _, _ = problem()
    state = steps.init(model, AdamW(model, rate=1e-2), steps=5, ema=0.5)
    state = eqx.tree_at(lambda s: s.step.count, state, jnp.asarray(2**24 + 1, jnp.int32))
    back = shared._unpacked(shared._packed(state))
    assert jax.tree.structure(back) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(eqx.filter(back, eqx.is_array)),
                    jax.tree.leaves(eqx.filter(state, eqx.is_array)), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_failure_a_block_that_does_not_divide_the_batch(cores):
    key, model, images, _ = problem()
    with pytest.raises(ValueError, match="block=3 does not divide a batch of 16 rows"):
        fit(key, model, Independent(images, 16), steps=2, batch=16, rate=1e-2, block=3,
            objective=FlowMatching())
