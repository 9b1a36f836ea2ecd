"""What Activation Transport is measured against, as maps for the same `steer`."""

from collections.abc import Sequence

import numpy as np
import torch

from otlab.language.hooks import activations
from otlab.steering.maps import Affine, Maps
from otlab.steering.probes import fit_probe


def act_add(model, source: str, target: str, modules: Sequence[str]) -> Maps:
    """ActAdd: a + strength (a_target - a_source) from one pair of prompts, at the last token.

    Source: Turner et al. (2023); arXiv 2410.23054, table 1.
    """
    a, b = (activations(model, [text], modules, pooling="last") for text in (source, target))
    return _shifts(model, {name: b[name][0] - a[name][0] for name in modules}, "ActAdd", 1)


def mean_shift(model, source: Sequence[str], target: Sequence[str],
               modules: Sequence[str]) -> Maps:
    """CAA, also ITI-m: a + strength (mean target - mean source), last tokens, fitted apart.

    Source: Rimsky et al. (2024); Li et al. (2023); arXiv 2410.23054, table 1.
    """
    a, b = (activations(model, texts, modules, pooling="last") for texts in (source, target))
    return _shifts(model, {name: b[name].mean(0) - a[name].mean(0) for name in modules}, "CAA",
                   len(source))


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
    return _shifts(model, shifts, "ITI-c", len(source))


def expert_scores(model, source: Sequence[str], target: Sequence[str],
                  modules: Sequence[str]) -> dict[str, tuple]:
    """(area under the curve, average precision) of every neuron for telling source from target.

    Max-pooled activations; the source is the behaviour to find. Source: Suau et al. (2022, 2024).
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    a, b = (activations(model, texts, modules, pooling="max") for texts in (source, target))
    scores = {}
    for name in modules:
        x = torch.cat([a[name], b[name]]).numpy()
        y = np.repeat([1, 0], [len(a[name]), len(b[name])])
        scores[name] = (np.array([roc_auc_score(y, column) for column in x.T]),
                        np.array([average_precision_score(y, column) for column in x.T]))
    return scores


def aura(model, source: Sequence[str], target: Sequence[str], modules: Sequence[str]) -> Maps:
    """AurA: dampen each neuron that detects the source by 1 - Gini, Gini = 2 AUROC - 1.

    Source: Suau et al. (2024); arXiv 2410.23054, table 1.
    """
    maps = {}
    for name, (area, _) in expert_scores(model, source, target, modules).items():
        scale = torch.from_numpy(np.where(area > 0.5, 2 - 2 * area, 1)).float()
        maps[name] = Affine(scale, torch.zeros_like(scale))
    return Maps(maps, _info(model, "AurA", len(source)))


def det_zero(model, source: Sequence[str], target: Sequence[str], modules: Sequence[str], *,
             least: float = 0.9) -> Maps:
    """DetZero: set each neuron that detects the source to its mean over the target.

    Args:
        least: average precision from which a neuron counts as a detector.
    """
    means = activations(model, target, modules, pooling="mean")
    maps = {}
    for name, (_, precision) in expert_scores(model, source, target, modules).items():
        chosen = torch.from_numpy(precision > least)
        beta = torch.where(chosen, means[name].mean(0), torch.zeros(len(chosen)))
        maps[name] = Affine(1 - chosen.float(), beta)
    return Maps(maps, _info(model, "DetZero", len(source)))


def shuffled(maps: Maps, seed: int) -> Maps:
    """A placebo: the same scales and shifts, handed to the wrong neurons of each module."""
    draw, wrong = torch.Generator().manual_seed(seed), {}
    for name, m in maps.items():
        order = torch.randperm(len(m.omega), generator=draw)
        wrong[name] = Affine(m.omega[order], m.beta[order])
    return Maps(wrong, maps.info | {"placebo": "shuffled", "seed": seed}, maps.tokens, maps.first)


def _shifts(model, shifts, method, n):
    return Maps({name: Affine(torch.ones_like(v), v) for name, v in shifts.items()},
                _info(model, method, n), tokens="last")


def _info(model, method, n):
    return {"method": method, "model": model.name, "source": n}
