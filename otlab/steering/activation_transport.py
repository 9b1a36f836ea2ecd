"""Activation Transport (AcT): affine optimal transport maps of activations, fitted in one pass."""

from collections.abc import Sequence
from contextlib import suppress

import torch

from otlab.language.hooks import hooked, pool
from otlab.steering.maps import Affine, Maps, untouched

METHODS = ("linear", "mean", "gaussian")
ORDERS = ("source", "both", "independent")
TINY = 1e-12


def fit_columns(a, b, *, method: str = "linear", support=None) -> Affine:
    r"""The map of each column of a (n, d) to the same column of b (m, d), unpaired samples.

    Args:
        a, b: source and target samples. Unequal n and m: quantiles are interpolated.
        method: "linear", the least-squares affine fit to the monotone matching,
            omega = sum a~_(i) b~_(i) / sum a~_(i)^2, beta = mean b - omega mean a;
            "mean", omega = 1; "gaussian", omega = std b / std a.
        support: None, or the quantiles (low, high) of a between which points are moved;
            (0, 1) is the observed range of the source.

    A constant neuron keeps omega = 1. Computed in float64, returned in float32.

    Raises:
        ValueError: for other shapes, fewer than two samples, NaN, an unknown method.

    Source: arXiv 2410.23054, definition 3.1 (its denominator is the source's sum of squares).
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
    a, b = (torch.as_tensor(z).detach().double() for z in (a, b))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError("fit_columns wants samples a (n, d) and b (m, d), at least two each; got "
                         f"{tuple(a.shape)} and {tuple(b.shape)}.")
    if not (bool(torch.isfinite(a).all()) and bool(torch.isfinite(b).all())):
        raise ValueError("the samples hold NaN or infinity; is the model in half precision?")
    mean_a, mean_b = a.mean(0), b.mean(0)
    omega = torch.ones_like(mean_a)
    if method == "gaussian":
        spread = a.std(0)
        omega = torch.where(spread > TINY, b.std(0) / spread.clamp(min=TINY), omega)
    elif method == "linear":
        sorted_a, sorted_b = matched_quantiles(a, b)
        centred = sorted_a - mean_a
        energy = centred.square().sum(0)
        slope = (centred * (sorted_b - mean_b)).sum(0) / energy.clamp(min=TINY)
        omega = torch.where(energy > TINY, slope, omega)
    low = high = None
    if support is not None:
        if not 0 <= support[0] < support[1] <= 1:
            raise ValueError(f"support wants quantiles 0 <= low < high <= 1; got {support}.")
        low, high = (torch.quantile(a, q, dim=0).float() for q in support)
    return Affine(omega.float(), (mean_b - omega * mean_a).float(), low, high)


def matched_quantiles(a, b):
    """Sorted columns of a and b on one grid of max(n, m) mid-quantiles, interpolated linearly."""
    size = max(len(a), len(b))
    return tuple(_resample(z.sort(0).values, size) for z in (a, b))


def _resample(z, size: int):
    n = len(z)
    if n == size:
        return z
    at = ((torch.arange(size, dtype=z.dtype, device=z.device) + 0.5) / size * n - 0.5)
    at = at.clamp(0, n - 1)
    k = at.floor().long().clamp(max=n - 2)
    share = (at - k)[:, None]
    return (1 - share) * z[k] + share * z[k + 1]


@torch.no_grad()
def fit(model, source: Sequence[str], target: Sequence[str], modules: Sequence[str], *,
        method: str = "linear", order: str = "source", pooling: str = "mean", first: bool = False,
        support=None) -> Maps:
    r"""Maps that carry what the modules say of `source` to what they say of `target`.

    One forward pass: source and target share a batch, and a hook pools, fits, stores and hands on;
    the pass ends at the last of the modules.

    Args:
        model: a `language.model.LanguageModel`.
        source, target: unpaired texts, at least two each.
        modules: names, in the order in which the network runs them.
        method, support: as in `fit_columns`.
        order: "source": when a module is fitted, the maps before it are active on the source and
            the target is left as it is. "both": active on both, as in the paper's definition 3.2;
            on a residual stream corrections are then counted twice. "independent": no map is active
            while another is fitted.
        pooling: "mean", "max" or "last" of the tokens.
        first: whether the first token, the attention sink, is pooled and later moved.

    Returns:
        Maps, to be used with `steer`.

    Memory: the activations of one batch of n + m texts, and 2 d floats a module.

    Source: arXiv 2410.23054, section 3; sequential estimation, definition 3.2.
    """
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}; got {order!r}.")
    if len(source) < 2 or len(target) < 2:
        raise ValueError(f"fit wants at least two texts a side; got {len(source)} and "
                         f"{len(target)}.")
    n, found = len(source), {}
    whole = Maps({}, first=first)

    def fitter(name):
        def look(z):
            vectors = pool(z.float(), model.positions, pooling, first=first)
            found[name] = fit_columns(vectors[:n], vectors[n:], method=method, support=support)
            if len(found) == len(modules):
                raise _Fitted
            if order == "independent":
                return None
            moved = _moved(z, model.positions, found[name], whole)
            return moved if order == "both" else torch.cat([moved[:n], z[n:]])
        return look

    with suppress(_Fitted), hooked(model, {name: fitter(name) for name in modules}):
        model.run(model.tokens([*source, *target]))
    info = {"method": method, "order": order, "pooling": pooling, "model": model.name,
            "source": n, "target": len(target),
            "support": None if support is None else list(support)}
    return Maps({name: found[name] for name in modules}, info, first=first)


class _Fitted(Exception):
    """The last map is fitted: what the network would still compute is not wanted."""


def _moved(z, positions, affine, maps):
    keep, new = untouched(positions, maps), affine(z)
    return new if keep is None else torch.where(keep[..., None], z, new)
