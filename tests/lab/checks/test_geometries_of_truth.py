"""The checks on probes accept right answers and say what is wrong with others."""

import numpy as np
import pytest

from otlab.lab.checks import geometries_of_truth as check


def offset(s_a, y_a, s_b, y_b):
    return 100.0 if np.mean(y_a) > np.mean(y_b) else -100.0


def covariances(delta):
    u = delta / np.linalg.norm(delta)
    v = np.roll(u, 1) - u * (u @ np.roll(u, 1))
    v /= np.linalg.norm(v)
    one, other = (u + v) / np.sqrt(2), (u - v) / np.sqrt(2)
    base = 1e-3 * np.eye(len(u))
    return np.outer(one, one) + base, np.outer(other, other) + base


def test_right_answers_pass(capsys):
    check.split_half(lambda tau: tau**2 / (1 + tau**2))
    check.same_means(covariances)
    check.one_bit(lambda A: max(A, 1 - A))
    check.pooling_breaks(offset)
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.parametrize("which, wrong, word", [
    (check.split_half, lambda tau: tau / (1 + tau), "length of w"),
    (check.split_half, lambda tau: [tau], "one cosine"),
    (check.pooling_breaks, lambda a, b, c, d: 0.0, "pairs across tasks"),
    (check.same_means, lambda d: (np.eye(len(d)), np.eye(len(d))), "loud where R is quiet"),
    (check.same_means, lambda d: (-np.eye(len(d)), np.eye(len(d))), "positive definite"),
    (check.same_means, lambda d: np.eye(len(d)), "two covariances"),
    (check.one_bit, lambda A: A, "itself a chance")])
def test_wrong_answers_are_told_why(which, wrong, word):
    with pytest.raises(AssertionError, match=word):
        which(wrong)
