"""Rooms offer what the reference pages list: by tab completion, lazily, by the short import."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = sorted(p.parent.name for p in (ROOT / "otlab").glob("*/__init__.py"))
# A name that several modules of a room define is left to them; the list may only shrink.
TWICE = {
    "language": {"load"},
    "couplings": {"State", "start", "step", "kernel", "sample_pairs"},
    "flows": {"log_likelihood", "sample"},
    "steering": {"fit"},
}


def documented(room: str) -> dict[str, set[str]]:
    """Names on a room's reference page, as `stage.reference` finds them, with their modules."""
    sys.path.insert(0, str(ROOT / "jupyter_book" / "_ext"))
    try:
        stage = importlib.import_module("stage")
    finally:
        sys.path.pop(0)
    found = {}
    for name in stage.modules(f"otlab.{room}"):
        if stage.has_public(name):
            module = importlib.import_module(name)
            for key, value in vars(module).items():
                inner = getattr(value, "__wrapped__", value)          # jit hides functions
                if (not key.startswith("_") and getattr(inner, "__module__", None) == name
                        and getattr(inner, "__name__", None) == key and inner.__doc__):
                    found.setdefault(key, set()).add(name)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_every_documented_name_is_found_and_can_be_had(room):
    package, names = importlib.import_module(f"otlab.{room}"), documented(room)
    assert len(names) > 10
    offered, twice = set(dir(package)), {name for name in names if len(names[name]) > 1}
    children = {p.stem for p in (ROOT / "otlab" / room).iterdir()}
    assert set(names) - offered == twice - children
    for name in set(names) - twice - children:
        (home,) = names[name]
        assert getattr(package, name) is getattr(importlib.import_module(home), name), name


@pytest.mark.parametrize("room", ROOMS)
def test_modules_and_folders_are_offered_as_themselves(room):
    package = importlib.import_module(f"otlab.{room}")
    for path in (ROOT / "otlab" / room).iterdir():
        if not path.name.startswith("_") and (path.suffix == ".py" or path.is_dir()):
            assert getattr(package, path.stem).__name__ == f"otlab.{room}.{path.stem}"


@pytest.mark.parametrize("room", ["couplings", "flows", "language", "steering"])
def test_names_that_meet_are_few_and_say_where_they_are(room):
    package = importlib.import_module(f"otlab.{room}")
    from otlab._rooms import contents

    twice = {k for k, homes in contents(package.__name__, Path(package.__path__[0])).items()
             if len(homes) > 1}
    assert twice == TWICE.get(room, set())
    for name in twice:
        with pytest.raises(AttributeError, match=f"'{name}' is in otlab.{room}.*, .*import it"):
            getattr(package, name)


def test_the_short_import_gives_the_function_and_a_shared_name_the_module():
    from otlab.couplings import progot, sinkhorn
    from otlab.couplings.entropic_ot.sinkhorn import sinkhorn as the_function

    assert sinkhorn is the_function
    assert progot.__name__ == "otlab.couplings.progot" and callable(progot.progot)


def test_a_wrong_name_brings_the_nearest():
    import otlab
    from otlab import couplings

    with pytest.raises(AttributeError, match="did you mean sinkhorn"):
        getattr(couplings, "sinkhron")  # noqa: B009
    with pytest.raises(ImportError):
        from otlab.couplings import nothing_of_the_kind  # noqa: F401
    with pytest.raises(AttributeError, match="its rooms are core, .*steering"):
        getattr(otlab, "coupling")  # noqa: B009
    assert not hasattr(couplings, "_private") and not hasattr(couplings, "__all__")


def test_looking_loads_nothing():
    code = ("import sys, otlab; from otlab import couplings, steering; "
            "assert 'sinkhorn' in dir(couplings) and 'couplings' in dir(otlab); "
            "dir(steering); print(*(m for m in ('jax', 'torch', 'numpy') if m in sys.modules))")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []
