"""Score, velocity and density of semidiscrete couplings against quadrature and closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from otlab.couplings import semidiscrete
from otlab.couplings.semidiscrete import tweedie

LINE = semidiscrete.standard_normal(1)
SIZES = dict(batch=128, eval_batch=1024)
DROPPED = {0.5: 1.0, 1.0: 0.5, 3.0: 0.05}  # at least what leaving delta out costs


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
def test_oracle_score_by_quadrature_on_the_line(epsilon, float64):
    """Score, velocity and correction of five atoms against float64 sums and differences."""
    y = np.array([-1.6, -0.7, 0.2, 0.9, 1.9])
    b = np.array([0.1, 0.3, 0.2, 0.15, 0.25])
    grid = np.linspace(-8, 8, 801)
    g = np.zeros(5)
    for _ in range(1000):  # until the masses are exact
        z = (g + grid[:, None] * y) / epsilon + np.log(b)
        m = np.trapezoid(np.exp(z - logsumexp(z, 1, keepdims=True)) * norm.pdf(grid)[:, None], grid,
                         axis=0)
        g += epsilon * np.log(b / m)
        if np.abs(m - b).max() < 1e-12:
            break

    def log_rho(x, t):
        x0 = (x[:, None] - t * y) / (1 - t)
        z = (g + x0[..., None] * y) / epsilon + np.log(b)
        log_s = np.diagonal(z - logsumexp(z, axis=2, keepdims=True), axis1=1, axis2=2)
        return logsumexp(norm.logpdf(x0) + log_s, axis=1) - np.log(1 - t)

    r = semidiscrete.SemidiscreteResult(
        *(jnp.asarray(v, jnp.float64) for v in (g, 0, 0, 0, epsilon, y[:, None], b)),
        semidiscrete.init(g=jnp.zeros(5)), "dot", False, None)
    worst, dropped, printed = 0.0, 0.0, 0.0
    for t in (0.2, 0.5, 0.8):
        x = np.linspace(-2.5, 2.5, 41)
        want = (log_rho(x + 1e-5, t) - log_rho(x - 1e-5, t)) / 2e-5
        v, delta, log_density = tweedie.marginal(r, t, jnp.asarray(x[:, None], jnp.float64))
        np.testing.assert_allclose(log_density, log_rho(x, t), atol=1e-10)

        def gap(formula, want=want, x=x):
            return np.abs(np.asarray(formula)[:, 0] - want).max()

        x = jnp.asarray(x[:, None], jnp.float64)
        worst = max(worst, gap(tweedie.score(t, x, v, delta)))
        dropped = max(dropped, gap(tweedie.score(t, x, v)))
        printed = max(printed, gap((t * v - x + (1 - t) * delta) / (1 - t) ** 2))
    assert worst < 1e-6 and dropped > DROPPED[epsilon] and printed > 0.5


def test_oracle_marginal_of_sharp_cells_is_a_piecewise_gaussian(key):
    y = jnp.array([[-1.0], [1.0]])
    r = semidiscrete.solve(key, LINE, y, tol=1e-3, **SIZES)
    v, delta, log_density = tweedie.marginal(r, 0.5, jnp.array([[1.0], [0.0]]))
    np.testing.assert_allclose(v[0], [0.0], atol=1e-6)  # from x0 = 1 to y = 1
    np.testing.assert_array_equal(delta[0], 0)
    np.testing.assert_allclose(log_density[0], np.log(2 * norm.pdf(1.0)), rtol=1e-5)
    assert log_density[1] == -np.inf  # the two halves move apart
