"""Probes for truth: their geometry, mixtures of them, and transport between tasks."""
