"""Every status has a sentence."""

import pytest

from otlab.core.status import REMEDY, Status


@pytest.mark.parametrize("status", Status)
def test_invariant_every_status_has_a_remedy(status):
    assert REMEDY[status].endswith(".") and len(REMEDY[status]) > 9


def test_oracle_remedies_name_what_to_change():
    assert "max_steps" in REMEDY[Status.MAX_STEPS] and "epsilon" in REMEDY[Status.MAX_STEPS]
    for way_out in ("Centre", "cost='dot'", "epsilon", "float64"):
        assert way_out in REMEDY[Status.PRECISION]
    assert "NaN" in REMEDY[Status.NONFINITE]


def test_invariant_codes_fit_traced_integers():
    assert [int(s) for s in Status] == list(range(len(Status)))
