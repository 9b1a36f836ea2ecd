"""What the runner does inside a kernel: wipe it between two runs, and ask what it ran on.

A warm kernel keeps its imports and the library's compiled functions; everything a chapter can
name or set goes: variables, figures, widgets, plot settings, jax settings, environment, folder.
What stays is the state of imported modules that somebody changed by hand; ``--fresh`` starts a
new kernel for each run instead.
"""

import gc
import os
import platform
import random
import sys
import warnings

PACKAGES = ("otlab", "jax", "jaxlib", "equinox", "optax", "diffrax", "ott-jax", "numpy", "scipy",
            "scikit-learn", "torch")
_before: dict = {}


def remember(with_jax: bool) -> None:
    """Note, in a kernel that has just started, what every run must find again.

    with_jax: import jax now, to know its settings before a chapter changes them.
    """
    settings = None
    if with_jax:
        import jax

        settings = dict(jax.config.values)
    _before.update(cwd=os.getcwd(), environ=dict(os.environ), path=list(sys.path),
                   filters=list(warnings.filters), jax=settings)


def wipe() -> bool:
    """Bring the kernel back to what `remember` saw; False when that cannot be known."""
    from IPython import get_ipython

    if "jax" in sys.modules and _before["jax"] is None:
        return False

    if "ipywidgets" in sys.modules:
        sys.modules["ipywidgets"].Widget.close_all()
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].rcdefaults()
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    if "jax" in sys.modules:
        for name, value in _before["jax"].items():
            if sys.modules["jax"].config.values.get(name) != value:
                sys.modules["jax"].config.update(name, value)
    os.chdir(_before["cwd"])
    os.environ.clear()
    os.environ.update(_before["environ"])
    sys.path[:] = _before["path"]
    warnings.filters[:] = _before["filters"]
    warnings._filters_mutated() if hasattr(warnings, "_filters_mutated") else None
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        vars(sys).pop(name, None)  # keeps a failed cell's arrays alive
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # a chapter may use the old generator
    get_ipython().reset(new_session=True, aggressive=False)
    get_ipython().execution_count = 1
    gc.collect()
    return True


def facts() -> dict:
    """Versions of what this kernel has loaded, and the device that it computed on."""
    from importlib import metadata

    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        module = {"ott-jax": "ott", "scikit-learn": "sklearn"}.get(name, name)
        if module in sys.modules:
            try:
                versions[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
    return {"versions": versions, "device": device()}


def device() -> str:
    """'2 CPU cores (x86_64)', or the name of the accelerator that jax or torch found."""
    if "jax" in sys.modules:
        first = sys.modules["jax"].devices()[0]
        if first.platform != "cpu":
            return first.device_kind
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} CPU cores ({platform.machine()})"
