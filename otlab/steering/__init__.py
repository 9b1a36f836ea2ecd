"""Moving a network's activations: maps, probes, transport."""

from otlab._rooms import offer

__getattr__, __dir__ = offer(__name__, __path__)
