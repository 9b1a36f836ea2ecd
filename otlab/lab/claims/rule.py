"""The verdict: what a claim expects, said as an object, and one rule that compares it.

A chapter writes no condition by hand. It states what the publication states, `ratio(2.6)`,
`above(0)`, `equals(1, margin=0.05)`, and `judge` compares that with what was measured.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from otlab.core.stats import ROUNDING, Interval, short

VERDICTS = ("reproduced", "stronger than claimed", "direction only", "refuted", "undecided",
            "not tested")
WORST_FIRST = ("not tested", "refuted", "undecided", "direction only", "reproduced",
               "stronger than claimed")
HOLD = ("reproduced", "stronger than claimed")
SEEDS = 5
NEAR = 1 / 3      # of the claimed effect: how far from the number "reproduced" may reach
RULE = ("The rule. Reproduced: the 95 % interval holds the claimed number and reaches no further "
        "from it than a third of the claimed effect; for a sign, a bound or an equality, it lies "
        "wholly inside. Stronger than claimed: wholly beyond the number. Direction only: wholly on "
        "the claimed side of no effect, but neither of these. Refuted: wholly on the other side, "
        "wholly outside, or around no effect and short of a third of the claimed one. Undecided: "
        f"too wide to tell. Fewer than {SEEDS} seeds test nothing. Ratios are compared on the log "
        "scale.")
FEW = f"Needs {SEEDS} seeds; run --budget page."
ITSELF = "No effect beyond rounding: at these parameters a thing is compared with itself."
FLAT = ("All seeds gave one value: exact(…) where no seed can change it, count_interval(…) for "
        "counts.")
Measured = Interval | Sequence[Interval] | Mapping[str, Interval]


class Verdict(NamedTuple):
    """One of VERDICTS, and why nothing was tested, if so."""

    word: str
    why: str = ""


@dataclass(frozen=True)
class Effect:
    """An effect of claimed size: `number`, where `null` would be none. From `ratio`, `number`."""

    number: float
    null: float
    text: str
    of_ratio: bool = False

    def __post_init__(self):
        values = (self.number, self.null)
        if not all(map(math.isfinite, values)) or self.number == self.null:
            raise ValueError(f"a claimed effect is finite and not null={self.null}, which means "
                             f"none; got {self.number}. Use equals(number, margin=…).")
        if self.of_ratio and self.number <= 0:
            raise ValueError(f"a claimed ratio is positive; got {self.number}. Use number(…) for "
                             "differences.")

    def judge(self, interval: Interval) -> Verdict:
        """Compare distances from null, in the claimed direction; on the log scale for ratios."""
        if interval.kind == "exact":
            raise ValueError("exact(…) has no effect with an interval; claim at_least(…), "
                             "at_most(…), between(…) or equals(…, margin=…) of it.")
        if self.of_ratio and not interval.logarithmic:
            raise ValueError(f"ratio({short(self.number)}) is compared on the log scale; got an "
                             f"interval of kind {interval.kind!r}. Make it with ratio_interval "
                             "or positive_interval.")
        log = interval.logarithmic and min(self.null, self.number) > 0
        place = math.log if log else float
        sign = 1 if self.number > self.null else -1
        effect = abs(place(self.number) - place(self.null))
        near, far = sorted(sign * (place(edge) - place(self.null))
                           for edge in (interval.low, interval.high))
        rounding = _rounding(interval, self.null) / (self.null if log else 1.0)
        if max(abs(near), abs(far)) <= rounding:
            return Verdict("not tested", ITSELF)
        if near > effect:
            return Verdict("stronger than claimed")
        if far >= effect and effect - near <= NEAR * effect and far - effect <= NEAR * effect:
            return Verdict("reproduced")
        if near > rounding:
            return Verdict("direction only")
        return Verdict("refuted" if far < NEAR * effect else "undecided")


@dataclass(frozen=True)
class Region:
    """Where the whole interval must lie, `low` to `high`. From `above`, `at_most`, `equals`, …

    open: the ends do not belong to it and mean no effect: a claim of a sign.
    """

    low: float
    high: float
    text: str
    open: bool = False

    def __post_init__(self):
        if not self.low < self.high:
            raise ValueError(f"a region runs from low to high; got {self.low} to {self.high}. "
                             "equals(…) wants a positive margin, between(…) the smaller end first.")

    def judge(self, interval: Interval) -> Verdict:
        """Inside, outside, or neither."""
        low, high = interval.low, interval.high
        if self.open:
            null = self.low if math.isfinite(self.low) else self.high
            rounding = 0.0 if interval.kind == "exact" else _rounding(interval, null)
            if max(abs(low - null), abs(high - null)) <= rounding:
                return Verdict("not tested", ITSELF)
            inside = low > self.low + rounding and high < self.high - rounding
            outside = high <= self.low or low >= self.high
        else:
            inside = low >= self.low and high <= self.high
            outside = high < self.low or low > self.high
        if interval.kind == "exact":               # one value outside is a counterexample
            return Verdict("reproduced" if inside else "refuted")
        return Verdict("reproduced" if inside else "refuted" if outside else "undecided")


Expected = Effect | Region


def ratio(claimed: float, of: str = "") -> Effect:
    """A ratio of claimed size, where 1 is no effect. of: its parts, as printed, "10.4 / 4.0"."""
    return Effect(float(claimed), 1.0, _quotation(claimed, of), of_ratio=True)


def number(claimed: float, of: str = "", *, null: float = 0.0) -> Effect:
    """A number of claimed size, where `null` is no effect. of: its parts, "0.50 − 0.04"."""
    return Effect(float(claimed), float(null), _quotation(claimed, of))


def above(null: float) -> Region:
    """A claim of a sign: above `null`, by however much."""
    return Region(float(null), math.inf, f"above {short(null)}", open=True)


def below(null: float) -> Region:
    """A claim of a sign: below `null`, by however much."""
    return Region(-math.inf, float(null), f"below {short(null)}", open=True)


def at_least(bound: float) -> Region:
    """A bound from below."""
    return Region(float(bound), math.inf, f"at least {short(bound)}")


def at_most(bound: float) -> Region:
    """A bound from above."""
    return Region(-math.inf, float(bound), f"at most {short(bound)}")


def between(low: float, high: float) -> Region:
    """A range, ends included."""
    return Region(float(low), float(high), f"{short(low)} to {short(high)}")


def equals(claimed: float, *, margin: float) -> Region:
    """Two things are the same: `claimed`, to within `margin` either way."""
    return Region(claimed - margin, claimed + margin, f"{short(claimed)}, within {short(margin)}")


def judge(expected: Expected | Sequence[Expected], measured: Measured) -> Verdict:
    """The verdict on a claim; for several intervals the worst of theirs.

    Args:
        expected: what the claim says; one for all intervals, or one for each.
        measured: an Interval, or several, in a sequence or by name.

    Raises:
        ValueError: when there is not one expectation for each interval.
        TypeError: for anything but Intervals.
    """
    intervals = parts(measured)
    each = list(expected) if isinstance(expected, list | tuple) else [expected] * len(intervals)
    if len(each) != len(intervals):
        raise ValueError(f"one expectation for each interval, or one for all; got {len(each)} for "
                         f"{len(intervals)}.")
    return min((_judge(e, v) for e, v in zip(each, intervals, strict=True)),
               key=lambda verdict: WORST_FIRST.index(verdict.word))


def parts(measured: Measured) -> list[Interval]:
    """The intervals of a measurement."""
    several = measured.values() if isinstance(measured, Mapping) else (
        measured if isinstance(measured, list | tuple) else [measured])
    if not several or not all(isinstance(v, Interval) for v in several):
        raise TypeError(f"measured is an Interval or several; got {measured!r}. Make one with "
                        "mean_interval, ratio_interval, count_interval, … or exact(values).")
    return list(several)


def _judge(expected: Expected, interval: Interval) -> Verdict:
    if not isinstance(expected, Expected):
        raise TypeError(f"a claim expects ratio(…), number(…), above(…), below(…), at_least(…), "
                        f"at_most(…), between(…) or equals(…); got {expected!r}.")
    if interval.kind != "exact" and interval.n < SEEDS:
        return Verdict("not tested", FEW)
    verdict = expected.judge(interval)
    if interval.flat and verdict.word != "not tested":
        return Verdict("not tested", FLAT)
    return verdict


def _rounding(interval: Interval, null: float) -> float:
    """The smallest distance from null that is an effect, in the unit of the interval."""
    return max(interval.resolution, ROUNDING * abs(null))


def _quotation(claimed: float, of: str) -> str:
    return f"{of} = {short(claimed)}" if of else short(claimed)
