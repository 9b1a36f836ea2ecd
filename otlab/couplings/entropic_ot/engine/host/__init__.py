"""The solver here and now, on NumPy arrays: what makes the first answer fast."""
