import matplotlib.pyplot as plt
import numpy as np
import pytest

from otlab.core.stats import mean_interval, ratio_interval
from otlab.lab import figures

SAMPLES = np.random.default_rng(0).lognormal(size=(6, 3))


@pytest.fixture
def ax():
    with figures.style():
        fig, ax = plt.subplots(figsize=(5, 3))
    yield ax
    plt.close(fig)


@pytest.mark.parametrize("log", [False, True])
def test_rows_stand_from_top_to_bottom_with_their_intervals(ax, log):
    figures.interval_rows(ax, ["first", "second", "third"],
                          {"plain": ("source", SAMPLES), "gap": ("transported", 2 * SAMPLES)},
                          log=log, line=1.0)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["first", "second", "third"]
    assert list(ax.get_yticks()) == [2, 1, 0]
    bars = [bar for bar in ax.containers]
    for (points, _, (reach,)), scale in zip(bars, (1, 2), strict=True):
        s = scale * SAMPLES[:, 0]
        want = ratio_interval(s, np.ones(6)) if log else mean_interval(s)
        assert np.isclose(points.get_xdata()[0], want.mean)
        assert np.allclose(reach.get_segments()[0][:, 0], [want.low, want.high])
    assert bars[0][0].get_ydata()[0] > bars[1][0].get_ydata()[0]  # the first series above
    assert ax.get_xscale() == ("log" if log else "linear")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["plain", "gap"]


def test_rows_take_intervals_that_are_known(ax):
    known = [mean_interval(column) for column in SAMPLES.T]
    figures.interval_rows(ax, "abc", {"one": ("baseline", known)})
    assert np.allclose(ax.containers[0][0].get_xdata(), [k.mean for k in known])
    assert ax.get_legend() is None


def test_bands_show_mean_and_interval_and_name_each_line_once(ax):
    near = SAMPLES + 1e-3
    figures.bands(ax, [1, 2, 4], {"ours": ("transported", SAMPLES), "theirs": ("baseline", near)},
                  log="xy", line=1.0)
    names = {t.get_text(): t.get_position()[1] for t in ax.texts}
    assert set(names) == {"ours", "theirs"}
    height = ax.get_position().height * ax.figure.get_figheight() * 72
    assert abs(names["ours"] - names["theirs"]) * height > 9  # points: they do not touch
    line = ax.lines[0]
    want = [ratio_interval(s, np.ones(6)) for s in SAMPLES.T]
    assert np.allclose(line.get_ydata(), [w.mean for w in want])
    low, high = (f(ax.collections[0].get_paths()[0].vertices[:, 1]) for f in (np.min, np.max))
    assert np.isclose(low, min(w.low for w in want)) and np.isclose(high, max(w.high for w in want))


def test_bands_are_arithmetic_on_a_linear_axis(ax):
    figures.bands(ax, [1, 2, 4], {"ours": ("transported", SAMPLES)})
    assert np.allclose(ax.lines[0].get_ydata(), SAMPLES.mean(0))


@pytest.mark.parametrize("call, said", [
    (lambda ax: figures.band(ax, [1, 2], SAMPLES, "source"), r"\(seeds, 2\); got \(6, 3\)"),
    (lambda ax: figures.bands(ax, [1, 2, 3], {}, log="loglog"), '"x", "y" or "xy"'),
    (lambda ax: figures.interval_rows(ax, "ab", {"x": ("source", [mean_interval([1, 2])])}),
     "2 rows and 1 intervals"),
    (lambda ax: figures.interval_rows(ax, "a", {"x": ("source", [mean_interval([-1, 2])])},
                                      log=True), "positive"),
    (lambda ax: figures.interval_rows(ax, "abc", {"x": ("blue", SAMPLES)}), "role is one of"),
    (lambda ax: figures.bands(ax, [1, 2, 3], {"x": ("source", -SAMPLES)}, log="y"), "positive"),
])
def test_failure_sentences(ax, call, said):
    with pytest.raises(ValueError, match=said):
        call(ax)
