"""Small real tables that the package carries, with source and licence."""

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np


@dataclass(frozen=True)
class Cells:
    """Muscle cells in 16 coordinates, and the hour at which each was taken.

    cells: float32 (271, 16), principal components of log(1 + FPKM), standard deviation 1.
    hours: int16 (271,), hours since the change of medium: 0, 24, 48 or 72.
    fractions: float32 (16,), fraction of the variance of each coordinate.
    """

    cells: np.ndarray
    hours: np.ndarray
    fractions: np.ndarray
    source: str
    licence: str

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """(cells at hour 0, cells after it), the two clouds of a transport problem."""
        return self.cells[self.hours == 0], self.cells[self.hours > 0]


@lru_cache(1)
def muscle_cells() -> Cells:
    """Human skeletal muscle myoblasts before and after they differentiate; see cells.md beside it.

    Source: Trapnell et al., Nature Biotechnology 32 (2014), GEO GSE52529. Artistic License 2.0.
    """
    with resources.as_file(resources.files(__package__) / "cells.npz") as path:
        with np.load(path) as file:
            return Cells(file["cells"], file["hours"], file["share"], str(file["source"]),
                         str(file["licence"]))
