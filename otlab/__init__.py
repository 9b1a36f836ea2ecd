"""OT Lab: solvers, models and lessons for optimal transport in machine learning.

A room offers what it defines: ``from otlab.couplings import sinkhorn``. Tab completion lists it;
nothing is loaded before it is used, so that ``import otlab`` and ``otlab --help`` stay quick
and load neither jax nor torch. `otlab._rooms` says what happens where two names meet.
"""

from otlab._rooms import rooms

__version__ = "0.1.0"
__getattr__, __dir__ = rooms(__name__, __path__)
