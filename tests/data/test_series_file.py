"""Numbers of the user's: windows, splits, scaling, references, and what is refused."""

import json
import sys

import numpy as np
import pytest
import torch

from multiscale.checks import InvalidInput
from multiscale.data.series_file import SeriesFile
from multiscale.run import main
from tests.helpers import tiny

SPLITS = ("train", "val", "test")


def make(path, **changes) -> SeriesFile:
    data = SeriesFile(str(path), **{"batch_size": 4, "context": 6, "horizon": 2, **changes})
    data.setup()
    return data


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def ramp(tmp_path):
    """Rows 0, 1, 2, ...: a value tells its step."""
    return write(tmp_path / "ramp.csv", "x", *(str(i) for i in range(60)))


@pytest.fixture
def groups(tmp_path):
    """30 groups of 3 to 8 rows, rows of different groups in turn; group g is of class g % 3 and of value g."""
    rows = [f"g{g},{'abc'[g % 3]},{g},{g + 100 * t}" for t in range(8) for g in range(30) if t < 3 + g % 6]
    return write(tmp_path / "groups.csv", "who,kind,worth,x", *rows)


def steps(data: SeriesFile, split: str) -> list[list[int]]:
    """What each window sees and tells, in units of the file."""
    mean, deviation = data.facts.scaling["x"]
    pairs = (data.samples[split][i] for i in range(len(data.samples[split])))
    return [(torch.cat([x[:, :1], y]) * deviation + mean).round().int().flatten().tolist() for x, y in pairs]


@pytest.mark.parametrize("stride", [1, 3])
def test_windows_are_successive_steps_within_their_split_in_the_order_of_time(ramp, stride):
    data = make(ramp, stride=stride)
    for split, (first, stop) in zip(SPLITS, [(0, 42), (42, 51), (51, 60)], strict=True):
        expected = [[*range(start, start + 8)] for start in range(first, stop - 7, stride)]
        assert steps(data, split) == expected
    assert data.facts.output_size == 2


def test_no_window_reaches_over_a_gap_or_into_another_series(tmp_path):
    rows = [f"{s},{'' if (s, t) == (1, 20) else 100 * s + t}" for t in range(60) for s in (0, 1)]
    data = make(write(tmp_path / "two.csv", "s,x", *rows), group="s", missing="drop")
    found = steps(data, "train")
    starts = [*range(35), *(100 + t for t in range(35) if t + 7 < 20 or t > 20)]
    assert found == [[*range(start, start + 8)] for start in starts]


def test_scaling_is_that_of_the_training_part_alone(ramp):
    data = make(ramp)
    assert data.facts.scaling["x"] == (np.arange(42).mean(), np.arange(42).std())
    text = ramp.read_text().splitlines()
    other = make(write(ramp, *text[:43], *(str(7 * i % 13) for i in range(18))))
    assert other.facts.scaling == data.facts.scaling


def test_references_are_the_errors_of_the_test_windows_in_the_units_of_the_metric(tmp_path):
    data = make(tiny.series(tmp_path), columns=["load", "heat"], targets=["load"], context=16, horizon=10, season=8)
    pairs = [data.samples["test"][i] for i in range(len(data.samples["test"]))]
    x, y = torch.stack([x for x, _ in pairs])[..., :1].double(), torch.stack([y for _, y in pairs]).double()
    last, season = (y - x[:, -1:]).square().mean(), (y - torch.cat([x[:, -8:], x[:, -8:-6]], 1)).square().mean()
    assert list(data.facts.references.values()) == pytest.approx([float(last), float(season)], rel=1e-5)
    assert data.facts.input_size == 2


def test_times_are_given_on_since_the_start_of_each_window_however_late_it_is(tmp_path):
    times = 1.7e9 + np.cumsum(np.random.default_rng(0).uniform(0.25, 1, 60))
    path = write(tmp_path / "t.csv", "when;x", *(f"{t:.9f};{i}" for i, t in enumerate(times)))
    data = make(path, time="when")
    x, _ = data.samples["val"][1]
    assert x.dtype == torch.float32
    assert x[:, 1].numpy() == pytest.approx(times[43:49] - times[43], abs=1e-6)
    assert data.facts.input_size == 2


def test_a_group_is_a_sequence_with_its_class_in_one_split(groups):
    data = make(groups, target="class", group="who", label="kind", columns=["x"])
    seen = []
    for split in SPLITS:
        for i in range(len(data.samples[split])):
            x, label = data.samples[split][i]
            own = (x[:, 0].double() * data.facts.scaling["x"][1] + data.facts.scaling["x"][0]).round().int().tolist()
            g = own[0]
            assert own == [g + 100 * t for t in range(3 + g % 6)]
            assert data.facts.classes[int(label)] == "abc"[g % 3]
            seen.append(g)
    assert sorted(seen) == [*range(30)]
    assert data.facts.sequences == (21, 5, 4)
    assert (data.facts.kind, data.facts.output_size) == ("labels", 3)


def test_the_reference_of_classes_is_the_commonest_of_the_training_part(groups):
    data = make(groups, target="class", group="who", label="kind", columns=["x"])
    common = int(data.samples["train"].targets.bincount().argmax())
    ((name, error),) = data.facts.references.items()
    assert name == f"error of always answering {'abc'[common]}"
    assert error == float((data.samples["test"].targets != common).double().mean())


def test_values_are_scaled_as_the_columns_are(groups):
    data = make(groups, target="value", group="who", label="worth", columns=["x"])
    train = data.samples["train"].targets
    assert float(train.mean()) == pytest.approx(0, abs=1e-6)
    assert float(train.std(correction=0)) == pytest.approx(1)
    assert list(data.facts.references.values()) == pytest.approx([float(data.samples["test"].targets.square().mean())])


def test_every_group_is_tested_in_one_fold_and_split_shares_the_others(groups):
    def tested(fold: int) -> list[float]:
        data = make(groups, target="value", group="who", label="worth", columns=["x"], folds=4, fold=fold)
        assert abs(data.facts.sequences[1] - 4) <= 1
        mean, deviation = data.facts.scaling["worth"]
        everything = [data.samples[split].targets[:, 0] * deviation + mean for split in SPLITS]
        assert sorted(torch.cat(everything).round().int().tolist()) == [*range(30)]
        return everything[2].round().int().tolist()

    assert sorted(g for fold in range(4) for g in tested(fold)) == [*range(30)]


def test_seed_alone_decides_who_is_in_which_split(groups):
    def train(seed: int) -> list[float]:
        data = make(groups, target="value", group="who", label="worth", columns=["x"], seed=seed)
        return data.samples["train"].targets.flatten().tolist()

    assert train(0) == train(0) != train(1)


def test_npy_has_the_same_windows_as_csv(tmp_path, ramp):
    np.save(tmp_path / "ramp.npy", np.arange(60))
    for split in SPLITS:
        for (x, y), (a, b) in zip(make(ramp).samples[split], make(tmp_path / "ramp.npy").samples[split], strict=True):
            assert torch.equal(x, a)
            assert torch.equal(y, b)
    np.save(tmp_path / "two.npy", np.random.default_rng(0).standard_normal((60, 3)))
    assert make(tmp_path / "two.npy", columns=[2, 0]).facts.input_size == 2


def test_parquet_reads_as_csv_does_or_says_what_to_install(tmp_path, ramp):
    path = tmp_path / "ramp.parquet"
    try:
        from pyarrow import parquet, table
    except ModuleNotFoundError:
        path.write_bytes(b"PAR1")
        with pytest.raises(InvalidInput, match="pip install pyarrow"):
            make(path)
        return
    parquet.write_table(table({"x": list(range(60)), "note": ["a"] * 60}), path)
    assert make(path, columns=["x"]).facts.scaling == make(ramp).facts.scaling
    path.write_bytes(b"PAR1")
    with pytest.raises(InvalidInput, match="cannot be read as Parquet"):
        make(path)


CLASS = {"target": "class", "group": "s", "label": "x"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"horizon": 0}, "horizon must be a whole number of at least 1; got 0"),
        ({"context": 1.5}, "context must be a whole number of at least 1; got 1.5"),
        ({"stride": 0}, "stride must be a whole number of at least 1; got 0"),
        ({"season": 7}, "season must be a number at least 1 and at most 6; got 7"),
        (
            {"target": "forcast"},
            "target must be one of forecast, class, value; got 'forcast'. Did you mean 'forecast'?",
        ),
        ({"missing": "fill"}, "missing must be one of refuse, drop; got 'fill'"),
        ({"columns": "x"}, "columns must be a list .* got 'x'"),
        ({"columns": ["y"]}, r"data.columns must be columns of .*, x; got 'y'"),
        ({"columns": ["xx"]}, r"got 'xx'. Did you mean 'x'\?"),
        ({"time": "t"}, "data.time must be columns of .*; got 't'"),
        ({"split": [0.5, 0.5]}, "split must be three fractions that sum to 1"),
        ({"folds": 3}, "folds must be null for target forecast; got 3"),
        ({"fold": 1}, "fold must be a number at least 0 and at most 0; got 1"),
        ({**CLASS, "folds": 3, "fold": 3}, "fold must be a number at least 0 and at most 2; got 3"),
        ({**CLASS, "folds": 1}, "folds must be a number at least 2; got 1"),
        ({**CLASS, "group": None}, "group must be the name of a column for target class; got None"),
        ({**CLASS, "season": 3}, "season must be null for target class; got 3"),
        ({**CLASS, "columns": ["x"]}, "columns must not have the label among them; got 'x'"),
        ({"context": 30}, r"data.context \+ data.horizon must be at most 9, .* for val; got 30 \+ 2"),
    ],
)
def test_bad_arguments_are_refused_by_name(ramp, wrong, message):
    with pytest.raises(InvalidInput, match=message):
        make(ramp, **wrong)


RAMP = [f"{i},{i}" for i in range(40)]


@pytest.mark.parametrize(
    ("lines", "changes", "message"),
    [
        (["t,x", *RAMP, "40,much", *RAMP], {}, "finite numbers in column 'x'; row 42 has much"),
        (["t,x", *RAMP, "40,inf", *RAMP], {}, "finite numbers in column 'x'; row 42 has inf"),
        (["t,x", *RAMP, "40,NaN", *RAMP], {}, "data.missing be drop; column 'x' has none in row 42"),
        (["t,x", *RAMP, "40,", *RAMP], {}, "data.missing be drop; column 'x' has none in row 42"),
        (["t,x", *RAMP, "40", *RAMP], {}, "data.path must have 2 cells in each row, .*; row 42 of .*wrong.csv has 1"),
        (["t,x", *RAMP, "39,1", *RAMP], {"time": "t"}, "times in 't' that rise .*; row 42 has 39 after 39"),
        (["t,x", *(f"{i},3" for i in range(60))], {}, "must have columns that vary in the training part; 'x' is 3"),
        (["x,x", *RAMP], {}, "data.path must have columns of different names; .*wrong.csv has 'x' twice"),
        (RAMP, {}, "data.path must begin with a row of names; .*wrong.csv begins with numbers, 0,0"),
        (["t,x"], {}, "data.path must have columns and rows of values; .*wrong.csv has none"),
        (["s,x,y", *(f"{i // 4},{i},{i}" for i in range(60))], CLASS, "same 'x' in all rows of a 's'; row"),
        (["s,x,y", *(f"{i // 4},1,{i}" for i in range(60))], CLASS, "several classes in 'x' in the training part"),
        (["s,x,y", *(f"{i // 30},{i // 30},{i}" for i in range(60))], CLASS, "of the 2 of .*, test gets none"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_in_a_line_with_its_row(tmp_path, lines, changes, message):
    with pytest.raises(InvalidInput, match=message) as error:
        make(write(tmp_path / "wrong.csv", *lines), **changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.csv", None, "data.path must be a readable text file; .*gone.csv': No such file"),
        ("gone.npy", None, "data.path must be a readable file; .*gone.npy': No such file"),
        ("x.xlsx", b"", "data.path must end in .csv, .tsv, .txt, .npy, .parquet; got "),
        ("x.csv", b"", "it is empty"),
        ("x.csv", b"x\n\xff\n", "must be a text in UTF-8"),
        ("x.npy", b"nothing", "cannot be read as NPY"),
        ("x.npy", np.zeros((2, 3, 4)), r"data.path must be numbers \[N\] or \[N, C\]; .*x.npy is float64 \[2, 3, 4\]"),
        ("x.npy", np.array(["a"]), "must be numbers"),
        ("x.npy", np.array([None]), "cannot be read as NPY"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, message):
    if isinstance(content, np.ndarray):
        np.save(tmp_path / name, content)
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=message) as error:
        make(tmp_path / name)
    assert "\n" not in str(error.value)


def test_the_recipe_beats_the_last_season(tmp_path, monkeypatch):
    path = tiny.series(tmp_path, 1200)
    words = ["experiment=series_file", "model=stacked_lstm", "model.hidden_size=24", f"data.path={path}", "logger=csv"]
    words += ["data.columns=[load]", "data.context=24", "data.season=24", "data.batch_size=32", "trainer.max_epochs=6"]
    words += [
        "optim.optimizer.lr=1e-2",
        "~callbacks.figures",
        "~callbacks.progress",
        "+trainer.enable_progress_bar=false",
    ]
    monkeypatch.setattr(sys, "argv", ["run", *words, f"hydra.run.dir={tmp_path}/run"])
    main()
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    references = summary["data"]["references"]
    assert summary["test"]["test/mse"] < 0.8 * references["MSE of the last season, 24 steps"]
    assert summary["data"]["scaling"]["load"][1] > 0
