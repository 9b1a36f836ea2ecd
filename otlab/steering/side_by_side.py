"""Several steerings of one model in one batch: every seed has its own maps and its own rows."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from otlab.language.hooks import hooked
from otlab.steering.maps import Maps, untouched


@contextmanager
def steer_rows(model, maps: Sequence[Maps], rows: int, strength: float):
    """While the block runs, rows k · rows … (k + 1) · rows of a batch are moved by maps[k].

    Args:
        model: a `language.model.LanguageModel`.
        maps: one `Maps` a group of rows; all of the same modules, tokens and guard.
        rows: rows of a group; a batch then holds len(maps) · rows of them.
        strength: as in `steer`; 0 is the model itself.

    Raises:
        ValueError: for maps that differ in more than their numbers.
    """
    if len({(tuple(m), m.tokens, m.first) for m in maps}) != 1:
        raise ValueError("steer_rows wants maps of the same modules, tokens and first; group them.")
    if strength == 0:
        yield
        return

    def mover(name):
        scale, shift, low, high = _stacked([m[name] for m in maps], rows, strength, model.device)

        def move(z):
            x = z.float()
            new = torch.addcmul(shift, x, scale)
            if low is not None:
                new = torch.where((x > low) & (x < high), new, x)
            keep = untouched(model.positions, maps[0])
            return new.to(z.dtype) if keep is None else torch.where(keep[..., None], z,
                                                                   new.to(z.dtype))
        return move

    with hooked(model, {name: mover(name) for name in maps[0]}):
        yield


def _stacked(affines, rows, strength, device):
    guarded = {m.low is not None for m in affines}
    if len(guarded) != 1:
        raise ValueError("steer_rows wants a guard on all of the maps or on none of them.")

    def stack(vectors):
        return torch.stack(vectors).repeat_interleave(rows, 0)[:, None].to(device, torch.float32)

    folded = [m.folded(strength) for m in affines]
    ends = [stack([getattr(m, end) for m in affines]) if guarded == {True} else None
            for end in ("low", "high")]
    return stack([m.omega for m in folded]), stack([m.beta for m in folded]), *ends


def turn_rows(model, maps: Sequence[Maps] | None, prompts: Sequence[str], *,
              strengths: Sequence[float], groups: int, new: int, seed: int, shows: Callable,
              temperature: float = 1.0, top_p: float = 1.0) -> dict:
    """What `dial.turn` does with one set of maps a seed, all seeds in one batch.

    Args:
        maps: one `Maps` a group, or None for no steering.
        prompts: of one group.   groups: how many.   new: tokens of a continuation.
        seed: of the sampling; each row draws the same numbers at every strength.
        shows: function of texts that gives a boolean each, such as `Concept.presence`.

    Returns:
        strength (S,); presence and perplexity (S, groups), the latter by the model without
        steering; texts (S, groups, len(prompts)), all that was written.
    """
    found = {"strength": list(map(float, strengths)), "presence": [], "perplexity": [], "texts": []}
    for strength in strengths:
        with steer_rows(model, maps or [Maps({})] * groups, len(prompts), strength):
            out = model.generate([*prompts] * groups, new=new, seed=seed, temperature=temperature,
                                 top_p=top_p)
        logp = model.log_likelihoods(out.given, out.written)
        of_group = np.array_split(np.arange(len(logp)), groups)
        found["presence"].append([float(np.mean(shows([out.texts[i] for i in rows])))
                                  for rows in of_group])
        found["perplexity"].append([float(torch.cat([logp[i] for i in rows]).mean().neg().exp())
                                    for rows in of_group])
        found["texts"].append([[out.texts[i] for i in rows] for rows in of_group])
    return found
