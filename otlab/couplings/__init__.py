"""Who is paired with whom: solvers that return potentials and sample pairs."""

from otlab._rooms import offer

__getattr__, __dir__ = offer(__name__, __path__)
