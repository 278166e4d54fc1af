"""Pictures: what they show, and that they need no display."""

import sys

import numpy as np
import pytest

from keras_spiking_rnn import plots, surrogates

Figure = pytest.importorskip("matplotlib.figure").Figure

SPIKES = np.array([[0, 1], [0, 0], [1, 1], [1, 0]])
POTENTIAL = np.array([[0.1, 0.6], [0.3, 0.2], [0.8, 0.9], [0.7, 0.1]])


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.mark.parametrize(
    "draw",
    [
        lambda **kwargs: plots.raster(SPIKES, **kwargs),
        lambda **kwargs: plots.membrane(POTENTIAL, threshold=0.5, spikes=SPIKES, **kwargs),
        lambda **kwargs: plots.surrogate("arctan", **kwargs),
    ],
    ids=["raster", "membrane", "surrogate"],
)
class TestEach:
    def test_it_draws_on_the_axes_it_is_given(self, draw, ax):
        assert draw(ax=ax) is ax
        assert ax.has_data()

    def test_it_makes_axes_that_can_be_saved(self, draw, tmp_path):
        made = draw(title="A title")
        assert made.get_title() == "A title"
        assert made.get_xlabel() and made.get_ylabel()
        made.figure.savefig(tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 1000


class TestRaster:
    def test_a_mark_for_each_spike(self):
        ax = plots.raster(SPIKES)
        marks = [
            (segment[0, 0], unit)
            for unit, collection in enumerate(ax.collections)
            for segment in collection.get_segments()
        ]
        assert marks == [(2, 0), (3, 0), (0, 1), (2, 1)]

    def test_silent_units_keep_their_row(self):
        ax = plots.raster(np.zeros((10, 4)))
        assert len(ax.collections) == 4
        assert ax.get_xlim() == (-0.5, 9.5)

    def test_colors_of_units(self):
        ax = plots.raster(SPIKES, color=["red", "blue"])
        colors = [np.ravel(collection.get_edgecolor())[:3] for collection in ax.collections]
        np.testing.assert_array_equal(colors, [[1, 0, 0], [0, 0, 1]])

    @pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
    def test_a_batch_is_refused(self, shape):
        with pytest.raises(ValueError, match=r"must have shape \(steps, units\).*spikes\[0\]"):
            plots.raster(np.zeros(shape))


class TestMembrane:
    def test_lines_threshold_and_spikes(self):
        ax = plots.membrane(POTENTIAL, threshold=0.5, spikes=SPIKES)
        threshold, first, first_spikes, second, second_spikes = ax.lines
        assert set(threshold.get_ydata()) == {0.5}
        np.testing.assert_array_equal(first.get_ydata(), POTENTIAL[:, 0])
        np.testing.assert_array_equal(second.get_ydata(), POTENTIAL[:, 1])
        np.testing.assert_array_equal(first_spikes.get_xydata(), [[2, 0.8], [3, 0.7]])
        np.testing.assert_array_equal(second_spikes.get_xydata(), [[0, 0.6], [2, 0.9]])

    def test_one_unit(self):
        ax = plots.membrane(POTENTIAL[:, 0], spikes=SPIKES[:, 0], labels=["unit 0"])
        line, spikes = ax.lines
        np.testing.assert_array_equal(line.get_ydata(), POTENTIAL[:, 0])
        np.testing.assert_array_equal(spikes.get_xdata(), [2, 3])
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["unit 0"]

    def test_thresholds_of_each_unit(self):
        ax = plots.membrane(POTENTIAL, threshold=(0.5, 0.7))
        assert [line.get_ydata()[0] for line in ax.lines[:2]] == [0.5, 0.7]

    def test_shapes_that_do_not_fit_are_refused(self):
        with pytest.raises(ValueError, match=r"\(steps,\) or \(steps, units\).*potential\[0\]"):
            plots.membrane(POTENTIAL[None])
        with pytest.raises(ValueError, match="`spikes` must have the shape of `potential`"):
            plots.membrane(POTENTIAL, spikes=SPIKES[:, 0])


class TestSurrogate:
    def test_the_curve_is_the_derivative(self):
        triangular = surrogates.Triangular(0.5)
        ax = plots.surrogate(triangular, limits=(-1, 1))
        x, y = ax.lines[-1].get_data()
        assert (x[0], x[-1]) == (-1, 1)
        np.testing.assert_array_equal(y, triangular.derivative(x))
        assert ax.get_title() == "Triangular(half_width=0.5, height=1.0)"

    def test_unknown_names_are_refused(self):
        with pytest.raises(ValueError, match="heaviside"):
            plots.surrogate("heaviside")


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install keras-spiking-rnn\[viz\]"):
        plots.raster(SPIKES)


def test_no_figure_is_left_open():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    plots.raster(SPIKES)
    assert pyplot.get_fignums() == before
