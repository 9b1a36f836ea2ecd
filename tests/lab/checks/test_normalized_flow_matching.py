"""The checks on codes accept right answers and say what is wrong with others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.lab.checks import normalized_flow_matching as check_codes


def inverse(y, net):
    x = jnp.zeros_like(y)
    for i in range(len(y)):
        a, b = net(x)
        x = x.at[i].set(y[i] * jnp.exp(a[i]) + b[i])
    return x


def displacement(S, Q):
    values, vectors = jnp.linalg.eigh(S)
    root = (vectors * jnp.sqrt(values)) @ vectors.T
    return jnp.trace(S) + len(S) - 2 * jnp.trace(Q @ root)


def times(A):
    values = np.linalg.eigvals(np.asarray(A))
    return np.array([(v / (v - 1)).real for v in values if abs(v.imag) < 1e-6 and v.real < 0])


def test_right_answers_pass(capsys):
    check_codes.inverse(inverse)
    check_codes.log_determinant(lambda x, net: -net(x)[0].sum())
    check_codes.turned_displacement(displacement)
    check_codes.meeting_times(times)
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.parametrize("check, wrong, word", [
    (check_codes.inverse, lambda y, net: y * jnp.exp(net(y)[0]) + net(y)[1], "in order"),
    (check_codes.inverse, lambda y, net: y.sum(), "a point of shape"),
    (check_codes.log_determinant, lambda x, net: net(x)[0].sum(), "diagonal"),
    (check_codes.turned_displacement, lambda S, Q: displacement(S, jnp.eye(len(S))), "Expand"),
    (check_codes.meeting_times, lambda A: 1 - times(A), "When is"),
    (check_codes.meeting_times, lambda A: np.array([0.5]), "times for eigenvalues|When is")])
def test_wrong_answers_are_told_why(check, wrong, word):
    with pytest.raises(AssertionError, match=word), jax.numpy_dtype_promotion("standard"):
        check(wrong)
