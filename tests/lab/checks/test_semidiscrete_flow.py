"""Each check passes a right answer and names what is wrong with a wrong one."""

import jax
import jax.numpy as jnp
import pytest

from otlab.lab.checks import semidiscrete_flow as check


def semidual(g, x, y):
    return g.mean() - jnp.max(x @ y.T + g, axis=1).mean()


def chi2(s, b):
    return ((s.sum(0) ** 2 - (s**2).sum(0)) / b).sum() / (len(s) * (len(s) - 1)) - 1


def two_atoms(t, x, epsilon):
    y = jnp.array([-1.0, 1.0])
    x0 = (x - t * y) / (1 - t)
    w = jax.nn.softmax(-(x0**2) / 2 + jax.nn.log_sigmoid(2 * x0 * y / epsilon))
    return (w * (y - jnp.tanh(x0 / epsilon))).sum() / epsilon


def nearest(sign):
    def answer(x, y, g):
        long = (y**2).sum(1) + sign * 2 * g
        return (jnp.concatenate([x, jnp.zeros((len(x), 1))], 1),
                jnp.concatenate([y, jnp.sqrt(long.max() - long)[:, None]], 1))
    return answer


@pytest.mark.parametrize("run", [
    lambda: check.semidual(semidual), lambda: check.unbiased_chi2(chi2),
    lambda: check.two_atom_correction(two_atoms), lambda: check.step_factor(2),
    lambda: check.nearest_form(nearest(1))], ids=["semidual", "chi2", "delta", "factor", "nearest"])
def test_right_answers_pass(run, capsys):
    run()
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("wrong, words", [
    (lambda g, x, y: g.mean() - jax.nn.logsumexp(x @ y.T + g, axis=1).mean(), "the semidual is"),
    (lambda g, x, y: jnp.max(x @ y.T + g, axis=1).mean() - g.mean(), "the semidual is"),
    (lambda g, x, y: jax.lax.stop_gradient(semidual(g, x, y)), "share owed minus"),
    (lambda g, x, y: x, "one number")])
def test_wrong_semiduals(wrong, words):
    with pytest.raises(AssertionError, match=words):
        check.semidual(wrong)


@pytest.mark.parametrize("wrong", [
    lambda s, b: (s.mean(0) ** 2 / b).sum() - 1,
    lambda s, b: ((s.sum(0) ** 2 - s.sum(0)) / b).sum() / (len(s) * (len(s) - 1)) - 1,
    lambda s, b: len(b) * (s.sum(0) ** 2 - (s**2).sum(0)).sum() / (len(s) * (len(s) - 1)) - 1])
def test_wrong_chi2(wrong):
    with pytest.raises(AssertionError, match="pairs of different rows"):
        check.unbiased_chi2(wrong)


def test_wrong_corrections():
    with pytest.raises(AssertionError, match="the score demands"):
        check.two_atom_correction(lambda t, x, epsilon: 0.0)
    with pytest.raises(AssertionError, match="the score demands"):
        check.two_atom_correction(lambda t, x, epsilon: two_atoms(t, x, epsilon) * (1 - t))


@pytest.mark.parametrize("factor", [1, 4, 0.5])
def test_wrong_factors(factor):
    with pytest.raises(AssertionError, match="factor of 2"):
        check.step_factor(factor)


def test_wrong_nearest_forms():
    with pytest.raises(AssertionError, match="the nearest atom owns"):
        check.nearest_form(nearest(-1))
    with pytest.raises(AssertionError, match="two arrays"):
        check.nearest_form(lambda x, y, g: x)
