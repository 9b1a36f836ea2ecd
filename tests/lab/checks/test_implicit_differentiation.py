"""Every check accepts a right answer and tells a wrong one why."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.lab.checks import implicit_differentiation as check_gradients


def solve(P, rows, columns):
    """The system of a plan, orthogonal to its kernel."""
    H = np.block([[np.diag(P.sum(1)), P], [P.T, np.diag(P.sum(0))]])
    u_v = np.linalg.pinv(H, rcond=1e-9, hermitian=True) @ np.concatenate([rows, columns])
    return u_v[:len(P)], u_v[len(P):]


def right_weights(P, w, epsilon):
    P, w = np.asarray(P, float), np.asarray(w, float)
    u, v = solve(P, (w * P).sum(1), (w * P).sum(0))
    return u, v


def frozen_weights(P, w, epsilon):
    return jnp.sum(w * P, 1) / P.sum(1), jnp.sum(w * P, 0) / P.sum(0)


def right_epsilon(P, a, b, C, epsilon):
    P = np.asarray(P, float)
    frozen = -P * np.log(P) / epsilon
    u, v = solve(P, -frozen.sum(1), -frozen.sum(0))
    return frozen + P * (u[:, None] + v)


def right_rate(P):
    s = jnp.linalg.svd(P / jnp.sqrt(P.sum(1))[:, None] / jnp.sqrt(P.sum(0)), compute_uv=False)
    return s[1] ** 2


def right_ridge(A, t, B, s, penalty):
    def loss(p):
        z = jnp.linalg.solve(A.T @ A + p * jnp.eye(A.shape[1], dtype=A.dtype), A.T @ t)
        return jnp.sum((B @ z - s) ** 2) / 2

    return jax.grad(loss)(jnp.asarray(penalty, A.dtype))


@pytest.mark.parametrize("name, right, wrong, says", [
    ("weight_gradients", right_weights, frozen_weights, "along a direction of a"),
    ("weight_gradients", right_weights,
     lambda P, w, e: (right_weights(P, w, e)[0], 0 * P[0]), "along a direction of b"),
    ("epsilon_response", right_epsilon, lambda P, a, b, C, e: -P * jnp.log(P) / e, "sum to zero"),
    ("epsilon_response", right_epsilon,
     lambda P, *rest: 2 * right_epsilon(P, *rest), "largest entry"),
    ("sinkhorn_rate", right_rate, lambda P: jnp.sqrt(right_rate(P)), "two half-steps"),
    ("ridge_hypergradient", right_ridge, lambda *p: -right_ridge(*p), "optimality condition"),
])
def test_right_answers_pass_and_wrong_ones_are_told_why(name, right, wrong, says, capsys):
    getattr(check_gradients, name)(right)
    assert name in capsys.readouterr().out
    with pytest.raises(AssertionError, match=says):
        getattr(check_gradients, name)(wrong)


@pytest.mark.parametrize("name, wrong", [
    ("weight_gradients", lambda P, w, e: P), ("epsilon_response", lambda P, a, b, C, e: a),
    ("sinkhorn_rate", lambda P: P), ("ridge_hypergradient", lambda *p: p[0])])
def test_a_wrong_shape_is_said_first(name, wrong):
    with pytest.raises(AssertionError, match="^return "):
        getattr(check_gradients, name)(wrong)
