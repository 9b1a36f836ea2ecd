import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlab.flows.measures.crossings import crossings


def test_oracle_a_cross_and_a_bystander():
    start = np.array([[0, 0], [0, 1], [5, 5]])
    end = np.array([[1, 1], [1, 0], [6, 5]])
    assert crossings(start, end).tolist() == [1, 1, 0]


def test_touching_ends_and_extensions_do_not_count():
    start, end = np.array([[0, 0], [1, 1], [3, 0]]), np.array([[1, 1], [2, 0], [4, 1]])
    assert crossings(start, end).sum() == 0


@given(st.integers(2, 30), st.integers(0, 10_000))
def test_invariants(n, seed):
    rng = np.random.default_rng(seed)
    p, q = rng.normal(size=(2, n, 2))
    c = crossings(p, q)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    order = rng.permutation(n)
    assert c.sum() % 2 == 0 and c.max() < n
    assert np.array_equal(c, crossings(q, p))
    assert np.array_equal(c, crossings(3 * p @ turn + 1, 3 * q @ turn + 1))
    assert np.array_equal(c[order], crossings(p[order], q[order]))


def test_oracle_shortest_assignment_never_crosses():
    from scipy.optimize import linear_sum_assignment
    p, q = np.random.default_rng(0).normal(size=(2, 60, 2))
    i, j = linear_sum_assignment(np.linalg.norm(p[:, None] - q, axis=-1))
    assert crossings(p[i], q[j]).sum() == 0


def test_failure_names_the_shape():
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        crossings(np.zeros((3, 3)), np.zeros((3, 3)))
