"""Around the chapters: sliders, figures, claims, checks, runs and parameter sweeps."""

from otlab._rooms import offer

__getattr__, __dir__ = offer(__name__, __path__)
