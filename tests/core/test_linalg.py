"""Roots, maps between Gaussians and the argmax, against SciPy and NumPy."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from otlab.core.linalg import gaussian_matrix, row_argmax, symmetric_power


def covariance(seed, d=5, rank=None):
    G = np.random.default_rng(seed).normal(size=(d, rank or 3 * d))
    return G @ G.T / G.shape[1]


def test_oracle_roots_are_scipys():
    S = covariance(0)
    np.testing.assert_allclose(symmetric_power(S, 0.5), scipy.linalg.sqrtm(S), atol=1e-12)
    np.testing.assert_allclose(symmetric_power(S, -0.5) @ scipy.linalg.sqrtm(S), np.eye(5),
                               atol=1e-10)
    assert symmetric_power(S, 0.5).dtype == np.float64


def test_invariant_directions_without_variance_are_left_out_or_left_alone():
    S = covariance(1, rank=3)
    null = scipy.linalg.null_space(S, rcond=1e-10)
    assert null.shape == (5, 2)
    np.testing.assert_allclose(symmetric_power(S, -0.5, least=1e-9) @ null, 0, atol=1e-9)
    alone = symmetric_power(S, -0.5, least=1e-9, otherwise=1)
    np.testing.assert_allclose(alone @ null, null, atol=1e-9)
    np.testing.assert_array_equal(symmetric_power(np.zeros((2, 2)), 0.5), 0)


@pytest.mark.parametrize("seed", [2, 3])
def test_oracle_the_map_carries_one_gaussian_to_the_other(seed):
    S_x, S_y = covariance(seed), covariance(seed + 10)
    A = gaussian_matrix(S_x, S_y)
    np.testing.assert_allclose(A @ S_x @ A, S_y, atol=1e-10)
    np.testing.assert_allclose(A, A.T, atol=1e-12)
    assert np.linalg.eigvalsh(A).min() > 0                  # the gradient of a convex function


def test_oracle_jax_agrees_also_compiled_and_differentiated():
    S_x, S_y = covariance(4), covariance(5)
    A = jax.jit(gaussian_matrix)(jnp.float32(S_x), jnp.float32(S_y))
    np.testing.assert_allclose(A, gaussian_matrix(S_x, S_y), atol=2e-5)
    slope = jax.grad(lambda S: jnp.trace(symmetric_power(S, 0.5)))(jnp.float32(S_x))
    np.testing.assert_allclose(slope, 0.5 * symmetric_power(S_x, -0.5), atol=1e-4)


def test_numpy_arrays_load_no_jax():
    code = ("import sys, numpy as np; from otlab.core.linalg import gaussian_matrix; "
            "gaussian_matrix(np.eye(2), np.eye(2)); print('jax' in sys.modules)")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize("m", [1, 5, 64, 130, 200])
def test_oracle_row_argmax_is_the_argmax(m):
    rng = np.random.default_rng(m)
    z = rng.normal(size=(300, m)).astype(np.float32)
    tilt = np.where(rng.random(m) < 0.3, -np.inf, rng.normal(size=m)).astype(np.float32)
    tilt[rng.integers(m)] = 0
    top, j = row_argmax(jnp.asarray(z), jnp.asarray(tilt))
    np.testing.assert_array_equal(j, (z + tilt).argmax(1))
    np.testing.assert_array_equal(top, (z + tilt).max(1))


@pytest.mark.parametrize("m", [7, 64, 150])
def test_invariant_the_first_of_equals_wins(m):
    z = np.random.default_rng(m).integers(0, 3, size=(200, m)).astype(np.float32)
    np.testing.assert_array_equal(row_argmax(jnp.asarray(z))[1], z.argmax(1))
