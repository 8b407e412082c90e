"""The figures show what happened: right marks over the right characters, right colours, whole text."""

import matplotlib
import pytest
import torch
from matplotlib.image import imread

from multiscale.analysis.plots import draw_boundaries, draw_matrix, draw_periods, draw_raster, save

TEXT = list("a bc\nd" * 20)


def marks(axes) -> list[tuple[int, int]]:
    """(step, lane from 0) of every dot and triangle in one row."""
    points = [point for line in axes.lines for point in zip(line.get_xdata(), line.get_ydata(), strict=True)]
    return sorted((int(x), int(y) - 1) for x, y in points)


@pytest.fixture
def boundary() -> torch.Tensor:
    z = (torch.rand(len(TEXT), 3, generator=torch.Generator().manual_seed(0)) > 0.6).float()
    z[:, -1] = 0
    return z


def test_boundaries_are_dots_and_true_ends_triangles_over_their_symbols(boundary):
    names, ends = ["layer 1", "layer 2", "layer 3"], [0, 49, 50, 119]
    figure = draw_boundaries(TEXT, boundary, None, names, {"word_ends": ends}, start=7, columns=50)
    assert [len(axes.texts) for axes in figure.axes] == [50, 50, 20]
    for row, axes in enumerate(figure.axes):
        steps = range(row * 50, min(row * 50 + 50, len(TEXT)))
        found = [(7 + t, level) for t, level in boundary.nonzero().tolist() if t in steps]
        assert marks(axes) == sorted(found + [(7 + t, 2) for t in ends if t in steps])
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["z, layer 1", "z, layer 2", "true word ends"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["boundary found", "true end"]


def test_the_text_is_shown_whole_and_in_place_and_shaded_by_probability(boundary):
    probability = torch.rand(len(TEXT), 3)
    figure = draw_boundaries(TEXT, boundary, probability, ["layer 1", "layer 2", "layer 3"], start=7, columns=50)
    shown = [(t.get_position()[0], t.get_text()) for axes in figure.axes for t in axes.texts]
    assert [x for x, _ in shown] == list(range(7, 7 + len(TEXT)))
    assert "".join(s for _, s in shown) == "".join(TEXT).replace(" ", "\u00b7").replace("\n", "\u21b5")
    drawn = torch.as_tensor(figure.axes[2].collections[0].get_array())
    assert torch.equal(drawn, probability[100:, :2].T)
    assert len(figure.legends[0].get_texts()) == 4


def test_the_raster_shows_every_update_and_names_every_level(tmp_path):
    update = torch.zeros(40, 2)
    update[:, 0] = 1
    update[::4, 1] = 1
    figure = draw_raster(update, ["period 1", "period 4"])
    drawn = torch.as_tensor(figure.axes[0].images[0].get_array().filled(-1))
    assert torch.equal(drawn.float(), update.T.flip(0))
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["period 4  (25%)", "period 1  (100%)"]
    assert figure.axes[0].get_xlabel() == "time (steps)"
    picture = imread(save(figure, tmp_path / "new/raster.png"))
    assert picture.shape[1] == 1650


def test_true_ticks_are_marked_above_the_raster():
    figure = draw_raster(torch.zeros(20, 2), ["period 1", "period 4"], true=(4, 7), start=2)
    four, seven = figure.axes[0].lines[:2]
    assert list(four.get_xdata()) == [2, 6, 10, 14, 18]
    assert list(seven.get_xdata()) == [5, 12, 19]
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels[2:] == ["true ticks, period 4", "true ticks, period 7"]


def test_drawing_leaves_nothing_behind(boundary):
    before = dict(matplotlib.rcParams)
    draw_boundaries(["漢"] * 5, boundary[:5], None, ["a", "b", "c"])
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("epochs", [1, 2, 12])
def test_epochs_are_counted_in_whole_numbers_however_few_there_are(epochs):
    (axes,) = draw_periods(torch.tensor([[1.0, 8.0]]).repeat(epochs, 1)).axes
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_periods_are_drawn_over_epochs_beside_the_true_ones():
    figure = draw_periods(torch.tensor([[1.0, 8.0], [1.0, 6.0], [2.0, 6.0]]), true=(6,))
    axes = figure.axes[0]
    assert axes.get_xlabel() == "epoch"
    assert axes.get_ylabel() == "period read out (steps)"
    true, *learned = axes.lines
    assert list(true.get_ydata()) == [6, 6]
    assert [list(line.get_ydata()) for line in learned] == [[1, 1, 2], [8, 6, 6]]
    assert list(learned[0].get_xdata()) == [1, 2, 3]


def test_a_matrix_has_the_reader_in_the_row_and_every_value_in_its_cell():
    matrix = torch.tensor([[1.0, 0.25], [0.75, 1.0]])
    axes = draw_matrix(matrix, "links", ["period 1", "period 4"]).axes[0]
    assert torch.equal(torch.as_tensor(axes.images[0].get_array().filled(-1)), matrix)
    assert axes.images[0].get_clim() == (0, 1)
    assert [(t.get_position(), t.get_text()) for t in axes.texts[1:3]] == [((1, 0), "0.25"), ((0, 1), "0.75")]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["period 1", "period 4"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("level that is read", "level that reads")
