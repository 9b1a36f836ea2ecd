"""Entropic optimal transport: Sinkhorn's iteration, divergence, entropic maps."""
