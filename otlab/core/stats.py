"""Intervals for what is measured over seeds: every number a chapter quotes comes with one."""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, gammaincinv, ndtri, stdtrit

MINUS = "\N{MINUS SIGN}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
ROUNDING = 4 * float(np.finfo(np.float32).eps)     # of a quantity's size: float32 tells no finer
KINDS = {"mean": "mean", "ratio": "geometric mean of ratios", "log": "geometric mean",
         "count": "count", "exact": "exact"}


@dataclass(frozen=True)
class Interval:
    """What was measured, with a two-sided interval.

    mean, low, high: in the unit of the samples; n: how many samples; level: coverage.
    kind: a key of KINDS: how it was made, and so on which scale it is compared.
    scale: size of the quantities behind it, where it is known; two that differ by less than
        ROUNDING times it do not differ. resampled: the samples are overlapping splits.
    """

    mean: float
    low: float
    high: float
    n: int
    level: float = 0.95
    kind: str = "mean"
    scale: float = 0.0
    resampled: bool = False

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}; got {self.kind!r}.")

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2

    @property
    def logarithmic(self) -> bool:
        """Whether it was made on the log scale, where a ratio and its inverse weigh the same."""
        return self.kind in ("ratio", "log")

    @property
    def resolution(self) -> float:
        """The smallest effect that is no rounding, in the unit of the samples."""
        size = max(abs(self.low), abs(self.high))
        return ROUNDING * (self.scale or (size if self.logarithmic else max(size, 1e-6)))

    @property
    def flat(self) -> bool:
        """Whether all samples were equal, up to rounding: an interval of no width tells nothing."""
        if self.kind in ("count", "exact"):
            return False
        return self.high - self.low <= ROUNDING * max(abs(self.low), abs(self.high))

    @property
    def how(self) -> str:
        """How it was made, in a few words: "geometric mean of ratios, 5 seeds"."""
        if self.kind == "exact":
            return "exact" if self.n == 1 else f"exact, {self.n} cases"
        units = "overlapping splits" if self.resampled else "seeds"
        return f"{KINDS[self.kind]}, {self.n} {units}"

    def __str__(self) -> str:
        """0.049 ± 0.021: the mean to the place of the half width's second digit.

        A lopsided interval, as a ratio's may be, names its ends: 8.4 (4.1 to 17.2). What is exact
        has no ±: 0.9998, or the range over all cases.
        """
        if self.kind == "exact":
            return " to ".join(dict.fromkeys((short(self.low, 4), short(self.high, 4))))
        lopsided = abs((self.low + self.high) / 2 - self.mean) > 0.1 * self.half_width
        return self._text("{0} ({2} to {3})" if lopsided else "{0} ± {1}")

    @property
    def with_ends(self) -> str:
        """Mean and ends, rounded alike: 1.06 (0.78 to 1.45)."""
        return self._text("{0} ({2} to {3})")

    def _text(self, form: str) -> str:
        size = max(abs(self.low), abs(self.high), abs(self.mean))
        power = int(np.floor(np.log10(size))) if 0 < size < 1e-3 else 0
        values = [v / 10.0**power for v in (self.mean, self.half_width, self.low, self.high)]
        words = _rounded(values, values[1])
        if self.kind == "count":                       # no hit is 0, not 0.0000
            words = ["0" if not v else w for v, w in zip(values, words, strict=True)]
        text = form.format(*words)
        return f"({text}) × 10{str(power).translate(SUPERSCRIPTS)}" if power else text

    def below(self, other: "Interval | float") -> bool:
        """Whether this interval lies wholly below another interval, or a number."""
        return self.high < (other.low if isinstance(other, Interval) else other)

    def above(self, other: "Interval | float") -> bool:
        """Whether this interval lies wholly above another interval, or a number."""
        return self.low > (other.high if isinstance(other, Interval) else other)


def mean_interval(samples, *, level: float = 0.95, test_fraction: float | None = None,
                  scale: float = 0.0) -> Interval:
    """Mean of independent samples with its Student-t interval.

    Args:
        samples: one number per seed, shape (n,), n ≥ 2.
        level: coverage, between 0 and 1.
        test_fraction: give it when the seeds are random splits of one data set: the fraction of
            the data that each split holds out. Such splits overlap, so that their mean varies
            by σ²(1/n + f / (1 − f)), not σ²/n (Nadeau and Bengio, 2003, equation 8).
        scale: size of the quantities whose differences the samples are, in their unit.

    Raises:
        ValueError: for fewer than two samples, NaN or infinite samples, a bad level or fraction.
    """
    mean, half, n = _student(_samples(samples, "samples"), level, test_fraction)
    return Interval(mean, mean - half, mean + half, n, level, "mean", float(scale),
                    test_fraction is not None)


def paired_interval(a, b, *, level: float = 0.95, test_fraction: float | None = None) -> Interval:
    """Interval of the mean difference a − b when both were measured on the same seeds.

    Shared seeds cancel what they share, so this is far tighter than comparing two intervals.
    `test_fraction` as in `mean_interval`.

    Raises:
        ValueError: when the two have different lengths, or for what mean_interval rejects.
    """
    a, b = _samples(a, "a"), _samples(b, "b")
    if a.shape != b.shape:
        raise ValueError(f"paired samples need one a per b; got {len(a)} and {len(b)}. "
                         "Measure both on the same seeds, or use mean_interval on each.")
    return mean_interval(a - b, level=level, test_fraction=test_fraction,
                         scale=max(np.abs(a).max(), np.abs(b).max()))


def step_intervals(values, *, level: float = 0.95) -> tuple[Interval, ...]:
    """Paired differences from each column to the next: what "rises with the parameter" needs.

    Args:
        values: one row a seed, one column a value of the parameter, shape (n, steps).
        level: coverage of each interval.
    """
    columns = np.asarray(values, dtype=float).T
    if columns.ndim != 2 or len(columns) < 2:
        raise ValueError(f"step_intervals wants (seeds, steps) with two steps or more; got shape "
                         f"{columns.T.shape}. Give one row a seed.")
    return tuple(paired_interval(after, before, level=level)
                 for before, after in zip(columns, columns[1:], strict=False))


def ratio_interval(a, b, *, level: float = 0.95, test_fraction: float | None = None) -> Interval:
    """Geometric mean of the paired ratios a / b with its interval (t on the log scale).

    `test_fraction` as in `mean_interval`.

    Raises:
        ValueError: when a ratio is not positive and finite, or lengths differ.
    """
    a, b = _samples(a, "a"), _samples(b, "b")
    if a.shape != b.shape or (a <= 0).any() or (b <= 0).any():
        raise ValueError(f"ratio_interval wants positive paired samples; got shapes {a.shape}, "
                         f"{b.shape}, minima {a.min():.3g}, {b.min():.3g}. Use paired_interval "
                         "for signed quantities.")
    return _on_log_scale(np.log(a) - np.log(b), level, test_fraction, "ratio")


def positive_interval(samples, *, level: float = 0.95,
                      test_fraction: float | None = None) -> Interval:
    """Geometric mean of positive samples with its interval (t on the log scale).

    For quantities with a long tail, such as perplexities and errors: the interval never reaches
    below zero, and covers the median when the logs are normal. `test_fraction` as in
    `mean_interval`.

    Raises:
        ValueError: when a sample is not positive, or for what mean_interval rejects.
    """
    s = _samples(samples, "samples")
    if (s <= 0).any():
        raise ValueError(f"positive_interval wants positive samples; the smallest is {s.min():.3g}."
                         " Use count_interval for counts, mean_interval for signed quantities.")
    return _on_log_scale(np.log(s), level, test_fraction, "log")


def count_interval(hits, trials=None, *, level: float = 0.95) -> Interval:
    """A fraction of trials, or a rate of events per seed, with an interval made for counts.

    Of Clopper and Pearson's form (Garwood's for events), so that no hit at all still has a width.
    Trials of one seed share its model, hence they count for less than independent ones: as many
    as the spread over seeds says, less what five seeds know about that spread (Korn and
    Graubard, 1998, with a design effect of at least 1).

    Args:
        hits: how often it happened, one count per seed, shape (n,), n ≥ 2.
        trials: how often it could have, a number or shape (n,); None when nothing bounds it.
        level: coverage, between 0 and 1.

    Raises:
        ValueError: for negative or fractional counts, or more hits than trials.
    """
    hits, level = _samples(hits, "hits"), _level(level)
    n, tail = len(hits), (1 - level) / 2
    known = (ndtri(1 - tail) / stdtrit(n - 1, 1 - tail)) ** 2
    if (hits < 0).any() or (hits % 1).any():
        raise ValueError(f"hits are whole numbers from 0; got {hits}. Count, do not average.")
    if trials is None:
        rate = hits.mean()
        spread = max(1.0, hits.var(ddof=1) / rate) if rate else 1.0
        exposure = n * known / spread
        events = rate * exposure
        low = gammaincinv(events, tail) if rate else 0.0
        high = gammaincinv(events + 1, 1 - tail)
        ends = float(low / exposure), float(high / exposure)
        return Interval(float(rate), *ends, n, level, "count")
    trials = np.broadcast_to(np.asarray(trials, dtype=float), hits.shape)
    if (trials <= 0).any() or (hits > trials).any():
        raise ValueError(f"hits are at most trials, which are positive; got {hits} of {trials}. "
                         "Leave trials out for events that nothing bounds.")
    total = trials.sum()
    rate = hits.sum() / total
    between = n / (n - 1) * ((hits - rate * trials) ** 2).sum() / total**2
    binomial = rate * (1 - rate) / total
    effective = total * known / (max(1.0, between / binomial) if binomial else 1.0)
    found = rate * effective
    low = betaincinv(found, effective - found + 1, tail) if rate > 0 else 0.0
    high = betaincinv(found + 1, effective - found, 1 - tail) if rate < 1 else 1.0
    return Interval(float(rate), float(low), float(high), n, level, "count")


def exact(values) -> Interval:
    """What no seed can change, such as an identity: the range of all values that were computed.

    Only for algebra and other facts that one run settles; a claim about it holds when it holds
    for every value.
    """
    v = np.atleast_1d(np.asarray(values, dtype=float)).ravel()
    if not len(v) or not np.isfinite(v).all():
        raise ValueError(f"exact wants finite numbers; got {v}. Find the run that failed.")
    return Interval(float(v.mean()), float(v.min()), float(v.max()), len(v), 1.0, "exact")


def short(value: float, digits: int = 3) -> str:
    """A number as a table states it: 2.6, 1,855, 3 × 10⁻⁸; digits: significant ones."""
    value = float(value)
    if 0 < abs(value) < 1e-3:
        head, power = f"{value:.1e}".split("e")
        text = f"10{str(int(power)).translate(SUPERSCRIPTS)}"
        text = text if head == "1.0" else f"{float(head):g} × {text}"
    else:
        text = f"{value:,.0f}" if 999.5 <= abs(value) < 1e15 else f"{value:.{digits}g}"
    return text.replace("-", MINUS)


def _student(s: np.ndarray, level: float, test_fraction: float | None) -> tuple[float, float, int]:
    """Mean, half width and number of samples."""
    n, weight = len(s), 1 / len(s)
    if test_fraction is not None:
        if not 0 < test_fraction < 1:
            raise ValueError(f"test_fraction is the part that a split holds out, between 0 and 1; "
                             f"got {test_fraction}. Try test_fraction=0.25.")
        weight += test_fraction / (1 - test_fraction)
    quantile = stdtrit(n - 1, 0.5 + _level(level) / 2)
    return float(s.mean()), float(quantile * s.std(ddof=1) * np.sqrt(weight)), n


def _on_log_scale(logs, level: float, test_fraction: float | None, kind: str) -> Interval:
    mean, half, n = _student(logs, level, test_fraction)
    return Interval(float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half)), n,
                    level, kind, resampled=test_fraction is not None)


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level is a coverage between 0 and 1; got {level}. Try level=0.95.")
    return level


def _samples(values, name: str) -> np.ndarray:
    s = np.asarray(values, dtype=float)
    if s.ndim != 1 or len(s) < 2:
        raise ValueError(f"{name} must be one number per seed, at least two; got shape {s.shape}. "
                         "An interval from a single run does not exist: add seeds.")
    if not np.isfinite(s).all():
        raise ValueError(f"{name} has {int((~np.isfinite(s)).sum())} NaN or infinite values of "
                         f"{len(s)}; find the run that failed before averaging over it.")
    return s


def _rounded(values, half: float) -> list[str]:
    """Each value to the place of the second digit of `half`; to three digits if that is 0."""
    leading, digits = (half, 2) if half > 0 else (abs(values[0]), 3)
    if not 0 < leading < np.inf:
        return [f"{v:g}" for v in values]
    places = max(0, digits - 1 - int(np.floor(np.log10(leading))))
    return [f"{round(v, places) + 0.0:.{places}f}".replace("-", MINUS) for v in values]
