"""Semidiscrete optimal transport: a continuous source, a finite target, one potential each."""

from otlab.couplings.semidiscrete.solver import (
    RATE,
    Info,
    SemidiscreteResult,
    State,
    init,
    relative_rate,
    semidual,
    solve,
    standard_normal,
    step,
)

__all__ = ["RATE", "Info", "SemidiscreteResult", "State", "init", "relative_rate", "semidual",
           "solve", "standard_normal", "step"]
