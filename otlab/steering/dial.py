"""Turn the dial: what a model writes at each strength, how often the concept shows, how well."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from otlab.language.model import Generations
from otlab.steering.maps import Maps, steer


@dataclass(frozen=True)
class Turned:
    """One seed's texts at one strength.

    presence: fraction of texts with the concept.   perplexity: of the texts, judged by the
    model without steering.   texts: all of them, in the order of the prompts.
    """

    strength: float
    seed: int
    presence: float
    perplexity: float
    texts: list[str]


def turn(model, maps: Maps | None, prompts: Sequence[str], *, strengths: Sequence[float],
         seeds: Sequence[int], new: int, shows: Callable, temperature: float = 1.0,
         top_p: float = 1.0) -> list[Turned]:
    """Generate after the prompts at every strength and seed, and judge what was written.

    Args:
        model: a `language.model.LanguageModel`.
        maps: what `steer` takes, or None for no steering (strengths then only label the rows).
        prompts: one continuation each.   new: tokens of a continuation.
        strengths, seeds: every pair is one run; a seed draws alike at every strength.
        shows: function of the texts that gives a boolean each, such as `Concept.presence`.
        temperature, top_p: of the sampling.

    Returns:
        One `Turned` a pair, strengths in the outer loop.

    Source: arXiv 2410.23054, section 4.2 (concept induction; presence there by a language model).
    """
    results = []
    for strength in strengths:
        for seed in seeds:
            with steer(model, maps or Maps({}), strength):
                out = model.generate(prompts, new=new, seed=seed, temperature=temperature,
                                     top_p=top_p)
            results.append(judged(model, out, strength, seed, shows))
    return results


def judged(model, out: Generations, strength: float, seed: int, shows: Callable) -> Turned:
    """A `Turned` from generations: call it outside of every `steer` block."""
    return Turned(float(strength), int(seed), float(np.mean(shows(out.texts))),
                  model.perplexity(out), out.texts)


def strength_at(strengths, values, level: float) -> float:
    """The strength at which a rising curve first reaches the level, linearly between points.

    NaN when it never does. For "the strength at equal perplexity".
    """
    strengths, values = np.asarray(strengths, float), np.asarray(values, float)
    if strengths.shape != values.shape or strengths.ndim != 1:
        raise ValueError(f"strength_at wants one value a strength; got {strengths.shape} and "
                         f"{values.shape}.")
    above = np.flatnonzero(values >= level)
    if not len(above):
        return float("nan")
    k = int(above[0])
    if k == 0:
        return float(strengths[0])
    share = (level - values[k - 1]) / (values[k] - values[k - 1])
    return float(strengths[k - 1] + share * (strengths[k] - strengths[k - 1]))
