"""Conjugate gradients against dense solves, and the ways in which rounding may end them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.core.status import Status
from otlab.couplings.entropic_ot.engine.conjugate_gradients import (
    PATIENCE,
    conjugate_gradients,
    default_tol,
    normal_solve,
)


def system(seed, eigenvalues, dtype):
    """A symmetric matrix (n, n) with these eigenvalues, and a right-hand side in its range."""
    rng = np.random.default_rng(seed)
    n = len(eigenvalues)
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    A = (Q * eigenvalues) @ Q.T
    return jnp.asarray(A, dtype), jnp.asarray(A @ rng.normal(size=n), dtype)


@jax.jit
def solve(A, rhs, tol, max_steps):
    return conjugate_gradients(lambda s: A @ s, rhs, tol=tol, max_steps=max_steps)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1.0, 10.0, 1e3]))
def test_oracle_a_dense_solve(seed, condition):
    A, rhs = system(seed, np.geomspace(1 / condition, 1, 20), jnp.float32)
    tol = default_tol(jnp.float32)
    got = solve(A, rhs, tol, 2_000)
    assert got.status == Status.CONVERGED
    assert jnp.linalg.norm(A @ got.value - rhs) <= 2.1 * tol * jnp.linalg.norm(rhs)
    exact = np.linalg.solve(np.asarray(A, float), np.asarray(rhs, float))
    error = np.linalg.norm(got.value - exact)
    assert error <= 3 * tol * condition * np.linalg.norm(rhs)


def test_oracle_residuals_may_rise_for_long_before_they_fall(float64):
    """Over a thousand steps in a row improve nothing here, and yet it converges."""
    A, rhs = system(0, np.geomspace(1e-8, 1, 300), jnp.float64)
    got = solve(A, rhs, 1e-8, 40_000)
    assert got.status == Status.CONVERGED and got.steps > 10 * PATIENCE


def test_oracle_the_diagonal_preconditions(float64):
    A, _ = system(1, np.linspace(1, 2, 30), jnp.float64)
    scale = jnp.geomspace(1e-3, 1e3, 30)
    B, rhs = scale[:, None] * A * scale, scale
    plain, helped = (
        conjugate_gradients(lambda s: B @ s, rhs, diagonal=d, tol=1e-10)
        for d in (1.0, jnp.diagonal(B))
    )
    assert helped.status == Status.CONVERGED and helped.steps < 50 < plain.steps
    np.testing.assert_allclose(scale * helped.value, jnp.linalg.solve(A, jnp.ones(30)), rtol=1e-6)


def test_oracle_normal_equations_need_no_symmetry(float64):
    A = jnp.asarray(np.random.default_rng(2).normal(size=(12, 12)))
    rhs = jnp.arange(12.0)
    got = normal_solve(lambda u: A @ u, rhs)
    np.testing.assert_allclose(got, jnp.linalg.solve(A, rhs), rtol=1e-6)


def test_invariant_more_steps_never_return_a_worse_answer():
    A, rhs = system(3, np.geomspace(1e-5, 1, 60), jnp.float32)
    errors = [float(solve(A, rhs, 1e-7, k).error) for k in (0, 1, 3, 10, 30, 100, 300)]
    assert errors[0] == 1.0 and errors[-1] < 1e-3
    assert all(later <= 1.01 * earlier for earlier, later in zip(errors, errors[1:], strict=False))


def test_invariant_a_solve_in_a_batch_is_that_alone():
    many = [system(seed, np.geomspace(c, 1, 20), jnp.float32) for seed, c in ((4, 0.5), (5, 1e-3))]
    A, rhs = (jnp.stack(v) for v in zip(*many, strict=True))
    got = jax.vmap(solve, in_axes=(0, 0, None, None))(A, rhs, 1e-5, 500)
    alone = solve(A[0], rhs[0], 1e-5, 500)
    assert got.steps[0] == alone.steps < got.steps[1]
    np.testing.assert_allclose(got.value[0], alone.value, atol=1e-5)


def test_failure_of_precision_keeps_the_best_iterate():
    A, rhs = system(6, np.geomspace(1e-4, 1, 60), jnp.float32)
    got = solve(A, rhs, 1e-9, 100_000)  # float32 has seven digits
    assert got.status == Status.PRECISION and got.steps < 100_000 and got.error < 1e-4


def test_failure_of_an_inconsistent_system_ends_early():
    """The Laplacian of a path, and a right-hand side that sees its kernel."""
    n = 50
    A = jnp.asarray(2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1), jnp.float32)
    A = A.at[0, 0].set(1).at[-1, -1].set(1)
    rhs = jnp.ones(n, jnp.float32).at[3].add(5)
    got = solve(A, rhs, 1e-5, 100_000)
    assert got.status == Status.PRECISION and got.steps < 10 * PATIENCE
    assert jnp.isfinite(got.value).all() and got.error <= 1


@pytest.mark.parametrize("sign, status", [(-1.0, Status.PRECISION), (jnp.nan, Status.NONFINITE)])
def test_failure_of_negative_and_undefined_matrices(sign, status):
    A, rhs = system(7, np.linspace(1, 2, 10), jnp.float32)
    got = solve(sign * A, rhs, 1e-5, 500)
    assert got.status == status and got.steps < 5
    assert got.status == Status.NONFINITE or got.error == 1


def test_failure_of_a_budget_of_steps_and_the_empty_question():
    A, rhs = system(8, np.geomspace(1e-3, 1, 40), jnp.float32)
    assert solve(A, rhs, 1e-6, 3).status == Status.MAX_STEPS
    nothing = solve(A, 0 * rhs, 1e-6, 100)
    assert nothing.status == Status.CONVERGED and nothing.steps == 0 and (nothing.value == 0).all()
