"""Every check passes a right answer, and tells a wrong one what is wrong."""

import numpy as np
import told_why

from otlab.lab.checks import lineas as check


def one_layer(a, b):
    omega, beta = np.polyfit(np.sort(a), np.sort(b), 1)
    return omega, beta


def threshold(v, t):
    return np.sign(v) * np.maximum(np.abs(v) - t, 0)


def shrink(v, t):
    return max(0, 1 - t / max(np.linalg.norm(v), 1e-30)) * v


def prox(v, l1, group):
    return shrink(threshold(v, l1), group * np.sqrt(len(v)))


def wrong_order(v, l1, group):
    return threshold(shrink(v, group * np.sqrt(len(v))), l1)


def sliced(u, v, directions):
    return ((np.sort(u @ directions.T, 0) - np.sort(v @ directions.T, 0)) ** 2).mean()


def axes_only(u, v, directions):
    return ((np.sort(u, 0) - np.sort(v, 0)) ** 2).mean()


def halves(v):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(8):
        order = rng.permutation(len(v))
        found.append(check._w2(v[order[::2]], v[order[1::2]]))
    return np.mean(found)


RIGHT = {"one_layer": one_layer, "prox": prox, "sliced": sliced,
         "debiased": lambda u, v: check._w2(u, v) - halves(v) / 2}
WRONG = [
    ("one_layer", lambda a, b: (b.std() / a.std(), b.mean() - b.std() / a.std() * a.mean()),
     "sorting and scaling commute"),
    ("one_layer", lambda a, b: (-1.0, 0.0), "omega > 0"),
    ("prox", wrong_order, "Which operator"),
    ("prox", lambda v, l1, group: threshold(v, l1), "point beside yours"),
    ("sliced", axes_only, "changed it|correlations"),
    ("sliced", lambda u, v, directions: len(u) * sliced(u, v, directions), "Mean over samples"),
    ("debiased", lambda u, v: check._w2(u, v), "0 is wanted"),
    ("debiased", lambda u, v: check._w2(u, v) - halves(v), "depend on n"),
]


test_right_answers_pass, test_wrong_answers_are_told_why = told_why.of(check, RIGHT, WRONG)
