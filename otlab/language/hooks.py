"""Look at, and change, what named modules put out; every hook is gone when its block ends."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager

import torch

POOLS = ("mean", "last", "max", "none")


@contextmanager
def hooked(model, functions: Mapping[str, Callable]):
    """While the block runs, functions[name](z) may replace the output z of the module `name`.

    Args:
        model: anything with a torch module `.net`.
        functions: None as a result leaves the output as it is. Blocks can be nested: the inner
            one sees what the outer one made of z.

    Raises:
        ValueError: for a name that is no module, with the nearest ones.

    The hooks are removed at the end of the block, also when it ends in an exception. Modules that
    return a tuple have its first entry changed.
    """
    modules = dict(model.net.named_modules())
    for name in functions:
        if name not in modules:
            near = difflib.get_close_matches(name, modules, 3)
            raise ValueError(f"the model has no module {name!r}; did you mean "
                             f"{', '.join(near) or 'one of model.net.named_modules()'}?")
    handles = []
    try:
        for name, function in functions.items():
            handles.append(modules[name].register_forward_hook(_hook(function)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(function):
    def hook(module, inputs, output):
        z = output[0] if isinstance(output, tuple) else output
        new = function(z)
        if new is None:
            return None
        return (new, *output[1:]) if isinstance(output, tuple) else new

    return hook


def pool(z, positions, how: str = "mean", *, first: bool = False):
    """One vector a sequence from z (B, T, d), or z itself where it is (n, d) already.

    Args:
        z: activations.   positions: (B, T), 0 at the first token and -1 at padding.
        how: "mean" or "max" over real tokens, or the "last" one.
        first: whether the first token counts: it carries the attention sink, whose huge
            activations say nothing of the text. A text of one token keeps it in any case.
    """
    if z.ndim == 2:
        return z
    if how == "last":
        return z[:, -1]                     # padding is on the left
    real = positions >= (0 if first else 1)
    real = real | ((positions == 0) & ~real.any(1, keepdim=True))
    if how == "max":
        return z.masked_fill(~real[..., None], -torch.inf).amax(1)
    weight = real.to(z.dtype)[..., None]
    return (z * weight).sum(1) / weight.sum(1)


@torch.no_grad()
def activations(model, texts: Sequence[str], modules: Sequence[str], *, pooling: str = "mean",
                first: bool = False, batch: int = 32) -> dict[str, torch.Tensor]:
    """Pooled outputs of the modules on every text: {name: (n, d)}, float32, on the CPU.

    Args:
        model: a `language.model.LanguageModel`.
        pooling: "mean", "last" or "max"; "none" gives a list of (T_i, d) a text instead, first
            token included.
        first: whether the first token counts in the pool.

    Source: arXiv 2410.23054, section 3 (mean pooling).
    """
    if pooling not in POOLS:
        raise ValueError(f"pooling must be one of {', '.join(POOLS)}; got {pooling!r}.")
    found = {name: [] for name in modules}

    def keep(name):
        def look(z):
            if pooling == "none":
                rows = zip(z, model.positions, strict=True)
                found[name] += [row[at >= 0].float().cpu() for row, at in rows]
            else:
                found[name].append(
                    pool(z.float(), model.positions, pooling, first=first).cpu())
        return look

    with hooked(model, {name: keep(name) for name in modules}):
        for k in range(0, len(texts), batch):
            model.run(model.tokens(texts[k:k + batch]))
    return found if pooling == "none" else {name: torch.cat(zs) for name, zs in found.items()}
