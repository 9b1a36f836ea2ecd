"""The flow inverts exactly, counts volume exactly, and finds the law of Gaussian data."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.flows.autoregressive import (
    Batches,
    Likelihood,
    decode,
    denoise,
    encode,
    log_likelihood,
    patch_flow,
    planar_flow,
)
from otlab.learning.fit import fit


def stirred(flow, seed, scale=0.25):
    """The flow with noise on every weight: far from the identity."""
    leaves, tree = jax.tree.flatten(eqx.filter(flow, eqx.is_array))
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    moved = [a + scale * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return eqx.combine(jax.tree.unflatten(tree, moved), flow)


FLOWS = {
    "two blocks": lambda key: planar_flow(4, blocks=2, width=5, depth=1, key=key),
    "three blocks": lambda key: planar_flow(3, blocks=3, width=5, depth=1, key=key),
    "plane": lambda key: planar_flow(2, blocks=4, width=8, depth=1, key=key),
    "patches": lambda key: patch_flow((4, 4), blocks=3, layers=1, width=8, heads=2, key=key),
}


def flow_of(name, seed):
    """A stirred flow; the patches' weights are smaller, as they add up over a transformer."""
    return stirred(FLOWS[name](jax.random.key(0)), seed, 0.1 if name == "patches" else 0.25)


@given(st.sampled_from(sorted(FLOWS)), st.integers(0, 10_000))
@settings(max_examples=12, deadline=None)
def test_invariant_inverse_undoes_the_flow(name, seed):
    flow = flow_of(name, seed)
    x = jax.random.normal(jax.random.key(seed + 1), (16, *flow.shape))
    z, _ = encode(flow, x)
    assert np.abs(z - x).max() > 0.02
    np.testing.assert_allclose(decode(flow, z), x, atol=1e-4)


@given(st.sampled_from(["two blocks", "three blocks"]), st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_oracle_log_determinant_is_that_of_the_jacobian(name, seed):
    flow = flow_of(name, seed)
    x = jax.random.normal(jax.random.key(seed + 2), flow.shape)
    slope = np.asarray(jax.jacfwd(lambda x: flow(x)[0])(x), np.float64)
    sign, want = np.linalg.slogdet(slope)
    assert sign > 0 and flow(x)[1] == pytest.approx(want, abs=2e-4)


def test_oracle_log_determinant_of_patches():
    flow = flow_of("patches", 3)
    x = jax.random.normal(jax.random.key(4), (4, 4))
    slope = jax.jacfwd(lambda x: flow(x.reshape(4, 4))[0].reshape(-1))(x.reshape(-1))
    want = np.linalg.slogdet(np.asarray(slope, np.float64))[1]
    assert flow(x)[1] == pytest.approx(want, abs=5e-4)


@pytest.mark.parametrize("name", ["two blocks", "patches"])
def test_invariant_one_block_is_causal_and_order_alternates(name):
    flow = flow_of(name, 5)
    first = eqx.tree_at(lambda f: f.blocks, flow, jax.tree.map(
        lambda a: a[:1] if eqx.is_array(a) else a, flow.blocks))
    x = jax.random.normal(jax.random.key(6), flow.shape)
    slope = np.asarray(jax.jacfwd(lambda x: first._cut(first(x)[0]))(x))
    slope = slope.reshape(first.patches, -1, x.size)[..., np.asarray(first._cut(
        jnp.arange(x.size).reshape(x.shape)))]
    for i in range(first.patches):
        assert not slope[i][:, i + 1:].any() and slope[i][:, i].any()
    both = np.asarray(jax.jacfwd(lambda x: flow._cut(flow(x)[0]))(x))
    read = both.reshape(first.patches, -1, x.size)[0].any(axis=0).sum()
    assert read > x.size // first.patches               # the second block ran the other way


def test_invariant_scales_are_bounded():
    flow = planar_flow(2, blocks=1, width=4, depth=1, limit=0.5, key=jax.random.key(0))
    flow = stirred(flow, 7, scale=30.0)
    _, log_det = encode(flow, jax.random.normal(jax.random.key(8), (64, 2)))
    assert np.abs(log_det).max() <= 1.0 + 1e-5


def test_invariant_a_fresh_flow_is_the_identity(key):
    for name, make in FLOWS.items():
        flow = make(key)
        x = jax.random.normal(key, (3, *flow.shape))
        z, log_det = encode(flow, x)
        np.testing.assert_allclose(z, x, atol=1e-6, err_msg=name)
        assert not np.asarray(log_det).any()


@pytest.fixture(scope="module")
def gaussian():
    """Correlated Gaussian data of unlike scales, and a flow trained on them."""
    A, m = jnp.array([[1.5, 0.0], [0.9, 0.4]]), jnp.array([0.5, -1.0])
    x = m + jax.random.normal(jax.random.key(1), (20_000, 2)) @ A.T
    flow = planar_flow(2, blocks=2, width=8, depth=1, key=jax.random.key(2))
    run = fit(jax.random.key(3), flow, Batches(x, None, 256), steps=1_200, batch=256, rate=1e-2,
              objective=Likelihood(0.3))
    return run, m, np.asarray(A @ A.T + 0.09 * jnp.eye(2), np.float64)


def test_oracle_training_recovers_the_density_of_a_gaussian(gaussian):
    run, m, S = gaussian
    entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * S)[1]
    y = m + np.random.default_rng(0).multivariate_normal(np.zeros(2), S, 4_000)
    gap = np.asarray(y - m, np.float64)
    want = -0.5 * np.sum(gap @ np.linalg.inv(S) * gap, 1) - 0.5 * np.linalg.slogdet(
        2 * np.pi * S)[1]
    got = np.asarray(log_likelihood(run.model, jnp.float32(y)))
    assert np.mean(want - got) < 0.01                    # the divergence KL(p | flow), in nats
    assert np.median(np.abs(want - got)) < 0.08
    # The loss leaves out log(2 pi) / 2 a coordinate, and is a mean over coordinates.
    assert float(run.losses[-200:].mean()) == pytest.approx(
        entropy / 2 - 0.5 * np.log(2 * np.pi), abs=0.02)


def test_oracle_denoising_is_the_posterior_mean_of_a_gaussian(gaussian):
    run, m, S = gaussian
    y = m + np.random.default_rng(1).multivariate_normal(np.zeros(2), S, 500)
    want = np.asarray(m + (y - m) @ (np.linalg.inv(S) @ (S - 0.09 * np.eye(2))))
    got = denoise(run.model, jnp.float32(y), eta=0.3)
    assert np.sqrt(np.mean((got - want) ** 2)) < 0.05 < np.sqrt(np.mean((y - want) ** 2))


def test_oracle_likelihood_integrates_to_one():
    flow = stirred(planar_flow(2, blocks=2, width=4, depth=1, key=jax.random.key(0)), 9, 0.3)
    side = jnp.linspace(-14, 14, 281)
    grid = jnp.stack(jnp.meshgrid(side, side), axis=-1).reshape(-1, 2)
    mass = jnp.exp(log_likelihood(flow, grid, block=8_192)).sum() * (side[1] - side[0]) ** 2
    assert float(mass) == pytest.approx(1, abs=0.02)


def test_gradient_of_the_likelihood_is_finite_and_right(key):
    flow, x = flow_of("plane", 11), jax.random.normal(key, (32, 2))
    loss = Likelihood(0.1)
    a0 = flow.blocks.first

    def at(first):
        return loss(key, eqx.tree_at(lambda f: f.blocks.first, flow, first), x)

    direction = jax.random.normal(key, a0.shape)
    slope = float(jnp.sum(jax.grad(at)(a0) * direction))
    steps = (float(at(a0 + 1e-2 * direction)) - float(at(a0 - 1e-2 * direction))) / 2e-2
    assert slope == pytest.approx(steps, rel=0.02, abs=2e-3)


def test_invariant_labels_and_blocks_of_rows(key):
    flow = patch_flow((4, 4), blocks=2, layers=1, width=8, heads=2, classes=3, key=key)
    flow = stirred(flow, 12, 0.1)
    x, labels = jax.random.normal(key, (5, 4, 4)), jnp.array([0, 1, 2, 0, 1])
    z, _ = encode(flow, x, labels)
    np.testing.assert_allclose(encode(flow, x, labels, block=2)[0], z, atol=1e-5)
    assert np.abs(encode(flow, x, (labels + 1) % 3)[0] - z).max() > 1e-3
    np.testing.assert_allclose(decode(flow, z, labels), x, atol=1e-4)
    drawn, drawn_labels = Batches(x, labels, 64)(key)
    match = np.argmin(((drawn[:, None] - x) ** 2).sum((2, 3)), axis=1)
    np.testing.assert_array_equal(labels[match], drawn_labels)
    assert np.isfinite(Likelihood(0.1)(key, flow, drawn, drawn_labels))


def test_failure_sentences(key):
    with pytest.raises(ValueError, match="one point of shape \\(2,\\); got \\(3, 2\\)"):
        planar_flow(key=key)(jnp.zeros((3, 2)))
    with pytest.raises(ValueError, match="patch must divide both sides.*got patch=3"):
        patch_flow((8, 8), 3, key=key)
    with pytest.raises(ValueError, match="limit.*must be positive; got 0"):
        planar_flow(limit=0, key=key)
    with pytest.raises(ValueError, match="d must be a whole number of at least 2; got 1"):
        planar_flow(1, key=key)
    with pytest.raises(ValueError, match="eta.*must be at least 0; got -1"):
        Likelihood(-1.0)
