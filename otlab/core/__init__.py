"""What every room uses: costs, data, statistics, devices."""

from otlab._rooms import offer

__getattr__, __dir__ = offer(__name__, __path__)
