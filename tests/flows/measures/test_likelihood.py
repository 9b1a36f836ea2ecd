"""Likelihoods against Gaussians in closed form, and bits that are bits."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_fields import Affine, Straight
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.stats import multivariate_normal, norm

from otlab.flows.measures import likelihood
from otlab.flows.measures.likelihood import bits_per_dim, log_likelihood

A = np.array([[0.3, -1.2, 0.0], [0.8, -0.5, 0.1], [0.2, 0.0, 0.7]])


@pytest.fixture(scope="module")
def field():
    return Affine(jnp.asarray(A, jnp.float32), jnp.zeros(3))


@pytest.fixture(scope="module")
def cloud():
    return jax.random.normal(jax.random.key(2), (5, 3))


def test_oracle_linear_field_carries_a_gaussian(field, cloud):
    M = expm(A)                                          # x1 = M x0, so x1 ~ N(0, M M^T)
    exact = multivariate_normal(cov=M @ M.T).logpdf(np.asarray(cloud))
    np.testing.assert_allclose(log_likelihood(field, cloud, steps=20), exact, atol=1e-4)


def test_oracle_time_dependent_field(cloud):
    m, s = jnp.array([2.0, -1.0, 0.5]), jnp.float32(0.3)
    x1 = m + s * cloud
    exact = norm(np.asarray(m), 0.3).logpdf(np.asarray(x1)).sum(1)
    np.testing.assert_allclose(log_likelihood(Straight(m, s), x1, steps=40), exact, atol=1e-3)


def test_oracle_hutchinson_is_exact_for_a_diagonal_jacobian(cloud):
    field = Straight(jnp.zeros(3), jnp.float32(2.0))
    exact = log_likelihood(field, cloud, steps=10)
    drawn = log_likelihood(field, cloud, steps=10, divergence="hutchinson", key=jax.random.key(0))
    np.testing.assert_allclose(drawn, exact, atol=1e-4)


def test_invariant_hutchinson_has_the_right_mean(field):
    x = jnp.array([0.1, 0.2, 0.3])
    z = jax.random.rademacher(jax.random.key(0), (4_000, 3), jnp.float32)
    drawn = jax.vmap(lambda z: likelihood.hutchinson_divergence(field, 0.0, x, z[None]))(z)
    error = drawn.std() / math.sqrt(len(drawn))
    assert abs(drawn.mean() - np.trace(A)) < 4 * error < 0.2
    assert drawn.std() > 0.3                                        # it is an estimate


def test_invariant_image_shapes_are_flattened_for_the_trace():
    x = jnp.ones((2, 2))
    assert likelihood.divergence(lambda t, x: x**3 + x[0, 0], 0.0, x) == pytest.approx(13)


def test_invariant_blocks_do_not_change_the_answer(field, cloud):
    np.testing.assert_allclose(log_likelihood(field, cloud, steps=20, block=2),
                               log_likelihood(field, cloud, steps=20), atol=1e-5)


def test_gradient_in_the_data_is_the_score(field, cloud, float64):
    x = np.asarray(cloud[0], np.float64)
    sharp = Affine(jnp.asarray(A), jnp.zeros(3))
    h, slopes = 1e-4, []
    for e in np.eye(3):
        up, down = log_likelihood(sharp, jnp.asarray([x + h * e, x - h * e]), steps=20)
        slopes.append((up - down) / (2 * h))
    M = expm(A)
    np.testing.assert_allclose(slopes, -np.linalg.solve(M @ M.T, x), atol=1e-5)


def test_oracle_bits_of_a_standard_normal():
    entropy_bits = 0.5 * math.log2(2 * math.pi * math.e)
    x = jax.random.normal(jax.random.key(0), (4_000, 8))
    bits = bits_per_dim(jax.vmap(likelihood.standard_normal)(x), 8)
    assert float(bits) == pytest.approx(entropy_bits, abs=0.02)


@settings(max_examples=30, deadline=None)
@given(levels=st.integers(2, 300), d=st.integers(1, 100))
def test_oracle_a_uniform_grid_costs_log2_of_its_levels(levels, d):
    width = 2 / levels                                   # the grid fills [-1, 1]
    log_p = jnp.full(3, -d * math.log(2.0))              # density 1/2 in each dimension
    assert float(bits_per_dim(log_p, d, bin_width=width)) == pytest.approx(math.log2(levels),
                                                                           abs=1e-4)


def test_failure_sentences(field, cloud):
    with pytest.raises(ValueError, match="exact, hutchinson; got 'trace'"):
        log_likelihood(field, cloud, steps=3, divergence="trace")
    with pytest.raises(ValueError, match="give it key="):
        log_likelihood(field, cloud, steps=3, divergence="hutchinson")
    with pytest.raises(ValueError, match="method must be one of"):
        log_likelihood(field, cloud, steps=3, method="Euler")
    with pytest.raises(ValueError, match="steps must be a whole"):
        log_likelihood(field, cloud, steps=0)
    with pytest.raises(ValueError, match="NaN"):
        log_likelihood(field, cloud * jnp.nan, steps=3)
    with pytest.raises(ValueError, match="at least one point"):
        log_likelihood(field, cloud[:0], steps=3)
    with pytest.raises(ValueError, match="bin_width"):
        bits_per_dim(jnp.zeros(2), 3, bin_width=0.0)
    with pytest.raises(ValueError, match="no log-density"):
        bits_per_dim(jnp.zeros(0), 3)
