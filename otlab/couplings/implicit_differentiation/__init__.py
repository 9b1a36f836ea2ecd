"""Gradients through optimal transport without unrolling its solver."""
