"""The page of a run under way: its curve, its last figures, its last pictures, and that it loads itself again."""

import re
from types import SimpleNamespace

from pytorch_lightning.trainer.states import TrainerFn

from multiscale.analysis.watch import STYLE, Watch, draw_curves
from multiscale.training.logging.csv_log import CSVLog


def test_a_page_shows_the_curve_the_last_figures_and_the_last_pictures_until_the_test(tmp_path, capsys):
    state = SimpleNamespace(fn=TrainerFn.FITTING)
    run = SimpleNamespace(is_global_zero=True, state=state, current_epoch=1, global_step=1040)
    watch, page = Watch(str(tmp_path), "val/bpc"), tmp_path / "watch.html"
    watch.on_fit_start(run, None)
    assert capsys.readouterr().out == f"watch       {page}\n"
    assert "Nothing has been measured yet" in page.read_text()
    log = CSVLog(tmp_path)
    for step, (train, val) in enumerate([(3.0, 2.5), (2.0, 1.5)]):
        log.log_metrics({"train/bpc": train, "trace/a<b": 0.25}, step)
        log.log_metrics({"val/bpc": val}, step)
    for name in ("epochs/raster_002.png", "epochs/raster_004.png", "epochs/boundaries_002.png"):
        (tmp_path / "figures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "figures" / name).touch()
    watch.on_validation_end(run, None)
    text = page.read_text()
    assert '<meta http-equiv="refresh" content="10">' in text
    assert "epoch 2, step 1,040" in text
    assert "<td>trace/a&lt;b</td><td>0.25</td>" in text
    assert re.findall('src="([^"]*)"', text) == [
        f"figures/epochs/{name}.png" for name in ("boundaries_002", "raster_004")
    ]
    (tmp_path / "figures/raster.png").touch()
    watch.on_test_end(run, None)
    assert "refresh" not in page.read_text()
    assert re.findall('src="([^"]*)"', page.read_text()) == ["figures/raster.png"]


def test_the_highest_point_of_the_curves_is_on_top_and_the_last_step_on_the_right():
    drawn = draw_curves({"val/bpc": [(10, 2.0), (20, 1.0)], "train/bpc": [(0, 3.0), (10, float("nan"))]})
    assert re.findall('points="([^"]*)"', drawn) == ["320.0,120.0 580.0,210.0", "60.0,30.0"]


def test_the_page_fits_a_phone(tmp_path):
    """A long word, as a folder's name is, breaks; the chart and the pictures shrink; nothing is scaled by the phone."""
    drawn = draw_curves({"val/bpc": [(10, 2.0), (20, 1.0)]})
    assert 'viewBox="0 0 640 240"' in drawn
    assert "height=" not in drawn
    assert "overflow-wrap:anywhere" in STYLE
    assert "img,svg{max-width:100%}" in STYLE
