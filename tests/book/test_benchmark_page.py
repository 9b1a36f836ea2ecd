"""The page of benchmarks is written from saved reports, the bad cells included."""

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location(
    "benchmarks", ROOT / "jupyter_book" / "_ext" / "benchmarks.py")
benchmarks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(benchmarks)
SAVED = ROOT / "notebooks" / "results" / "benchmarks"


def cell(n, gain, peer="OTT-JAX"):
    seconds = {"otlab": 0.5} | ({peer: 0.5 * gain} if gain else {})
    return {"n": n, "clouds": "gaussians", "d": 2, "epsilon": 0.1, "seconds": seconds,
            "processor seconds": seconds, "error": dict.fromkeys(seconds, 9e-4),
            "best peer": peer if gain else None, "speed-up": gain, "speed-up, processor": gain,
            "left out, predicted seconds": {}}


def whole(rows):
    return {"date": "2026-01-01", "machine": "two cores", "versions": {"jax": "1"},
            "command": "make bench", "rows": dict(enumerate(rows))}


def test_a_lost_cell_and_a_cell_without_peer_are_told(tmp_path):
    (tmp_path / "sinkhorn.json").write_text(json.dumps(whole(
        [cell(1024, 4.0), cell(4096, 0.5), cell(16_384, None)])))
    text = benchmarks.page(tmp_path)
    assert "In 2 of 3 cells" in text and "slower in 1" in text
    assert "**1.4 times as fast" in text  # the geometric mean of 4 and 1/2
    assert "none in time" in text and "0.5 ×" in text and "2026-01-01" in text


def test_nothing_saved_is_said(tmp_path):
    assert "No benchmark" in benchmarks.page(tmp_path)


def test_every_saved_report_has_its_stamp_and_its_place():
    for path in SAVED.glob("*.json"):
        data = json.loads(path.read_text())
        assert data["rows"] and data["date"] and data["machine"] and "jax" in data["versions"]
    assert benchmarks.page(SAVED).count("otlab-footer") == len(list(SAVED.glob("*.json"))) > 0


def flow_row(kind, gains, **more):
    """A row of the flows report: ours, and one valid peer at rate 100; another pairs nothing."""
    rate = {f"otlab, {k}": 100 * g for k, g in gains.items()} | {"peer": 100.0, "idle": 500.0}
    return {"kind": kind, "problem": "digits", "unit": "steps", "rate": rate,
            "processor rate": rate, "best peer": "peer", "valid peers": ["peer"],
            "gain": {f"otlab, {k}": {"clock": g / 2, "processor": g} for k, g in gains.items()},
            **more}


def test_flows_tell_gains_losses_and_peers_that_pair_nothing(tmp_path):
    rows = [flow_row("training", {"fit": 3.0, "step": 0.5}), flow_row("sampling", {"sample": 0.7}),
            flow_row("pairing", {"look-up": 2.0}, once={"otlab, look-up": 0.8},
                     alignment={"otlab, look-up": 0.3, "peer": 0.28, "idle": 0.001})]
    (tmp_path / "flows.json").write_text(json.dumps(whole(rows) | {"load": 7.5}))
    text = benchmarks.page(tmp_path)
    assert "ours is 0.70 to 3.00" in text and "(0.35 to 1.50 by the clock)" in text
    assert "The load was 7.5" in text
    assert "slower in sampling of digits (0.70, by the clock 0.35)." in text
    assert "0.50 ×" in text and "idle <small>pairs nothing</small>" in text
    assert "otlab, look-up needs its potential first: 800 ms of the processor, once" in text
    assert text.count("otlab-numbers") == 3 and "0.280" in text


def test_first_answers_are_told_beside_ott(tmp_path):
    ours, theirs = ({"import": 0.2, "first": first, "next size": 0.01, "steady": 0.004,
                     "error": 5e-4}
                    for first in (0.1, 0.8))
    row = {"n": 2048, "d": 2, "processor seconds": {
        "otlab": ours | {"asked": {"plan": 0.25, "dual_value": 0.125}}, "OTT-JAX": theirs}}
    (tmp_path / "first.json").write_text(json.dumps(whole([row])))
    text = benchmarks.page(tmp_path)
    assert "takes 8.0 times less than OTT-JAX" in text and "800 ms" in text
    assert "dual_value" in text and "125 ms" in text
