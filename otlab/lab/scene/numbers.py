"""Numbers as text for people."""

import numpy as np

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def tidy(value) -> str:
    """A number as a reader likes it: 256, 0.095, 1.5×10⁻⁵; anything else as its str."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        return str(value)
    value = float(value)
    if value == round(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    mantissa, _, power = f"{value:.3g}".partition("e")
    if not power:
        return mantissa
    return f"{mantissa}×10{str(int(power)).translate(SUPERSCRIPTS)}"
