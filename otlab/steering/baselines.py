"""What Activation Transport is measured against, as maps for the same `steer`."""

from collections.abc import Sequence

import numpy as np
import torch

from otlab.language.hooks import activations
from otlab.steering.maps import Affine, Maps
from otlab.steering.probes import fit_probe


def probe_shift(model, source: Sequence[str], target: Sequence[str],
                modules: Sequence[str], *, C: float = 0.01) -> Maps:
    """ITI-c: a + strength v, v the normal of a logistic classifier scaled by the spread along it.

    v is the unit normal in standardised coordinates, taken back to activations, times the standard
    deviation of the activations along it, as in Li et al. (2023), whose heads are our modules.

    Args:
        C: inverse penalty of the classifier.
    """
    a, b = (activations(model, texts, modules, pooling="last") for texts in (source, target))
    shifts = {}
    for name in modules:
        x = torch.cat([a[name], b[name]]).numpy()
        y = np.repeat([0, 1], [len(a[name]), len(b[name])])
        w = fit_probe(x, y, C=C).direction
        unit = w / np.linalg.norm(w)
        shifts[name] = torch.from_numpy(unit * np.std(x @ unit)).float()
    return Maps({name: Affine(torch.ones_like(v), v) for name, v in shifts.items()},
                {"method": "ITI-c", "model": model.name, "source": len(source)}, tokens="last")


def shuffled(maps: Maps, seed: int) -> Maps:
    """A placebo: the same scales and shifts, handed to the wrong neurons of each module."""
    draw, wrong = torch.Generator().manual_seed(seed), {}
    for name, m in maps.items():
        order = torch.randperm(len(m.omega), generator=draw)
        wrong[name] = Affine(m.omega[order], m.beta[order])
    return Maps(wrong, maps.info | {"placebo": "shuffled", "seed": seed}, maps.tokens, maps.first)
