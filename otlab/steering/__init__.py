"""Moving a network's activations: maps, probes, concepts."""

from otlab._rooms import offer

__getattr__, __dir__ = offer(__name__, __path__)
