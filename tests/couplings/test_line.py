"""Transport on a line: sorting against linear programs, POT and Sinkhorn."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from otlab.couplings.entropic_ot.sinkhorn import sinkhorn
from otlab.couplings.line import transport_on_line


def problem(seed, n, m, zeros=0):
    rng = np.random.default_rng(seed)
    a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    a[: min(zeros, n - 1)] = 0
    return rng.normal(size=n), rng.standard_t(3, size=m) + 1, a / a.sum(), b


def linear_program(C, a, b):
    n, m = C.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    done = linprog(C.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.r_[a, b], method="highs")
    assert done.success
    return done.fun


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 4.0])
def test_oracle_linear_program(float64, p):
    x, y, a, b = problem(0, 9, 7, zeros=2)
    C = np.abs(x[:, None] - y) ** p
    r = transport_on_line(x, y, p=p, a=a, b=b)
    np.testing.assert_allclose(r.value, linear_program(C, a, b), rtol=1e-10)


def test_oracle_pot(float64):
    ot = pytest.importorskip("ot")
    x, y, a, b = problem(1, 40, 31)
    r = transport_on_line(x, y, a=a, b=b)
    np.testing.assert_allclose(r.value, ot.emd2_1d(x, y, a, b), rtol=1e-10)
    np.testing.assert_allclose(r.plan(), ot.emd_1d(x, y, a, b), atol=1e-12)


def test_oracle_equal_clouds_are_sorted(key):
    x, y = jax.random.normal(key, (2, 50))
    r = transport_on_line(x, y[:, None])
    np.testing.assert_allclose(r.value, oracles.sorted_cost(x, y), rtol=1e-5)
    partner = np.argmax(r.plan(), axis=1)
    np.testing.assert_array_equal(np.argsort(x), np.argsort(np.asarray(y)[partner]))
    assert (np.count_nonzero(np.asarray(r.plan()) > 1e-6, axis=1) == 1).all()


def test_oracle_sinkhorn_tends_to_it(float64):
    x, y, a, b = problem(2, 30, 20)
    exact, gaps = transport_on_line(x, y, a=a, b=b), []
    for epsilon in (0.3, 0.03, 0.003):
        r = sinkhorn(x[:, None], y[:, None], epsilon=epsilon, a=a, b=b, tol=1e-6,
                     max_steps=100_000).require_converged()
        gaps.append(float(r.transport_cost() - exact.value))
    assert gaps[0] > gaps[1] > gaps[2] >= 0 and gaps[2] < 1e-3 * float(exact.value)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), m=st.integers(1, 12),
       p=st.floats(1, 4), zeros=st.integers(0, 3), ties=st.booleans())
def test_property_primal_and_dual_meet(seed, n, m, p, zeros, ties):
    x, y, a, b = problem(seed, n, m, zeros)
    if ties:  # equal points, and weights whose sums meet
        x, y, a, b = np.round(x), np.round(y), np.full(n, 1 / n), np.full(m, 1 / m)
    r = transport_on_line(x, y, p=p, a=a, b=b)
    P, C = np.asarray(r.plan()), np.abs(x[:, None] - y) ** p
    scale = 1e-5 * (1 + C.max())
    np.testing.assert_allclose(P.sum(1), a, atol=2e-6)
    np.testing.assert_allclose(P.sum(0), b, atol=2e-6)
    assert (P >= 0).all() and len(r.mass) == n + m - 1
    assert (np.asarray(r.f)[:, None] + np.asarray(r.g) <= C + scale).all()
    assert abs(float(a @ np.asarray(r.f) + b @ np.asarray(r.g) - r.value)) < scale


def test_invariant_jit_and_vmap_agree(key):
    x, y = jax.random.normal(key, (2, 3, 8))
    one_by_one = [transport_on_line(p, q).value for p, q in zip(x, y, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(lambda p, q: transport_on_line(p, q).value))(x, y),
                               jnp.stack(one_by_one), rtol=1e-6)


def test_gradient_matches_finite_differences(float64):
    x, y, a, b = problem(3, 6, 5)
    h = 1e-6

    def value(x, a):
        return transport_on_line(x, y, p=1.5, a=a, b=b).value

    by_x, by_a = jax.grad(value, argnums=(0, 1))(jnp.asarray(x), jnp.asarray(a))
    move = np.random.default_rng(4).normal(size=(2, 6))
    move[1] -= move[1].mean()  # weights keep their sum
    for gradient, dx, da in ((by_x, move[0], 0), (by_a, 0, move[1])):
        slope = (value(x + h * dx, a + h * da) - value(x - h * dx, a - h * da)) / (2 * h)
        np.testing.assert_allclose(gradient @ (dx + da), slope, rtol=1e-5)
    f = transport_on_line(x, y, p=1.5, a=a, b=b).f  # the envelope: dvalue/da is f, up to a constant
    np.testing.assert_allclose(by_a - by_a.mean(), f - f.mean(), atol=1e-10)


@pytest.mark.parametrize("change, words", [
    (dict(x=np.zeros((3, 2)), y=np.zeros((3, 2))), "on a line"),
    (dict(x=[0.0, np.nan]), "NaN"),
    (dict(x=[]), "at least one point"),
    (dict(a=[0.5, 0.7]), "sum to 1"),
    (dict(a=[-0.5, 1.5]), ">= 0"),
    (dict(p=0.5), "p >= 1"),
])
def test_failure_bad_input_gets_a_sentence(change, words):
    given_ = dict(x=[0.0, 1.0], y=[2.0, 3.0]) | change
    with pytest.raises(ValueError, match=f"transport_on_line wants .*{words}"):
        transport_on_line(**given_)
