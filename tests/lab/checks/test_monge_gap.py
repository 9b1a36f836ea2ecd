"""The checks on maps accept right answers and say what is wrong with others."""

import jax
import jax.numpy as jnp
import pytest

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


def test_right_answers_pass(capsys):
    check_maps.excess(excess)
    check_maps.rotation_gap(rotation_gap)
    check_maps.gap_gradient(gap_gradient)
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("check, wrong, word", [
    (check_maps.excess, lambda C, P, e: jnp.trace(C) / len(C) - jnp.sum(P * C), "log n"),
    (check_maps.excess, lambda C, P, e: C, "one number"),
    (check_maps.rotation_gap, lambda S, t: 2 * (1 - jnp.cos(t)) * jnp.trace(S), "Bures"),
    (check_maps.gap_gradient, lambda x, T, P: 2 * (T - x) / len(x), "own pairing"),
    (check_maps.gap_gradient, lambda x, T, P: T.sum(), "one gradient a point")])
def test_wrong_answers_are_told_why(check, wrong, word):
    with pytest.raises(AssertionError, match=word), jax.numpy_dtype_promotion("standard"):
        check(wrong)
