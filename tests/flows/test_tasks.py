"""The Brenier task: the map is the gradient of a convex function, as advertised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import exact_assignment, squared

from otlab.flows.tasks import BrenierTask


@pytest.fixture(scope="module")
def task():
    return BrenierTask(6, 3, jax.random.key(4))


def test_oracle_potential_is_the_formula(task):
    x = np.linspace(-1, 2, 6)
    A, m = (np.asarray(z, np.float64) for z in (task.A, task.m))
    pieces = [x @ x / 2 + np.sum((A[i] @ (x - m[i]))**2) / 2 - np.sum((A[i] @ m[i])**2)
              for i in range(3)]
    assert float(task.potential(jnp.asarray(x, jnp.float32))) == pytest.approx(max(pieces),
                                                                               rel=1e-4)


def test_oracle_pairs_are_the_optimal_assignment(task):
    x, y = task.pairs(jax.random.key(0), 200)
    j, _ = exact_assignment(squared(x, y))
    np.testing.assert_array_equal(j, np.arange(200))


def test_invariant_pieces_have_half_rank_and_centred_means(task):
    assert [np.linalg.matrix_rank(np.asarray(A), tol=1e-4) for A in task.A] == [3, 3, 3]
    np.testing.assert_allclose(task.m.mean(0), 0, atol=1e-6)
    piece = jax.vmap(lambda x: jnp.argmax(task._pieces(x)))(task.source(jax.random.key(1), 500))
    assert len(set(piece.tolist())) > 1                               # more than one affine map


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_invariant_map_is_monotone(task, seed):
    a, b = 3 * jax.random.normal(jax.random.key(seed), (2, 6))
    gap = (task.map(a) - task.map(b)) @ (a - b)
    assert gap >= (a - b) @ (a - b) * (1 - 1e-4)                      # u is 1-strongly convex


def test_gradient_of_the_potential_is_the_map(task):
    x = task.source(jax.random.key(3), 50)
    slopes = jax.vmap(jax.grad(task.potential))(x)
    np.testing.assert_allclose(task.map(x), slopes, rtol=1e-3, atol=1e-3)


def test_invariant_target_is_fresh(task):
    key = jax.random.key(5)
    np.testing.assert_allclose(task.target(key, 4), task.map(task.source(key, 4)), rtol=1e-5)


def test_failure_sentences(task, key):
    with pytest.raises(ValueError, match="k must be a whole number"):
        BrenierTask(4, 0, key)
    with pytest.raises(ValueError, match=r"\(n, 6\); got \(2, 5\)"):
        task.map(jnp.zeros((2, 5)))
    with pytest.raises(ValueError, match="n must be"):
        task.source(key, 0)
