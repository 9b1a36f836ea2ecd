"""What every check is made of: a demand with its sentence, and an answer of the wanted shape."""

import numpy as np


def demand(condition, sentence: str) -> None:
    """Raise AssertionError with the sentence unless the condition holds."""
    if not bool(condition):
        raise AssertionError(sentence)


def shaped(got, want: tuple, what: str) -> np.ndarray:
    """The answer as a float array of the wanted shape.

    Raises:
        AssertionError: saying what to return and what came instead.
    """
    try:
        value = np.asarray(got, dtype=float)
    except (TypeError, ValueError):
        raise AssertionError(f"return {what}; got {type(got).__name__}.") from None
    demand(value.shape == want, f"return {what}; got an array of shape {value.shape}.")
    return value
