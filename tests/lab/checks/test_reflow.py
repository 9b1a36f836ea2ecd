"""Every check passes a right answer, and tells a wrong one what is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.flows.reflow.projection import whiten
from otlab.lab.checks import reflow as check


def law(u, base):
    if base == 1:
        return u
    return 1 - jnp.log1p((base - 1) * (1 - u)) / jnp.log(base)


def sorted_pairs(x0, x1):
    return jnp.sort(x1)[jnp.argsort(jnp.argsort(x0))]


def normalised(gaps):
    return jax.lax.stop_gradient(1 / jnp.sum(gaps**2, 1))


def blur(x0, fresh, beta):
    return np.sqrt(1 - beta**2) * x0 + beta * fresh


def turned(x):
    x = x - x.mean(0)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    return x @ (vectors / np.sqrt(values))


RIGHT = {
    "gaussian_balance": lambda s: (np.pi * s / 2, s * (2 - np.pi / 2)),
    "straight_pairs": sorted_pairs,
    "time_law": law,
    "scale_free": normalised,
    "blurred_noise": blur,
    "whitened": whiten,
}
WRONG = [
    ("gaussian_balance", lambda s: (s, s), "V is"),
    ("gaussian_balance", lambda s: (np.pi * s / 2, 2 * s), "S is"),
    ("gaussian_balance", lambda s: (1.0,), "two numbers"),
    ("straight_pairs", lambda x0, x1: x1, "still cross"),
    ("straight_pairs", lambda x0, x1: x0, "exactly once"),
    ("time_law", lambda u, base: 1 - law(1 - u, base) if base > 1 else u, "Invert"),
    ("time_law", lambda u, base: 1 - np.log1p((base - 1) * (1 - u)) / np.log(base), "finite"),
    ("scale_free", lambda g: jnp.ones(len(g)), "fifty times"),
    ("scale_free", lambda g: jax.lax.stop_gradient(1 / jnp.sum(g**2)) * jnp.ones(len(g)), "alike"),
    ("scale_free", lambda g: 1 / jnp.sum(g**2, 1), "no gradient"),
    ("blurred_noise", lambda x0, fresh, beta: (1 - beta) * x0 + beta * fresh, "stay N"),
    ("blurred_noise", lambda x0, fresh, beta: fresh, "correlation"),
    ("whitened", lambda x: x - x.mean(0), "covariance"),
    ("whitened", turned, "rotate back"),
]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_passes(name, capsys):
    getattr(check, name)(RIGHT[name])
    assert name in capsys.readouterr().out


@pytest.mark.parametrize(("name", "answer", "words"), WRONG)
@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
def test_a_wrong_answer_is_told_why(name, answer, words):
    with pytest.raises(AssertionError, match=words):
        getattr(check, name)(answer)
