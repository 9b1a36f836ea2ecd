"""Every check passes a right answer, and tells a wrong one what is wrong."""

import numpy as np
import told_why

from otlab.lab.checks import activation_transport as check


def slope(a, b):
    a, b = np.sort(a), np.sort(b)
    return np.corrcoef(a, b)[0, 1] * b.std() / a.std()


def quantile_map(a, b):
    return lambda z: np.interp(z, np.sort(a), np.sort(b))


def folded(W, c, omega, beta, strength):
    scale = 1 + strength * (omega - 1)
    return scale[:, None] * W, scale * c + strength * beta


RIGHT = {"slope": slope, "quantile_map": quantile_map, "folded": folded,
         "overfit_size": lambda: ([8, 64], [0.5, 0.2], [0.8, 0.3])}
WRONG = [
    ("slope", lambda a, b: b.std() / a.std(), "correlation of the sorted"),
    ("slope", lambda a, b: np.polyfit(a, b, 1)[0], "sorted"),
    ("slope", lambda a, b: a, "one number"),
    ("quantile_map", lambda a, b: lambda z: z + b.mean() - a.mean(), "does not arrive"),
    ("quantile_map", lambda a, b: 3.0, "return a function"),
    ("folded", lambda W, c, o, b, s: (W, c + s * b), "scales each row"),
    ("folded", lambda W, c, o, b, s: ((1 + s * (o - 1))[:, None] * W, c + s * b), "old bias"),
    ("folded", lambda W, c, o, b, s: W, "weight and a bias"),
    ("overfit_size", lambda: ([8, 64], [0.5, 0.2], [0.4, 0.3]), "no worse"),
    ("overfit_size", lambda: ([8, 64], [0.5, 0.6], [0.8, 0.3]), "do not fall"),
]


test_right_answers_pass, test_wrong_answers_are_told_why = told_why.of(check, RIGHT, WRONG)
