"""Intervals for what is measured over seeds: every number a chapter quotes comes with one."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

MINUS = "\N{MINUS SIGN}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Interval:
    """A mean with a two-sided Student-t interval.

    mean, low, high: in the unit of the samples; n: how many samples; level: coverage.
    """

    mean: float
    low: float
    high: float
    n: int
    level: float = 0.95

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        """0.049 ± 0.021: the mean to the place of the half width's second digit.

        A lopsided interval, as a ratio's may be, names its ends: 8.4 (4.1 to 17.2).
        """
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
        text = form.format(*_rounded(values, values[1]))
        return f"({text}) × 10{str(power).translate(SUPERSCRIPTS)}" if power else text

    def below(self, other: "Interval | float") -> bool:
        """Whether this interval lies wholly below another interval, or a number."""
        return self.high < (other.low if isinstance(other, Interval) else other)

    def above(self, other: "Interval | float") -> bool:
        """Whether this interval lies wholly above another interval, or a number."""
        return self.low > (other.high if isinstance(other, Interval) else other)


def mean_interval(samples, *, level: float = 0.95) -> Interval:
    """Mean of independent samples with its Student-t interval.

    Args:
        samples: one number per seed, shape (n,), n ≥ 2.
        level: coverage, between 0 and 1.

    Raises:
        ValueError: for fewer than two samples, NaN or infinite samples, or a bad level.
    """
    s = _samples(samples, "samples")
    if not 0 < level < 1:
        raise ValueError(f"level is a coverage between 0 and 1; got {level}. Try level=0.95.")
    mean, n = float(s.mean()), len(s)
    half = float(stdtrit(n - 1, 0.5 + level / 2) * s.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n, level)


def paired_interval(a, b, *, level: float = 0.95) -> Interval:
    """Interval of the mean difference a − b when both were measured on the same seeds.

    Shared seeds cancel what they share, so this is far tighter than comparing two intervals.

    Raises:
        ValueError: when the two have different lengths, or for what mean_interval rejects.
    """
    a, b = _samples(a, "a"), _samples(b, "b")
    if a.shape != b.shape:
        raise ValueError(
            f"paired samples need one a per b; got {len(a)} and {len(b)}. "
            "Measure both on the same seeds, or use mean_interval on each."
        )
    return mean_interval(a - b, level=level)


def ratio_interval(a, b, *, level: float = 0.95) -> Interval:
    """Geometric mean of the paired ratios a / b with its interval (t on the log scale).

    Raises:
        ValueError: when a ratio is not positive and finite, or lengths differ.
    """
    a, b = _samples(a, "a"), _samples(b, "b")
    if a.shape != b.shape or (a <= 0).any() or (b <= 0).any():
        raise ValueError(
            f"ratio_interval wants positive paired samples; got shapes {a.shape}, {b.shape}, "
            f"minima {a.min():.3g}, {b.min():.3g}. Use paired_interval for signed quantities."
        )
    logs = mean_interval(np.log(a) - np.log(b), level=level)
    return Interval(
        float(np.exp(logs.mean)), float(np.exp(logs.low)), float(np.exp(logs.high)), len(a), level
    )


def _samples(values, name: str) -> np.ndarray:
    s = np.asarray(values, dtype=float)
    if s.ndim != 1 or len(s) < 2:
        raise ValueError(
            f"{name} must be one number per seed, at least two; got shape {s.shape}. "
            "An interval from a single run does not exist: add seeds."
        )
    if not np.isfinite(s).all():
        raise ValueError(
            f"{name} has {int((~np.isfinite(s)).sum())} NaN or infinite values of {len(s)}; "
            "find the run that failed before averaging over it."
        )
    return s


def _rounded(values, half: float) -> list[str]:
    """Each value to the place of the second digit of `half`; to three digits if that is 0."""
    leading, digits = (half, 2) if half > 0 else (abs(values[0]), 3)
    if not 0 < leading < np.inf:
        return [f"{v:g}" for v in values]
    places = max(0, digits - 1 - int(np.floor(np.log10(leading))))
    return [f"{round(v, places) + 0.0:.{places}f}".replace("-", MINUS) for v in values]
