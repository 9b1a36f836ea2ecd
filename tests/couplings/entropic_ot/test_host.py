"""The solver on NumPy arrays: as the traced program, at any size, and without compiling again."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from compilations import compilations
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.core import costs
from otlab.core.costs import relative_epsilon
from otlab.couplings.entropic_ot.engine.host import shapes
from otlab.couplings.entropic_ot.engine.host import tables as host
from otlab.couplings.entropic_ot.engine.host.numbers import one_thread
from otlab.couplings.entropic_ot.engine.tables import Table
from otlab.couplings.entropic_ot.sinkhorn import sinkhorn, warm_start

FORMS = ["Stored", "Kept", "Tiled"]
COSTS = ["sqeuclidean", "dot", costs.distances, costs.power_cost(1.5)]


def clouds(seed, n, m, d, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(dtype), (rng.normal(size=(m, d)) + 1).astype(dtype)


def weights(seed, n, zeros):
    a = np.random.default_rng(seed).gamma(1.0, size=n) + 0.1
    if zeros:
        a[1::3] = 0
    return a / a.sum()


def of_form(form, patch):
    """Small tables as if they were large."""
    if form != "Stored":
        patch.setattr(host, "SMALL", 0)
    if form == "Kept":
        patch.setattr(host, "NARROW", 0)
    if form == "Tiled":
        patch.setattr(host, "KEPT", 0)
        patch.setattr(host, "TILE", 1024)  # so that there are several tiles


def traced(x, y, **settings):
    """The same solve as one program."""
    return jax.jit(lambda x, y: sinkhorn(x, y, **settings))(x, y)


# ---------------------------------------------------------------- oracle


@settings(max_examples=25, deadline=None, derandomize=True)
@given(n=st.integers(1, 90), m=st.integers(1, 90), d=st.integers(1, 5), seed=st.integers(0, 99),
       cost=st.sampled_from(COSTS), zeros=st.booleans(), form=st.sampled_from(FORMS),
       power=st.floats(-1.5, 1))
def test_oracle_filled_sizes_find_the_float64_plan(n, m, d, seed, cost, zeros, form, power):
    x, y = clouds(seed, n, m, d)
    a, b = weights(seed, n, zeros), weights(seed + 1, m, zeros)
    C = np.asarray(costs.resolve_cost(cost)(*map(jnp.asarray, (x, y))), np.float64)
    epsilon = 10**power * max(C.std(), 0.1)
    with pytest.MonkeyPatch.context() as patch:
        of_form(form, patch)
        r = sinkhorn(x, y, epsilon=epsilon, a=a, b=b, cost=cost, tol=1e-4, max_steps=20_000)
    P = oracles.sinkhorn_float64(C, a, b, epsilon)[2]
    r.require_converged()
    assert r.f.shape == (n,) and r.g.shape == (m,) and r.x.shape == (n, d)
    np.testing.assert_allclose(r.plan(), P, atol=5e-4)
    assert np.isfinite(r.f).all() and np.isfinite(r.g).all()


# ---------------------------------------------------------------- invariant


@pytest.mark.parametrize("n, m", [(40, 33), (300, 280), (700, 530)])
@pytest.mark.parametrize("cost", COSTS[:3])
def test_invariant_here_and_as_one_program_are_the_same_solve(n, m, cost):
    x, y = clouds(0, n, m, 3)
    how = dict(epsilon=0.05 * float(costs.std_cost(x, y, cost=cost)), cost=cost, tol=1e-3,
               a=weights(1, n, True), max_steps=5_000)
    here, program = sinkhorn(x, y, **how), traced(x, y, **how)
    here.require_converged()
    assert abs(int(here.steps) - int(program.steps)) <= 0.2 * int(program.steps) + 1
    np.testing.assert_allclose(here.floor, program.floor, rtol=1e-4)
    assert abs(here.plan() - program.plan()).sum() < 2e-2
    for ours, theirs in zip(jax.tree.leaves(here), jax.tree.leaves(program), strict=True):
        assert isinstance(ours, jax.Array)
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype


def test_invariant_double_precision_here(float64):
    x, y = clouds(0, 70, 50, 2, np.float64)
    how = dict(epsilon=0.1, tol=1e-10, max_steps=20_000)
    here, program = sinkhorn(x, y, **how), traced(x, y, **how)
    assert here.require_converged().f.dtype == jnp.float64
    np.testing.assert_allclose(here.plan(), program.plan(), atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_invariant_sums_and_kernels_are_those_of_the_traced_table(form, monkeypatch):
    of_form(form, monkeypatch)
    x, y = clouds(0, 85, 100, 2)
    assert type(host.table(x, y, "dot")).__name__ == form
    ours, theirs = host.table(x, y, "sqeuclidean"), Table(x, y, "sqeuclidean", None)
    rng = np.random.default_rng(0)
    f, g = rng.normal(size=85).astype(np.float32), rng.normal(size=100).astype(np.float32)
    with one_thread():
        for scale in (1, 1, 300, 1):  # the third needs its maximum, and no stored kernel serves it
            for epsilon in map(np.float32, (1.0, 0.1)):
                for axis, kept, other in ((1, f, g), (0, g, f)):
                    for safe in (False, True):
                        got = ours.sums(scale * kept, scale * other, epsilon, axis, safe)
                        want = theirs.sums(scale * kept, scale * other, epsilon, axis, True)
                        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-4)
        np.testing.assert_allclose(ours.kernel(f - 3, g, np.float32(0.5)),
                                   theirs.kernel(f - 3, g, np.float32(0.5)),
                                   rtol=1e-4, atol=1e-30)
    np.testing.assert_allclose(ours.largest(), theirs.largest(), rtol=1e-6)
    rows, columns = np.arange(0, 85, 5), np.arange(0, 100, 3)
    for ij in ((rows, None), (None, columns), (rows, columns)):
        sub, want = ours.part(*ij), theirs.part(*ij)
        assert sub.shape == want.shape
        np.testing.assert_allclose(sub.largest(), want.largest(), rtol=1e-6)


@pytest.mark.parametrize("n, m, d", [(100, 120, 2), (700, 520, 5)])
def test_invariant_another_size_epsilon_scale_or_start_compiles_nothing(n, m, d):
    key = jax.random.key(0)

    def solve(n, m, d, scale=1.0, relative=0.1, **how):
        x, y = clouds(n + m + d, n, m, d)
        x, y = scale * x, scale * y
        epsilon = relative * 2 * d**0.5 * scale**2
        r = sinkhorn(x, y, epsilon=epsilon, max_steps=3_000, **how)
        return r, x, y

    def program():
        return jax.jit(lambda x: x + 1)(jnp.zeros(n + m))

    solve(n, m, d, relative=0.01)
    first = solve(n, m, d)[0]
    solve(n, m, d, init=first)
    with compilations() as seen:
        solve(n - 3, m - 7, d)
        solve(n, m, d, a=weights(0, n, False), b=weights(1, m, False))
        solve(n, m, d, scale=1e3, relative=0.05)
        solve(n, m, d, relative=0.02, tol=1e-2)
        solve(n, m, d, init=first)
        solve(n, m, d, init=np.asarray(first.g) + 1)
    assert not seen
    with compilations() as seen:
        program()
        key = jax.random.split(key)
    assert seen  # so the count can move


def test_invariant_a_function_of_ones_own_never_meets_a_point_that_is_not_there():
    """It may look at the whole cloud, or know how large it is."""
    x, y = clouds(0, 50, 40, 2)
    C = jnp.asarray(oracles.squared(x, y), jnp.float32)
    known = sinkhorn(x, y, epsilon=0.5, cost=lambda x, y: C).require_converged()
    np.testing.assert_allclose(known.plan(), sinkhorn(x, y, epsilon=0.5).plan(), atol=1e-4)

    def scaled(x, y):
        C = costs.squared_distances(x, y)
        return C / C.mean()

    r = sinkhorn(x, y, epsilon=0.1, cost=scaled, tol=1e-4, max_steps=5_000).require_converged()
    C = oracles.squared(x, y)
    P = oracles.sinkhorn_float64(C / C.mean(), np.full(50, 1 / 50), np.full(40, 1 / 40), 0.1)[2]
    np.testing.assert_allclose(r.plan(), P, atol=1e-4)


def test_invariant_gradients_here_are_those_of_the_program():
    x, y = map(jnp.asarray, clouds(0, 60, 50, 2))

    def value(x, y, epsilon):
        return sinkhorn(x, y, epsilon=epsilon, tol=1e-5, max_steps=5_000).dual_value()

    grad = jax.grad(value, argnums=(0, 1, 2))
    for here, program in zip(grad(x, y, 0.5), jax.jit(grad)(x, y, 0.5), strict=True):
        np.testing.assert_allclose(here, program, atol=2e-5)


def test_invariant_starts_are_taken_here():
    x, y = clouds(0, 300, 290, 2)
    epsilon = relative_epsilon(x, y, 0.05, cost="sqeuclidean")
    r = sinkhorn(x, y, epsilon=epsilon, max_steps=5_000).require_converged()
    again = sinkhorn(x, y, epsilon=epsilon, init=warm_start(r, x, y)).require_converged()
    assert int(again.steps) == 1


def test_invariant_a_large_problem_starts_from_a_part_here():
    x, y = clouds(0, 2_100, 2_060, 2)
    r = sinkhorn(x, y, epsilon=0.2, cost="dot").require_converged()
    assert int(r.steps) < 20
    f, g, b = (np.asarray(v, np.float64) for v in (r.f, r.g, r.b))
    rows = (b * np.exp((f[:, None] + g - oracles.dot(x, y)) / 0.2)).sum(1)
    np.testing.assert_allclose(np.abs(rows - 1).mean(), r.error, atol=1e-4)


# ---------------------------------------------------------------- shapes, threads


@given(n=st.integers(1, 100_000))
def test_invariant_size_classes_hold_n_and_waste_an_eighth_at_most(n):
    size = shapes.size_class(n)
    assert size >= n and shapes.size_class(size) == size
    assert size == shapes.LEAST or size <= 1.125 * n + 1


def test_invariant_few_classes():
    assert len({shapes.size_class(n) for n in range(1, 4097)}) == 49


def test_invariant_threads_are_given_back():
    from threadpoolctl import threadpool_info

    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    with one_thread():
        with one_thread():
            assert set(threads()) == {1}
        assert set(threads()) == {1}
    assert threads() == before


# ---------------------------------------------------------------- what is asked of a result


@pytest.mark.parametrize("block", [None, 32])
def test_invariant_a_result_of_any_size_answers_as_it_is(block):
    x, y = clouds(0, 77, 101, 3)
    r = sinkhorn(x, y, epsilon=1.0, a=weights(0, 77, True), b=weights(1, 101, True), block=block)
    for name in ("plan", "transport_cost", "dual_value", "sharpness", "entropy"):
        here = getattr(r, name)()
        inside = jax.jit(lambda r, name=name: getattr(r, name)())(r)  # nothing is filled in here
        assert here.shape == inside.shape and isinstance(here, jax.Array)
        np.testing.assert_allclose(here, inside, rtol=2e-5, atol=1e-7)
    key = jax.random.key(3)
    inside = jax.jit(lambda r: r.sample_pairs(key))(r)
    assert (r.b[inside] > 0).all()
    np.testing.assert_array_equal(r.sample_pairs(key), inside)


def test_invariant_a_result_of_another_size_compiles_nothing():
    key = jax.random.key(0)
    names = ("plan", "transport_cost", "dual_value", "sharpness", "entropy")

    def ask(n, m):
        r = sinkhorn(*clouds(n, n, m, 2), epsilon=1.0)
        r.sample_pairs(key)
        return [getattr(r, name)() for name in names]

    ask(100, 90)
    with compilations() as seen:
        ask(98, 95)
    assert not seen
    with compilations() as seen:
        ask(130, 90)
    assert seen  # so the count can move


def test_invariant_a_result_of_a_function_of_ones_own_is_not_filled():
    x, y = clouds(0, 30, 20, 2)
    C = jnp.asarray(oracles.squared(x, y), jnp.float32)
    r = sinkhorn(x, y, epsilon=1.0, cost=lambda x, y: C)
    np.testing.assert_allclose(r.dual_value(), sinkhorn(x, y, epsilon=1.0).dual_value(), rtol=1e-4)
    assert r.sample_pairs(jax.random.key(0)).shape == (30,)


def test_invariant_inside_a_trace_known_clouds_are_solved_by_the_program():
    """No number can be looked at there, though every argument is known."""
    x, y = map(jnp.asarray, clouds(0, 40, 30, 2))
    outside = sinkhorn(x, y, epsilon=1.0)

    @jax.jit
    def inside(shift):
        r = sinkhorn(x, y, epsilon=1.0)
        return r.dual_value() + shift, outside.dual_value() + shift, outside.sample_pairs(key)

    key = jax.random.key(0)
    first, second, pairs = inside(0.0)
    np.testing.assert_allclose(first, outside.dual_value(), rtol=1e-4)
    np.testing.assert_allclose(second, outside.dual_value(), rtol=1e-5)
    np.testing.assert_array_equal(pairs, outside.sample_pairs(key))
    many = jax.vmap(lambda s: sinkhorn(x, y, epsilon=1.0).dual_value() + s)(jnp.zeros(2))
    np.testing.assert_allclose(many, outside.dual_value(), rtol=1e-4)
