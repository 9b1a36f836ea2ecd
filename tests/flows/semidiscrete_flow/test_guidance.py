"""Guidance against Gaussians and mixtures whose product is known in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Array

from otlab.flows.sampling import sample
from otlab.flows.semidiscrete_flow.guidance import LabelDropout, Mixed, Unlabelled, corrected, odds


class Blobs(eqx.Module):
    """Exact velocity from N(0, 1), paired independently, to a mixture of Gaussians on the line."""

    m: Array
    s: Array
    w: Array

    def __call__(self, t, x):
        t = jnp.asarray(t, x.dtype)
        var = (1 - t) ** 2 + t**2 * self.s**2
        log_p = jnp.log(self.w) - jnp.log(var) / 2 - (x - t * self.m) ** 2 / (2 * var)
        v = self.m + (t * self.s**2 - (1 - t)) / var * (x - t * self.m)
        return jnp.sum(jax.nn.softmax(log_p) * v, keepdims=True)

    def density(self, x):
        z = (x[:, None] - self.m) / self.s
        return jnp.sum(self.w * jnp.exp(-z * z / 2) / self.s, axis=1)


def blobs(*triples):
    return Blobs(*(jnp.array(v, jnp.float32) for v in zip(*triples, strict=True)))


ONE, TWO = blobs((1.0, 0.6, 1.0)), blobs((0.0, 1.0, 1.0))
MANY = blobs((-1.5, 0.4, 0.3), (1.5, 0.4, 0.7))
WIDE = blobs((-1.5, 0.7, 0.5), (1.5, 0.7, 0.5))


def moments(first, second, gamma):
    """Mean and standard deviation of rho1^gamma rho2^(1 - gamma), by quadrature."""
    x = jnp.linspace(-8, 8, 4001)
    p = np.asarray(first.density(x) ** gamma * second.density(x) ** (1 - gamma), float)
    x = np.asarray(x, float)
    mean = (p * x).sum() / p.sum()
    return mean, np.sqrt((p * (x - mean) ** 2).sum() / p.sum())


def draw(first, second, gamma, r, factor=odds, n=3000, steps=40):
    noise = jax.random.normal(jax.random.key(5), (n, r, 1))
    return corrected(jax.random.key(6), first, second, noise, gamma=gamma, steps=steps,
                     factor=factor)


def weighted_moments(result):
    """All candidates with all their weights, pooled: self-normalised importance sampling."""
    x = np.asarray(result.candidates, float).reshape(-1)
    w = np.asarray(jax.nn.softmax(result.log_weights.reshape(-1)), float)
    mean = (w * x).sum()
    return mean, np.sqrt((w * (x - mean) ** 2).sum())


@pytest.mark.parametrize("first, second", [(ONE, TWO), (MANY, WIDE)], ids=["gaussian", "mixture"])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_oracle_weights_turn_the_mixture_into_the_product(first, second, gamma):
    want = moments(first, second, gamma)
    result = draw(first, second, gamma, r=8)
    np.testing.assert_allclose(weighted_moments(result), want, atol=0.02)
    # Printed for time from data to noise, (1 - t) / t in this time misses by far more.
    turned = draw(first, second, gamma, r=8, factor=lambda t: (1 - t) / t)
    assert np.abs(np.subtract(weighted_moments(turned), want)).max() > 0.04


def test_oracle_more_candidates_come_closer_to_the_product():
    want = moments(ONE, TWO, 2.0)
    gaps = [np.abs(np.subtract((float(x.mean()), float(x.std())), want)).max()
            for x in (draw(ONE, TWO, 2.0, r, n=1000).x for r in (1, 64))]
    assert gaps[1] < 0.4 * gaps[0] and gaps[0] > 0.2


def test_oracle_weights_by_their_definition():
    """Against the change of variables: log product at the end less log density of the flow."""
    gamma, x0 = 2.0, jnp.linspace(-1, 1, 21)[None, :, None]
    result = corrected(jax.random.key(0), ONE, TWO, x0, gamma=gamma, steps=400)
    x1 = result.candidates[0, :, 0]
    slope = jax.vmap(jax.grad(lambda x: sample_one(Mixed(ONE, TWO, gamma), x)))(x0[0, :, 0])
    flowed = -x0[0, :, 0] ** 2 / 2 - jnp.log(slope)
    product = gamma * jnp.log(ONE.density(x1)) + (1 - gamma) * jnp.log(TWO.density(x1))
    want = product - flowed
    got = result.log_weights[0]
    np.testing.assert_allclose(got - got[0], want - want[0], atol=0.02)


def sample_one(model, x, steps=400):
    def body(x, k):
        t = k / steps
        half = x + model(t, x[None])[0] / (2 * steps)
        return x + model(t + 1 / (2 * steps), half[None])[0] / steps, None

    return jax.lax.scan(body, x, jnp.arange(steps, dtype=x.dtype))[0]


@settings(max_examples=8, deadline=None)
@given(gamma=st.sampled_from([0.0, 0.3, 1.0, 2.5]), r=st.sampled_from([1, 3]))
def test_invariants_of_weights(gamma, r):
    result = draw(ONE, TWO, gamma, r, n=16, steps=4)
    assert (result.effective >= 1 - 1e-5).all() and (result.effective <= r + 1e-4).all()
    drawn = jnp.abs(result.candidates - result.x[:, None]).sum(-1).min(1)
    np.testing.assert_array_equal(drawn, 0)  # each draw is one of its candidates
    sign = gamma * (gamma - 1)
    assert (jnp.sign(sign) * result.log_weights >= 0).all()
    if gamma in (0.0, 1.0):  # one velocity alone needs no correction
        np.testing.assert_allclose(result.log_weights, 0, atol=1e-6)


def test_invariant_one_candidate_is_plain_guidance(key):
    noise = jax.random.normal(key, (50, 1, 1))
    plain = sample(Mixed(ONE, TWO, 2.0), noise[:, 0], steps=8, method="midpoint")
    result = corrected(key, ONE, TWO, noise, gamma=2.0, steps=8, block=16)
    np.testing.assert_allclose(result.x, plain, atol=1e-5)


class ByLabel(eqx.Module):
    """Moves towards its label."""

    def __call__(self, t, x, label):
        return label.astype(x.dtype) - x


def test_labels_are_used_and_forgotten(key):
    x, labels = jnp.zeros((3, 2)), jnp.arange(3)
    free = jax.vmap(Unlabelled(ByLabel(), 7), in_axes=(None, 0, 0))(0.0, x, labels)
    np.testing.assert_array_equal(free, 7 * jnp.ones((3, 2)))
    mixed = jax.vmap(Mixed(ByLabel(), Unlabelled(ByLabel(), 7), 2.0), in_axes=(None, 0, 0))
    np.testing.assert_allclose(mixed(0.0, x, labels)[:, 0], 2 * np.arange(3) - 7)
    noise = jnp.zeros((3, 2, 2))
    out = corrected(key, ByLabel(), Unlabelled(ByLabel(), 7), noise, gamma=1.0, steps=200,
                    condition=labels)
    np.testing.assert_allclose(out.x[:, 0], np.arange(3) * (1 - np.exp(-1)), atol=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_dropout_hides_that_share_of_labels(key, share):
    def hidden(key, model, x0, x1, labels):
        return jnp.mean((labels == 10).astype(x0.dtype))

    x, labels = jnp.zeros((4000, 1)), jnp.zeros(4000, jnp.int32)
    got = LabelDropout(hidden, 10, share)(key, None, x, x, labels)
    assert abs(float(got) - share) < 0.03


def test_failure_names_the_remedy(key):
    with pytest.raises(ValueError, match=r"\(n, r, ...\).*\(5, 1\)"):
        corrected(key, ONE, TWO, jnp.zeros((5, 1)), gamma=2.0, steps=4)
    with pytest.raises(ValueError, match="below t = 1; got 'heun'"):
        corrected(key, ONE, TWO, jnp.zeros((5, 1, 1)), gamma=2.0, steps=4, method="heun")
