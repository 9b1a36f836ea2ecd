"""Semidiscrete transport against exact cells, quadrature and finite differences; its invariants."""

import dataclasses
import json
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ott.geometry import costs
from ott.geometry.semidiscrete_pointcloud import SemidiscretePointCloud
from ott.problems.linear.semidiscrete_linear_problem import SemidiscreteLinearProblem
from ott.solvers.linear.semidiscrete import SemidiscreteSolver
from scipy.special import logsumexp
from scipy.stats import norm

from otlab.core import devices
from otlab.core.costs import squared_distances
from otlab.core.status import Status
from otlab.couplings import semidiscrete
from otlab.couplings.semidiscrete.laguerre import ascent, cells
from otlab.couplings.semidiscrete.laguerre.duplicates import merge_duplicates
from otlab.couplings.semidiscrete.laguerre.problem import Problem, from_cost

NORMAL = semidiscrete.standard_normal(2)
LINE = semidiscrete.standard_normal(1)
SIZES = dict(batch=128, eval_batch=1024)


@pytest.fixture(scope="module")
def atoms():
    """Sixty points of the plane with unequal weights, the last one without any."""
    key_y, key_b = jax.random.split(jax.random.key(1))
    b = jax.random.gamma(key_b, 3.0, (60,)).at[-1].set(0)
    return jax.random.normal(key_y, (60, 2)) * jnp.array([1.5, 0.5]), b / b.sum()


@pytest.fixture(scope="module", params=[0.0, 0.3])
def result(request, atoms):
    return semidiscrete.solve(jax.random.key(2), NORMAL, atoms[0], b=atoms[1], tol=0.01,
                              epsilon=request.param, **SIZES).require_converged()


def assignment(result, x):
    """s_j(x), shape (n, m), in float64 from the definition."""
    z = np.asarray(result.g, np.float64) - oracles.dot(x, result.y)
    b, epsilon = np.asarray(result.b, np.float64), float(result.epsilon)
    if epsilon == 0:
        return np.eye(len(b))[np.where(b > 0, z, -np.inf).argmax(1)]
    with np.errstate(divide="ignore"):
        z = z / epsilon + np.log(b)
    return np.exp(z - logsumexp(z, axis=1, keepdims=True))


# ---------------------------------------------------------------- oracle


@pytest.mark.parametrize("cost", ["dot", "sqeuclidean"])
def test_oracle_cells_of_the_line_in_closed_form(cost):
    """In one dimension the cell of the j-th atom from the left holds noise of the j-th share."""
    y = jnp.array([[0.9], [-1.2], [0.1], [2.0], [-0.3]])
    b = np.array([0.1, 0.3, 0.2, 0.15, 0.25])
    r = semidiscrete.solve(jax.random.key(0), LINE, y, b=b, cost=cost, tol=3e-4, **SIZES)
    order = np.argsort(np.asarray(y[:, 0]))
    ends = norm.ppf(np.cumsum(b[order])[:-1])
    gaps = np.diff(np.asarray(y[:, 0], np.float64)[order])
    if cost == "sqeuclidean":  # ends lie halfway, moved by the potentials
        points = np.asarray(y[:, 0], np.float64)[order]
        want = np.diff(points**2) - 2 * ends * gaps
    else:
        want = -ends * gaps
    np.testing.assert_allclose(np.diff(np.asarray(r.require_converged().g)[order]), want, atol=0.06)
    x = LINE(jax.random.key(5), 4000)
    want = order[np.searchsorted(ends, np.asarray(x[:, 0]))]
    assert np.mean(np.asarray(r.assign(x)) != want) < 0.02


def test_oracle_masses_and_chi2_meet_a_large_independent_sample(result):
    x = np.random.default_rng(0).standard_normal((40_000, 2))
    m = assignment(result, x).mean(0)
    b = np.asarray(result.b, np.float64)
    plug_in = np.sum(m[b > 0] ** 2 / b[b > 0]) - 1
    assert plug_in < 0.01 + 3 * 60 / 40_000  # tol, and what sampling adds to the plug-in
    masses = result.cell_masses(jax.random.key(3), NORMAL)
    np.testing.assert_allclose(masses, m, atol=5 * np.sqrt(m.max() / 40_000))
    assert masses[-1] == 0 and np.isclose(masses.sum(), 1, atol=1e-5)


def test_oracle_large_epsilon_sends_noise_everywhere(atoms, key):
    r = semidiscrete.solve(key, NORMAL, atoms[0], b=atoms[1], epsilon=1e4, **SIZES)
    assert int(r.require_converged().steps) == 0
    np.testing.assert_allclose(r.cell_masses(key, NORMAL), atoms[1], atol=1e-4)


@pytest.mark.parametrize("sharp", [True, False])
def test_oracle_chi2_is_unbiased_where_the_plug_in_is_not(sharp):
    """The mean over 3,000 small batches is the truth, to four standard errors."""
    rng = np.random.default_rng(0)
    s = rng.dirichlet(np.full(20, 0.2), size=50)  # fifty kinds of noise, drawn evenly
    s = np.eye(20)[s.argmax(1)] if sharp else s
    b = rng.dirichlet(np.full(20, 5.0))
    truth = np.sum(s.mean(0) ** 2 / b) - 1
    batches = s[rng.integers(50, size=(3000, 16))]  # (repeats, n, m)
    total, squares = batches.sum(1), (batches**2).sum(1)
    estimates = jax.vmap(lambda t, q: cells.chi2(t, q, 16, jnp.asarray(b, jnp.float32)))(
        jnp.asarray(total, jnp.float32), jnp.asarray(squares, jnp.float32))
    error = np.std(estimates) / np.sqrt(3000)
    assert abs(np.mean(estimates) - truth) < 4 * error
    plug_in = np.mean(np.sum((total / 16) ** 2 / b, axis=1)) - 1
    assert plug_in - truth > 20 * error


def test_oracle_deviation_bounds_the_spread_of_the_estimate():
    m, n = 50, 400
    draw = np.random.default_rng(1)
    for p in (np.full(m, 1 / m), np.r_[np.full(25, 1.1), np.full(25, 0.9)] / m):
        counts = jnp.asarray(draw.multinomial(n, p, size=4000), jnp.float32)
        estimates = jax.vmap(lambda c: cells.chi2(c, c, n, jnp.full(m, 1 / m)))(counts)
        bound = float(ascent.deviation(m - 1, m * np.sum(p**2) - 1, float(n)))
        assert 0.9 * bound < np.std(estimates) < 1.1 * bound


def test_oracle_deviation_bounds_soft_cells(result, key):
    """The noise measured from soft cells is less than that of sharp ones, and still a bound."""
    def once(key):
        total, squares = problem.shares(NORMAL(key, 400), result.g)
        return problem.chi2(total, squares, 400), problem.weigh(squares) / 400 - 1

    problem = ascent.Problem(result.y, result.b, result.epsilon, result.sharp)
    estimates, noise = jax.jit(jax.vmap(once))(jax.random.split(key, 2000))
    assert np.std(estimates) < 1.1 * ascent.deviation(np.mean(noise), 0.01, 400.0)
    assert (np.mean(noise) > 50) == result.sharp


def test_oracle_draws_follow_the_soft_assignment(result, key):
    x = jnp.array([[0.3, -0.2]] * 20_000)
    j = np.asarray(result.sample_pairs(key, x))
    s = assignment(result, x[:1])[0]
    counts = np.bincount(j, minlength=60)
    assert (counts[s == 0] == 0).all()
    gap = np.abs(counts / 20_000 - s)
    assert (gap < 5 * np.sqrt(s * (1 - s) / 20_000) + 1e-6).all()


def test_oracle_two_atoms_split_where_the_weights_say():
    """On the line the border of two atoms solves Phi(t) = b_0: g_1 - g_0 = -t (y_1 - y_0)."""
    y, b = jnp.array([[-1.0], [2.0]]), jnp.array([0.3, 0.7])
    r = semidiscrete.solve(jax.random.key(3), LINE, y, b=b, tol=1e-3, **SIZES).require_converged()
    assert abs(float(r.g[1] - r.g[0]) + 3 * norm.ppf(0.3)) < 0.15
    assert abs(float(r.cell_masses(jax.random.key(4), LINE)[0]) - 0.3) < 0.02


def test_oracle_a_large_sample_solved_exactly(result):
    """Network simplex at epsilon = 0, Sinkhorn above, on 2,000 noise points: the same value.

    A sample's optimal cost lies above the semidual of any g on it, by what the sample gains from
    a g of its own.
    """
    x = np.random.default_rng(7).standard_normal((2000, 2))
    b, g = np.asarray(result.b, np.float64), jnp.asarray(result.g)
    C, epsilon, a = oracles.dot(x, result.y), float(result.epsilon), np.full(2000, 1 / 2000)
    if epsilon == 0:
        want = ot.emd2(a, b / b.sum(), C)
    else:
        f, q, _ = oracles.sinkhorn_float64(C, a, b / b.sum(), epsilon)
        want = a @ f + b[b > 0] @ q[b > 0]
    ours = float(semidiscrete.semidual(g, x, result.y, b=result.b, epsilon=epsilon))
    start = float(semidiscrete.semidual(0 * g, x, result.y, b=result.b, epsilon=epsilon))
    assert -1e-3 < want - ours < 0.05 * (want - start)


def pot(y, b, epsilon, key):
    """POT's potential after 4,000 steps of its averaged SGD."""
    rng = np.random.default_rng(0)
    return ot.semidiscrete.solve_semidiscrete(
        np.asarray(y), lambda n: rng.standard_normal((n, 2)), np.asarray(b), lambda x, y: -x @ y.T,
        reg=epsilon, max_iter=4000, batch_size=64, decreasing_reg_initial_eps=0.3)


def ott(y, b, epsilon, key):
    """OTT-JAX's; its `potential_ema` is the share of the new iterate, hence 0.01."""
    geometry = SemidiscretePointCloud(jax.random.normal, y, cost_fn=costs.NegDotProduct(),
                                      epsilon=epsilon)
    solver = SemidiscreteSolver(num_iterations=4000, batch_size=64, optimizer=optax.sgd(1.0),
                                potential_ema=0.01, error_eval_every=4000, error_num_repeats=1)
    with jax.numpy_dtype_promotion("standard"):
        return jax.jit(solver)(key, SemidiscreteLinearProblem(geometry, b)).g


@pytest.mark.parametrize("peer, share", [(pot, 0.2), (ott, 0.1)])
def test_oracle_peers_meet_ours(result, key, peer, share):
    """They agree with ours on who owns 4,000 points and on the potential, up to their own errors.

    POT's is the larger: its uniform average keeps the start, chi2 0.07 after these steps.
    """
    y, b, epsilon = result.y[:-1], result.b[:-1], float(result.epsilon)  # all with weight
    g = np.asarray(peer(y, b / b.sum(), epsilon, key), np.float64)
    x = np.random.default_rng(1).standard_normal((4000, 2))
    theirs = (g - oracles.dot(x, y) + epsilon * np.log(b)).argmax(1)
    assert np.mean(theirs != np.asarray(result.assign(x))) < share
    assert np.std(g - np.asarray(result.g)[:-1]) < share * np.std(g)


# ---------------------------------------------------------------- gradient


@pytest.mark.parametrize("cost", ["dot", "sqeuclidean"])
@pytest.mark.parametrize("epsilon", [0.0, 0.4])
def test_gradient_of_the_semidual_is_the_step(atoms, key, cost, epsilon):
    y, b = atoms
    g = 0.3 * jax.random.normal(key, (60,))
    x = NORMAL(key, 128)
    slope = jax.grad(semidiscrete.semidual)(g, x, y, b=b, epsilon=epsilon, cost=cost)
    state, info = semidiscrete.step(key, semidiscrete.init(g=g), NORMAL, y, b=b, batch=128,
                                    rate=0.7, epsilon=epsilon, cost=cost)
    np.testing.assert_allclose(state.g - g, 0.7 * slope, atol=2e-6)
    np.testing.assert_allclose(b - info.masses, slope, atol=2e-6)
    np.testing.assert_array_equal(state.mean, state.g)  # the first average is the first iterate


def test_gradient_meets_finite_differences(atoms, key, float64):
    y, b = (jnp.asarray(v, jnp.float64) for v in atoms)
    g, x = jax.random.normal(key, (60,), jnp.float64), NORMAL(key, 64)
    f = partial(semidiscrete.semidual, x=x, y=y, b=b / b.sum(), epsilon=0.4)
    direction = jax.random.normal(jax.random.key(9), (60,), jnp.float64)
    numeric = (f(g + 1e-5 * direction) - f(g - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(jax.grad(f)(g) @ direction, numeric, rtol=1e-7)


# ---------------------------------------------------------------- invariant


def test_invariant_average_weighs_iterates_by_their_number():
    y = jnp.array([[-1.0, 0], [1.0, 0], [0.0, 1]])
    state, kept = semidiscrete.init(m=3), []
    for k in range(6):
        state, _ = semidiscrete.step(jax.random.key(k), state, NORMAL, y, batch=16, rate=0.5)
        kept.append(np.asarray(state.g))
    weights = np.arange(1, 7)
    np.testing.assert_allclose(state.mean, weights @ np.array(kept) / weights.sum(), atol=1e-6)
    assert int(state.k) == 6


def test_invariant_costs_agree_at_twice_the_epsilon(atoms, key):
    """Same noise, same cells: g of |x - y|^2 is 2 g + |y|^2."""
    y, b = atoms
    run = partial(semidiscrete.solve, key, NORMAL, y, b=b, tol=1e-6, max_steps=50, **SIZES)
    dot = run(epsilon=0.25, init=jnp.zeros(60))
    square = run(epsilon=0.5, cost="sqeuclidean", init=jnp.sum(y * y, axis=1))
    want = 2 * dot.state.mean + jnp.sum(y * y, axis=1)
    np.testing.assert_allclose(square.state.mean, want, atol=1e-3)
    assert Status(int(dot.status)) is Status.MAX_STEPS and int(dot.steps) == 50
    z = square.g - squared_distances(NORMAL(key, 99), y) + 0.5 * jnp.log(b)
    np.testing.assert_array_equal(square.assign(NORMAL(key, 99)), jnp.argmax(z, axis=1))


def test_invariant_a_shift_of_the_atoms_changes_nothing(atoms, key):
    y, b = atoms
    run = partial(semidiscrete.solve, key, NORMAL, b=b, tol=1e-6, max_steps=50, **SIZES)
    np.testing.assert_allclose(run(y + jnp.array([40.0, -7.0])).g, run(y).g, atol=1e-3)


def test_invariant_assign_and_draw_ignore_the_block(result, key):
    x = NORMAL(key, 50)
    s = assignment(result, x)
    np.testing.assert_array_equal(result.assign(x), s.argmax(1))
    np.testing.assert_array_equal(result.assign(x, block=7), s.argmax(1))
    first = result.sample_pairs(key, x)
    np.testing.assert_array_equal(result.sample_pairs(key, x, block=7), first)
    assert (result.sharp) == bool((first == result.assign(x)).all())


def test_invariant_pairs_are_eight_bytes_and_any_stretch_agrees(result):
    pairs = result.pairs(3, 100)
    assert pairs.noise_id.nbytes + pairs.data_id.nbytes == 800
    x = pairs.x0(jnp.arange(100), (2,))
    np.testing.assert_array_equal(result.pairs(3, 40, start=60).data_id, pairs.data_id[60:])
    assert result.sharp == bool((pairs.data_id == result.assign(x)).all())
    x0, x1 = pairs.sampler(result.y, 8)(jax.random.key(0))
    assert x0.shape == x1.shape == (8, 2)


def test_invariant_converged_start_stops_at_once_and_a_run_goes_on(result, key):
    again = semidiscrete.solve(key, NORMAL, result.y, b=result.b, epsilon=result.epsilon,
                               tol=0.03, init=result, **SIZES)
    assert again.steps == result.steps and again.require_converged()
    finer = semidiscrete.solve(key, NORMAL, result.y, b=result.b, epsilon=result.epsilon,
                               tol=0.003, init=result.state, **SIZES).require_converged()
    assert finer.steps > result.steps


@pytest.mark.parametrize("cost", ["dot", "sqeuclidean"])
def test_invariant_the_owner_has_the_largest_inner_product(result, key, cost):
    y = result.y
    if cost == "sqeuclidean":  # the same cells
        result = eqx.tree_at(lambda r: (r.g, r.epsilon), result,
                             (2 * result.g + jnp.sum(y * y, axis=1), 2 * result.epsilon))
        result = dataclasses.replace(result, cost=cost)
    x = NORMAL(key, 500)
    found = np.argmax(np.c_[x, np.ones(500)] @ np.asarray(result.mips_form()).T, axis=1)
    assert np.mean(found != np.asarray(result.assign(x))) < 0.005  # rounding at a border


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 60), st.floats(0.1, 30), st.integers(0, 99), st.sampled_from([0.0, 0.3]))
def test_invariant_permutation_scale_and_shift(seed, scale, shift, epsilon):
    """Atoms in another order, k times as large, and a shifted start: g moves with them."""
    rng = np.random.default_rng(seed)
    y, b = rng.normal(size=(12, 2)).astype(np.float32), rng.dirichlet(np.ones(12))
    b, order = b.astype(np.float32), rng.permutation(12)
    run = partial(semidiscrete.solve, jax.random.key(seed), NORMAL, tol=1e-6, max_steps=20,
                  **SIZES)
    g = run(y, b=b, epsilon=epsilon, rate=1.0).g
    other = run(scale * y[order], b=b[order], epsilon=scale * epsilon, rate=scale,
                init=jnp.full(12, float(shift))).g
    np.testing.assert_allclose(other, scale * g[order], atol=1e-2 * scale)
    assert abs(float(b @ g)) < 1e-5


def test_invariant_new_numbers_compile_nothing(atoms, key):
    """epsilon, tol, max_steps and rate are traced: the law is traced for its shape alone."""
    traces = []

    def law(key, n):
        traces.append(n)
        return NORMAL(key, n)

    run = partial(semidiscrete.solve, key, law, atoms[0], **SIZES)
    run(epsilon=0.5, rate=1.0, max_steps=3)
    before = len(traces)
    for epsilon, rate, tol in ((0.7, 2.0, 0.05), (0.9, 3.0, 0.1)):
        run(epsilon=epsilon, rate=rate, tol=tol, max_steps=5)
    assert before > 2 and len(traces) == before + 2  # one look at the shape each


def test_invariant_vmap_over_epsilon(atoms, key):
    y, b = atoms
    run = lambda e: semidiscrete.solve(key, NORMAL, y, b=b, epsilon=e, tol=1e-6,  # noqa: E731
                                       max_steps=20, **SIZES).g
    many = jax.jit(jax.vmap(run))(jnp.array([0.2, 0.6]))
    np.testing.assert_allclose(many, jnp.stack([run(0.2), run(0.6)]), atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 1000))
def test_invariant_merging_keeps_atoms_and_weights(rows, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(6, 3)).astype(np.float32)
    y, b = points[rows], rng.dirichlet(np.ones(len(rows)))
    merged = merge_duplicates(y, b)
    assert len(merged.y) == len(set(rows))
    np.testing.assert_array_equal(merged.y[merged.group], y)
    np.testing.assert_array_equal(y[merged.first], merged.y)
    for k, point in enumerate(np.asarray(merged.y)):
        np.testing.assert_allclose(merged.b[k], b[(y == point).all(1)].sum(), atol=1e-6)


def test_invariant_a_rate_of_its_own(atoms, key):
    y, b = atoms
    run = partial(semidiscrete.solve, key, NORMAL, y, b=b, tol=1e-6, max_steps=30, **SIZES)
    np.testing.assert_allclose(run(rate=lambda k: 2 * (1 + k / 5) ** -0.75).g, run(rate=2.0).g,
                               atol=1e-4)


# ---------------------------------------------------------------- stop


def test_stop_few_points_never_say_yes():
    """With 2 points of 1,000 atoms the estimate is -1 nearly always; no such zero may stop it."""
    y = jax.random.normal(jax.random.key(0), (1000, 2))
    problem = ascent.Problem(y, jnp.full(1000, 1e-3), jnp.zeros(()), True)
    judge = jax.jit(partial(ascent.judge, sample=NORMAL, tol=jnp.float32(0.02), size=2))
    looks = [judge(problem, k, h=jnp.zeros(1000)) for k in jax.random.split(jax.random.key(1), 5)]
    assert not any(bool(look.passed) for look in looks)
    for margin in ascent.MARGINS:
        n = float(ascent.enough(999.0, 0.02, margin))
        spread = ascent.SIGMAS * ascent.deviation(999.0, 0.02, n)
        assert np.isclose(spread, margin * 0.02, rtol=1e-4)


@pytest.mark.parametrize("excess, low, high", [(1.0, 0.0, 0.08), (1.3, 0.0, 0.01), (0.6, 0.9, 1)])
def test_stop_a_look_errs_as_seldom_as_it_says(excess, low, high):
    """A hundred atoms on the circle, noise on the atoms with known masses: chi2 = excess * 0.05."""
    b = jnp.full(100, 0.01)
    mass = b * (1 + np.sqrt(0.05 * excess) * jnp.where(jnp.arange(100) % 2, 1.0, -1.0))
    y = jnp.stack([jnp.cos(jnp.arange(100.0)), jnp.sin(jnp.arange(100.0))], 1)
    law = lambda key, n: y[jax.random.choice(key, 100, (n,), p=mass)]  # noqa: E731
    problem = ascent.Problem(y, b, jnp.zeros(()), True)
    judge = partial(ascent.judge, problem, sample=law, h=jnp.zeros(100), tol=0.05, size=256)
    looks = jax.jit(jax.vmap(judge))(jax.random.split(jax.random.key(3), 300))
    assert low <= float(jnp.mean(looks.passed)) <= high


def test_stop_verdicts_are_true(atoms):
    """Of 12 runs, all that say chi2 <= 0.02 are below it on 200,000 fresh points."""
    y, b = atoms
    for seed in range(12):
        r = semidiscrete.solve(jax.random.key(seed), NORMAL, y, b=b, tol=0.02, **SIZES)
        assert r.require_converged().fresh_chi2(jax.random.key(99), NORMAL, n=200_000) <= 0.02


# ---------------------------------------------------------------- mesh


SHARDED = """
import json, jax, jax.numpy as jnp, numpy as np
from otlab.core import devices
from otlab.couplings import semidiscrete as sd
mesh, law = devices.mesh(), sd.standard_normal(3)
y = jax.random.normal(jax.random.key(0), (120, 3))
b = jnp.concatenate([jnp.ones(113), jnp.zeros(7)]) / 113
out = []
for epsilon in (0.0, 0.3):
    run = lambda y, b, mesh: sd.solve(jax.random.key(1), law, y, b=b, epsilon=epsilon, batch=64,
                                      tol=0.05, eval_batch=512, mesh=mesh)
    one, many = run(y, b, None), run(devices.shard_rows(y, mesh), devices.shard_rows(b, mesh), mesh)
    x = law(jax.random.key(2), 200)
    out.append([float(jnp.abs(one.g - many.g).max()), int(one.steps), int(many.steps),
                len(many.g.sharding.device_set), many.g.addressable_shards[0].data.shape[0],
                int(jnp.sum(one.assign(x) != many.assign(x))),
                float(many.fresh_chi2(jax.random.key(3), law)),
                float(one.fresh_chi2(jax.random.key(3), law)),
                int(jnp.max(many.sample_pairs(jax.random.key(4), x)))])
try: sd.solve(jax.random.key(1), law, y[:118], mesh=mesh)
except ValueError as e: out.append(str(e))
print(json.dumps(out))
"""


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_oracle_atoms_split_by_rows_are_what_they_are_together(atoms, epsilon, key):
    """vmap over a named axis exchanges what a mesh of as many devices would, on one device."""
    y, b = atoms
    x, h = NORMAL(key, 200), 0.1 * y[:, 0]
    whole = from_cost(y, b, jnp.float32(epsilon), "dot", epsilon == 0)

    def measured(problem, h):
        total, squares = problem.shares(x, h)
        j, here = cells.owners(cells.scores(x, problem.y), problem.tilt(h), problem.axis)
        return (total, squares), (problem.chi2(total, squares, len(x)), problem.count(),
                                  cells.everywhere(j, here, len(h), problem.axis))

    def part(y, b, h):
        return measured(Problem(y, b, whole.epsilon, whole.sharp, "devices"), h)

    parts = [z.reshape(4, 15, *z.shape[1:]) for z in (whole.y, b, h)]
    rows, copies = jax.vmap(part, axis_name="devices")(*parts)
    expected_rows, expected = measured(whole, h)
    for got, want in zip(rows, expected_rows, strict=True):
        np.testing.assert_allclose(got.reshape(-1), want, rtol=1e-5, atol=1e-5)
    for got, want in zip(copies, expected, strict=True):       # the same on every device
        np.testing.assert_allclose(got, np.broadcast_to(want, got.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.deep
def test_mesh_of_eight_devices_finds_the_same_potential():
    *runs, sentence = json.loads(devices.on_virtual_devices(SHARDED))
    for gap, steps, same, count, rows, flips, chi2, other, largest in runs:
        assert gap < 1e-3 and steps == same and (count, rows) == (8, 15) and flips <= 1
        assert abs(chi2 - other) < 1e-3 and largest < 113
    assert "append 2 copies" in sentence


# ---------------------------------------------------------------- failure


def test_failure_names_the_remedy(atoms, key):
    r = semidiscrete.solve(key, NORMAL, atoms[0], b=atoms[1], tol=1e-6, max_steps=5, **SIZES)
    assert Status(int(r.status)) is Status.MAX_STEPS and int(r.steps) == 5
    with pytest.raises(RuntimeError, match="Raise max_steps"):
        r.require_converged()


def test_failure_copies_are_named_and_merging_them_helps(key):
    y = jnp.array([[-1.0, 0], [1.0, 0], [1.0, 0]])
    r = semidiscrete.solve(key, NORMAL, y, max_steps=300, **SIZES)
    with pytest.raises(RuntimeError, match="1 of 3 atoms repeat others.*merge_duplicates"):
        r.require_converged()
    merged = merge_duplicates(y)
    semidiscrete.solve(key, NORMAL, merged.y, b=merged.b, **SIZES).require_converged()


def test_failure_nan_noise_is_a_status(atoms, key):
    def broken(key, n):
        return NORMAL(key, n).at[0].set(jnp.nan)
    r = semidiscrete.solve(key, broken, atoms[0], b=atoms[1], rate=1.0, **SIZES)
    assert Status(int(r.status)) is Status.NONFINITE
    with pytest.raises(RuntimeError, match="NaN or an infinity"):
        r.require_converged()


@pytest.mark.parametrize("change, sentence", [
    (dict(y=np.zeros((3,))), r"shape \(m, d\)"),
    (dict(y=np.zeros((0, 2))), "at least one"),
    (dict(y=np.array([[0, 1], [np.nan, 0]])), "first at row 1"),
    (dict(b=np.ones(3) / 3), r"b of shape \(60,\)"),
    (dict(b=np.full(60, 1.0)), "sums to 60"),
    (dict(b=np.r_[2.0, -1.0, np.zeros(58)]), r"b\[1\] is -1"),
    (dict(b=np.r_[np.nan, np.zeros(59)]), r"b\[0\] is nan"),
    (dict(epsilon=-1.0), "epsilon >= 0"),
    (dict(epsilon=np.array([0.1, 0.2])), r"one number for epsilon; got shape \(2,\)"),
    (dict(epsilon=float("nan")), "epsilon >= 0"),
    (dict(cost="l1"), "'dot' and 'sqeuclidean'"),
    (dict(batch=1), "batch >= 2"),
    (dict(eval_batch=2.5), "eval_batch >= 2"),
    (dict(tol=0.0), "tol > 0"),
    (dict(max_steps=0), "max_steps >= 1"),
    (dict(init=jnp.zeros(7)), r"init\(m=60\)"),
    (dict(init=jnp.full(60, jnp.nan)), "finite potential"),
    (dict(sample=LINE), r"\(128, 2\)"),
    (dict(sample=lambda key: key), "function"),
])
def test_failure_sentences(atoms, key, change, sentence):
    given = dict(sample=NORMAL, y=atoms[0], **SIZES) | change
    sample, y = given.pop("sample"), given.pop("y")
    with pytest.raises(ValueError, match=sentence):
        semidiscrete.solve(key, sample, y, **given)


def test_failure_of_look_ups(result):
    with pytest.raises(ValueError, match=r"shape \(n, 2\)"):
        result.assign(jnp.zeros((4, 3)))
    with pytest.raises(ValueError, match="whole number of rows"):
        result.assign(jnp.zeros((4, 2)), block=0)
    with pytest.raises(ValueError, match="n >= 1"):
        result.pairs(0, 0)
    with pytest.raises(ValueError, match="either the number"):
        semidiscrete.init()
