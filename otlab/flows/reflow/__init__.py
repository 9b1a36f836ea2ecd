"""Rectified flow, ReFlow and its improvements; one-step students."""
