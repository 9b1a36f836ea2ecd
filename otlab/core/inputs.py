"""Checks of arguments: each returns what it was given, or raises a sentence that names it."""


def positive_int(name: str, value, least: int = 1) -> int:
    """Return value as an int of at least `least`, or raise a sentence naming it."""
    if isinstance(value, bool) or int(value) != value or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}.")
    return int(value)
