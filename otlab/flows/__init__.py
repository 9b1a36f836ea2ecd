"""Velocities learnt on those pairs: paths, objectives, sampling, measures of quality."""

from otlab._rooms import offer

__getattr__, __dir__ = offer(__name__, __path__)
