"""Many devices, in one place: meshes, shardings, and virtual devices to try them on."""

import os
import subprocess
import sys
import tempfile

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from otlab.core import ready

AXIS = "batch"


def mesh(devices=None) -> Mesh:
    """A one-axis mesh named "batch" over all devices, or over the given ones."""
    devices = jax.devices() if devices is None else list(devices)
    if not devices:
        raise ValueError("mesh needs at least one device; got none. Leave `devices` out for all.")
    return Mesh(np.array(devices), (AXIS,))


def shard_rows(x, where: Mesh):
    """Lay the rows of x out over the mesh; every device holds len(x) / size of them.

    Raises:
        ValueError: when the rows do not divide evenly, naming the nearest size that does.
    """
    size = where.shape[AXIS]
    if len(x) % size:
        raise ValueError(f"{len(x)} rows do not divide over {size} devices; "
                         f"use {len(x) // size * size} or {-(-len(x) // size) * size} rows.")
    return jax.device_put(x, NamedSharding(where, PartitionSpec(AXIS)))


def replicate(x, where: Mesh):
    """Put a full copy of x on every device of the mesh."""
    return jax.device_put(x, NamedSharding(where, PartitionSpec()))


def on_virtual_devices(source: str, *, count: int = 8, timeout: float = 300) -> str:
    """Run Python source in a fresh process that sees `count` virtual CPU devices.

    The number of devices is fixed when jax starts, hence the process. What runs on eight
    virtual devices runs unchanged on eight real ones.

    Returns:
        What the source printed.

    Raises:
        RuntimeError: when it fails, with the end of its error output.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1; got {count}.")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    # A device that waits for the others holds a thread of XLA's pool, which by itself has one a
    # device: with four such programs on two cores, 6 of 12 stuck; with four threads a device, none.
    environment = os.environ | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu",
                                "PJRT_NPROC": str(4 * count)}
    code, out, errors = _run(source, environment, timeout)
    if code:
        raise RuntimeError(f"the source failed on {count} virtual devices:\n{errors[-2000:]}")
    return out


def _run(source: str, environment: dict[str, str], timeout: float) -> tuple[int, str, str]:
    """Exit code, output and errors: from a process that is ready, where there is one, else new."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        files = {"stdout": out.fileno(), "stderr": errors.fileno()}
        try:
            process = ready.fork(os.environ[ready.VARIABLE], env=environment, cwd=os.getcwd(),
                                 source=source, **files)
        except (KeyError, OSError):  # there is none
            process = subprocess.Popen([sys.executable, "-c", source], env=environment, **files)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        texts = []
        for file in (out, errors):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return code, *texts
