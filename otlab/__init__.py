"""OT Lab: solvers, models and lessons for optimal transport in machine learning.

Rooms are imported by name: ``from otlab.couplings import sinkhorn``. This module itself
loads neither jax nor torch, so that ``import otlab`` and ``otlab --help`` stay quick.
"""

__version__ = "0.1.0"
