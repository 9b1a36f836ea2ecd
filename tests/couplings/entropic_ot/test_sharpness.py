"""Entropy and sharpness: the direct sum, the bounds, the two ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.couplings.entropic_ot.sinkhorn import sinkhorn


def direct(P, a, b):
    """H(P) and 2 H(P) / (H(a) + H(b)) - 1 summed in float64."""

    def entropy(p):
        p = np.asarray(p, np.float64).ravel()
        return -np.sum(p[p > 0] * np.log(p[p > 0]))

    return entropy(P), 2 * entropy(P) / (entropy(a) + entropy(b)) - 1


@pytest.mark.parametrize("epsilon, block", [(0.05, None), (0.5, 7), (5.0, None)])
def test_oracle_direct_sum(key, epsilon, block):
    key_x, key_y = jax.random.split(key)
    x, y = jax.random.normal(key_x, (40, 2)), jax.random.normal(key_y, (25, 2))
    a = np.random.default_rng(0).dirichlet(np.ones(40))
    a[:4] = 0
    a /= a.sum()
    r = sinkhorn(x, y, epsilon=epsilon, a=a, max_steps=5_000, block=block).require_converged()
    entropy, sharpness = direct(r.plan(), r.a, r.b)
    np.testing.assert_allclose(r.entropy(), entropy, rtol=1e-5)
    np.testing.assert_allclose(r.sharpness(), sharpness, atol=1e-5)
    assert 0 <= r.sharpness() <= 1


def test_invariant_one_minus_mutual_information_share(key):
    x, y = jax.random.normal(key, (2, 50, 3))
    r = sinkhorn(x, y, epsilon=0.5, tol=1e-5)
    P = np.asarray(r.plan(), np.float64)
    kl = np.sum(P * np.log(P * 50 * 50))
    np.testing.assert_allclose(r.sharpness(), 1 - kl / np.log(50), atol=1e-5)


def test_oracle_ends_are_permutation_and_independence(key):
    x = jax.random.normal(key, (30, 4))
    order = jax.random.permutation(key, 30)
    sharp = sinkhorn(x, x[order], epsilon=1e-2).require_converged()
    blurred = sinkhorn(x, x[order], epsilon=1e4).require_converged()
    np.testing.assert_allclose(sharp.sharpness(), 0, atol=1e-4)
    np.testing.assert_allclose(blurred.sharpness(), 1, atol=1e-4)
    np.testing.assert_allclose(blurred.plan(), 1 / 900, rtol=1e-2)


def test_invariant_sharpness_grows_with_epsilon(key):
    x, y = jax.random.normal(key, (2, 40, 2))
    values = [float(sinkhorn(x, y, epsilon=e).sharpness()) for e in (0.05, 0.2, 1.0, 5.0)]
    assert values == sorted(values) and jnp.ptp(jnp.array(values)) > 0.3
