"""Why the rule is as it is: a claimed ratio of 2, five seeds, and truths that we choose.

Each run draws one log ratio a seed about the truth and asks both rules. Until 2026 a claim was
"reproduced" when its interval held the number or lay beyond it, so that noise helped.
"""

from collections import Counter

import numpy as np

from otlab.core.stats import Interval, ratio_interval
from otlab.lab.claims.rule import SEEDS, VERDICTS, judge, ratio

CLAIMED = 2.0
TRUTHS = (10.0, 2.0, 1.5, 1.0, 0.5)
NOISES = (0.02, 0.1, 0.3, 1.0)      # standard deviation of one seed's log ratio


def old_rule(interval: Interval, claimed: float = CLAIMED) -> str:
    """The rule before this one, for a claimed ratio above 1."""
    if interval.low > 1:
        return "reproduced" if interval.high >= claimed else "direction only"
    return "refuted" if interval.high < 1 else "undecided"


def new_rule(interval: Interval, claimed: float = CLAIMED) -> str:
    """The rule of every table."""
    return judge(ratio(claimed), interval).word


def rates(rule, *, truth: float, noise: float, runs: int = 1_000, seed: int = 0
          ) -> dict[str, float]:
    """How often a rule gives each verdict.

    Args:
        rule: `old_rule` or `new_rule`.
        truth: the ratio that the seeds scatter about.
        noise: standard deviation of one seed's log ratio.
        runs: how many times the five seeds are drawn. seed: of all draws.
    """
    draws = truth * np.exp(noise * np.random.default_rng(seed).normal(size=(runs, SEEDS)))
    found = Counter(rule(ratio_interval(row, np.ones(SEEDS))) for row in draws)
    return {verdict: found[verdict] / runs for verdict in VERDICTS}


def table(*, runs: int = 1_000) -> list[dict]:
    """A row for each truth and noise: how often each rule says "reproduced", and the rest.

    Returns:
        truth, noise, old: rates of the old rule by verdict; new: of this one.
    """
    return [{"truth": truth, "noise": noise,
             "old": rates(old_rule, truth=truth, noise=noise, runs=runs),
             "new": rates(new_rule, truth=truth, noise=noise, runs=runs)}
            for truth in TRUTHS for noise in NOISES]
