"""Intervals for what is measured over seeds: every number a chapter quotes comes with one."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit


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
        return f"{_significant(self.mean)} ± {_significant(self.half_width, 2)}"

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


def _significant(value: float, digits: int = 3) -> str:
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    places = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:.{places}f}" if places <= 5 else f"{value:.{digits - 1}e}"
