"""Imports nbformat and papermill without what they try to import and we never call.

jsonschema, which nbformat brings, builds a grammar of international addresses when
rfc3987_syntax is there (1.3 s of a core); papermill opens pyarrow's file systems (0.5 s). Both
do without when the module cannot be imported, so for the length of these imports it cannot.
"""

import sys
from contextlib import contextmanager

UNUSED = ("rfc3987_syntax", "pyarrow.fs", "pyarrow")


@contextmanager
def without(names=UNUSED):
    """Modules of these names, unless imported before, cannot be imported inside the block."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name, 0) is None:
                del sys.modules[name]


with without():
    import nbformat  # noqa: F401
    import papermill.engines  # noqa: F401
