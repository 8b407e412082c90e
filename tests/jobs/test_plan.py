"""What a search does, by its file and its command line: spaces, values as words, mistakes."""

import pytest

from multiscale.checks import InvalidInput
from multiscale.config.compose import CONF
from multiscale.jobs.plan import distribution, overrides, read


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "must be a list of choices or a range"),
        (3, "must be a list of choices or a range"),
        ({"low": 1}, r"space.x.high must be a finite number; got None"),
        ({"low": 1, "high": "b"}, "space.x.high must be a finite number; got 'b'"),
        ({"low": 1, "hihg": 2}, "space.x.hihg does not exist; .*Did you mean 'high'"),
        ({"low": 2, "high": 1}, "space.x is no range"),
        ({"low": 0.0, "high": 1.0, "log": True}, "space.x is no range"),
        ({"low": 1, "high": 5, "log": True, "step": 2}, "space.x is no range"),
    ],
)
def test_a_part_of_a_space_that_is_none_is_named(given, message):
    with pytest.raises(InvalidInput, match=message):
        distribution("x", given)


def test_values_are_written_as_overrides_read_them():
    assert overrides({"a": 1e-05, "b": True, "c": None, "d": [1, [2, "x"]], "e": "gated"}) == [
        "a=1e-05",
        "b=true",
        "c=null",
        "d=[1,[2,x]]",
        "e=gated",
    ]


@pytest.mark.parametrize("name", [path.stem for path in sorted((CONF / "search").glob("*.yaml"))])
def test_every_search_of_the_project_composes_and_builds(name):
    plan = read([f"search={name}", "experiment=quick_look"])
    assert plan.monitor == "val/bpc"
    assert plan.study == name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "search must be given, as search=<name>; there is lr_and_size, reading"),
        (["search=lr_and_sise"], "search must be one of .*Did you mean 'lr_and_size'"),
        (["search=reading", "search.trails=2"], "search.trails does not exist; .*Did you mean 'search.trials'"),
        (["search=reading", "search.trials=0"], "search.trials must be a whole number of at least 1; got 0"),
        (["search=reading", "search.sampler=tpf"], "search.sampler must be one of tpe, random; .*Did you mean 'tpe'"),
        (["search=reading", "modle=hmlstm"], "modle does not exist; .*Did you mean 'model'"),
        (["search=reading", "seed=0,1"], "a search takes one value for each key"),
        (["search=reading", "head=top"], "head is searched, and cannot be given too; got 'head=top'"),
        (["search=reading", "hydra.run.dir=x"], "hydra.run.dir is the search's own to choose"),
        (["search=reading", "-m"], "-m is no word of a search"),
        (["search=reading", "model=clockwork"], "space of search reading: model.num_layers does not exist"),
        (["--config-dir", "mine", "search=key"], "Did you mean 'hidden_size'"),
        (["--config-dir", "mine", "search=end"], "model.hidden_size must be a whole number of at least 1; got -4"),
        (["--config-dir", "mine", "search=choice"], "Did you mean 'gated'"),
        (["--config-dir", "mine", "search=part"], "spice is no part of a search; .*Did you mean 'space'"),
        (["--config-dir", "mine", "search=none"], "a search must have a space"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(tmp_path, monkeypatch, words, message):
    (tmp_path / "mine/search").mkdir(parents=True)
    for name, text in {
        "key": "study: s\nspace: {model.hiden_size: [8, 16]}",
        "end": "study: s\nspace: {model.hidden_size: {low: -4, high: 8}}",
        "choice": "study: s\nspace: {head: [gatd, top]}",
        "part": "study: s\nspice: {}",
        "none": "study: s\nspace: {}",
    }.items():
        (tmp_path / f"mine/search/{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=message) as error:
        read(words)
    assert "\n" not in str(error.value).strip()
    assert not (tmp_path / "searches").exists()
