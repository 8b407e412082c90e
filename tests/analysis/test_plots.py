"""The figures show what happened: right marks over the right characters, right colours, whole text."""

import matplotlib
import pytest
import torch
from matplotlib.image import imread

from multiscale.analysis.plots import draw_boundaries, draw_matrix, draw_periods, draw_raster, save

TEXT = list("a bc\nd" * 20)


def marks(axes) -> list[tuple[int, int]]:
    """(position, level) of every mark in one row."""
    return sorted((round(p.get_x() + p.get_width() / 2), int(p.get_y())) for p in axes.patches)


@pytest.fixture
def boundary() -> torch.Tensor:
    z = (torch.rand(len(TEXT), 3, generator=torch.Generator().manual_seed(0)) > 0.6).float()
    z[:, -1] = 0
    return z


def test_each_boundary_is_a_mark_over_its_character_in_the_row_of_its_level(boundary):
    figure = draw_boundaries(TEXT, boundary, torch.rand(len(TEXT), 3), ["layer 1", "layer 2", "layer 3"], columns=50)
    strips = figure.axes[0:6:2]
    for row, axes in enumerate(strips):
        part = boundary[row * 50 : (row + 1) * 50]
        assert marks(axes) == sorted(map(tuple, part.nonzero().tolist()))


def test_the_text_is_shown_whole_and_in_place(boundary):
    figure = draw_boundaries(TEXT, boundary, torch.rand(len(TEXT), 3), ["layer 1", "layer 2", "layer 3"], columns=50)
    shown = [(t.get_position()[0], t.get_text()) for axes in figure.axes[0:6:2] for t in axes.texts]
    assert [x for x, _ in shown] == [i % 50 for i in range(len(TEXT))]
    assert "".join(s for _, s in shown) == "".join(TEXT).replace(" ", "\u00b7").replace("\n", "\u21b5")


def test_the_heat_map_has_the_slowest_level_on_top(boundary):
    norms = torch.rand(len(TEXT), 3)
    figure = draw_boundaries(TEXT, boundary, norms, ["layer 1", "layer 2", "layer 3"], columns=50)
    drawn = torch.as_tensor(figure.axes[1].images[0].get_array().filled(-1))
    assert torch.equal(drawn[0].float(), norms[:50, 2])
    assert figure.axes[1].get_yticklabels()[0].get_text() == "norm, layer 3"


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
    draw_boundaries(["漢"] * 5, boundary[:5], torch.zeros(5, 3), ["a", "b", "c"])
    assert dict(matplotlib.rcParams) == before


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
