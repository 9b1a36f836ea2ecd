"""The language model, its activations, and hooks that move them."""

from otlab._rooms import offer

__getattr__, __dir__ = offer(__name__, __path__)
