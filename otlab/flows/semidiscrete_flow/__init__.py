"""What semidiscrete pairs bring to flows: guidance from classes, and the mean flow."""
