import jax.numpy as jnp
import pytest

from otlab.core import devices


def test_eight_virtual_devices_share_the_rows():
    out = devices.on_virtual_devices(
        "import jax, jax.numpy as jnp\n"
        "from otlab.core import devices\n"
        "m = devices.mesh(); x = devices.shard_rows(jnp.ones((16, 3)), m)\n"
        "print(m.size, x.addressable_shards[0].data.shape, float(x.sum()))\n")
    assert out.split("\n")[0] == "8 (2, 3) 48.0"


def test_replicate_keeps_values():
    x = jnp.arange(6.0).reshape(2, 3)
    assert jnp.array_equal(devices.replicate(x, devices.mesh()), x)


def test_failure_sentences():
    with pytest.raises(RuntimeError, match="KeyError"):
        devices.on_virtual_devices("{}['x']", count=2)
    with pytest.raises(ValueError, match="count"):
        devices.on_virtual_devices("", count=0)
    with pytest.raises(ValueError, match="at least one"):
        devices.mesh([])


def test_failure_uneven_rows_name_the_nearest_size():
    out = devices.on_virtual_devices(
        "import jax.numpy as jnp\nfrom otlab.core import devices\n"
        "try: devices.shard_rows(jnp.ones((10, 3)), devices.mesh())\n"
        "except ValueError as e: print(e)\n")
    assert "use 8 or 16 rows" in out
