"""How many programs jax compiled while something ran."""

from contextlib import contextmanager

import jax

LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"  # also where a cache has the rest
_counters = []


def _listen(event, duration, **_):
    if event == LOWERED:
        for counter in _counters:
            counter.append(duration)


jax.monitoring.register_event_duration_secs_listener(_listen)


@contextmanager
def compilations():
    """with compilations() as seen: …; len(seen) is how many there were."""
    seen = []
    _counters.append(seen)
    try:
        yield seen
    finally:
        _counters.remove(seen)
