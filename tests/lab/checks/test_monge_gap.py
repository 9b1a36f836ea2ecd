"""The checks on maps accept right answers and say what is wrong with others."""

import jax
import jax.numpy as jnp
import pytest

from otlab.core.costs import paired_cost, squared_great_circle
from otlab.couplings.entropic_ot.divergence import sinkhorn_divergence
from otlab.couplings.monge_gap import monge_gap
from otlab.lab.checks import monge_gap as check_maps


def excess(C, P, epsilon):
    H = -jnp.sum(jnp.where(P > 0, P * jnp.log(jnp.where(P > 0, P, 1)), 0))
    return jnp.trace(C) / len(C) - jnp.sum(P * C) + epsilon * (H - jnp.log(float(len(C))))


def rotation_gap(S, theta):
    # |S^{1/2} R S^{1/2}|_nuclear is the sum of its singular values
    values, vectors = jnp.linalg.eigh(S)
    half = (vectors * jnp.sqrt(values)) @ vectors.T
    R = jnp.array([[jnp.cos(theta), -jnp.sin(theta)], [jnp.sin(theta), jnp.cos(theta)]])
    nuclear = jnp.linalg.svd(half @ R.astype(S.dtype) @ half, compute_uv=False).sum()
    return 2 * (nuclear - jnp.cos(theta) * jnp.trace(S))


def gap_gradient(x, Tx, P):
    n = float(len(x))
    return 2 * (Tx - x) / n - 2 * (P.sum(0)[:, None] * Tx - P.T @ x)


def wasted_fraction(points, rotation):
    gap = monge_gap(points, points @ rotation.T, epsilon=2e-3, cost=squared_great_circle,
                    max_steps=20_000)
    return gap.excess / gap.spent


def debiased_gap(x, Tx, epsilon):
    needed = sinkhorn_divergence(x, Tx, epsilon=epsilon, max_steps=20_000).value
    return jnp.mean(paired_cost(x, Tx)) - needed


def only_excess(x, Tx, epsilon):
    return monge_gap(x, Tx, epsilon=epsilon, max_steps=20_000).excess


def test_right_answers_pass(capsys):
    check_maps.excess(excess)
    check_maps.rotation_gap(rotation_gap)
    check_maps.gap_gradient(gap_gradient)
    check_maps.wasted_fraction(wasted_fraction)
    check_maps.debiased_gap(debiased_gap)
    assert len(capsys.readouterr().out.splitlines()) == 5


@pytest.mark.parametrize("check, wrong, word", [
    (check_maps.excess, lambda C, P, e: jnp.trace(C) / len(C) - jnp.sum(P * C), "log n"),
    (check_maps.excess, lambda C, P, e: C, "one number"),
    (check_maps.rotation_gap, lambda S, t: 2 * (1 - jnp.cos(t)) * jnp.trace(S), "Bures"),
    (check_maps.gap_gradient, lambda x, T, P: 2 * (T - x) / len(x), "own pairing"),
    (check_maps.gap_gradient, lambda x, T, P: T.sum(), "one gradient a point"),
    (check_maps.wasted_fraction, lambda p, R: 0.76, "small cap"),
    (check_maps.debiased_gap, only_excess, "with itself"),
    (check_maps.debiased_gap, lambda x, Tx, e: 0.0, "quarter turn")])
def test_wrong_answers_are_told_why(check, wrong, word):
    with pytest.raises(AssertionError, match=word), jax.numpy_dtype_promotion("standard"):
        check(wrong)
