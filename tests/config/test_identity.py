"""What of a config is science and what is place: said once, for run folders, groups and the comparison."""

import pytest
from omegaconf import OmegaConf

from multiscale.checks import InvalidInput
from multiscale.config.compose import compose_jobs, jobs
from multiscale.config.identity import OWN, digest, flatten, group_name, identify, science, to_plain


def one(*words: str) -> dict:
    return OmegaConf.to_container(jobs(["model=clockwork", *words])[0])


PLACES = ["seed=3", "threads=2", "name=mine", "logger=csv", "rendezvous=node:29400", "trainer.log_every_n_steps=7"]
PLACES += ["callbacks.figures.every_n_epochs=1", "callbacks.checkpoints.every_minutes=1"]
SCIENCE = ["model.hidden_size=9", "head=top", "trainer.max_epochs=5", "optim.optimizer.lr=1", "~callbacks.boundaries"]


@pytest.mark.parametrize("word", PLACES)
def test_places_and_the_seed_are_no_science(word):
    assert one(word)["identity"]["science"] == one()["identity"]["science"]
    assert not one(word)["identity"]["changed"]


@pytest.mark.parametrize("word", SCIENCE)
def test_what_changes_a_number_is_science(word):
    assert one(word)["identity"]["science"] != one()["identity"]["science"]
    assert one(word)["identity"]["changed"]


@pytest.mark.parametrize("word", [*PLACES[:4], *SCIENCE])
def test_a_request_is_everything_but_where_it_runs(word):
    assert one(word)["identity"]["request"] != one()["identity"]["request"]
    assert one("rendezvous=node:29400")["identity"]["request"] == one()["identity"]["request"]


def test_what_is_the_seed_in_other_words_is_no_science_either():
    other = ["data=waveform", "task=waveform"]
    first, second = (one(*other, "data.seed=${seed}", f"seed={seed}") for seed in (0, 1))
    assert (first["data"]["seed"], second["data"]["seed"]) == (0, 1)
    assert set(first["identity"]["seeded"]) >= {"seed", "data.seed"}
    assert science(first)["data"]["seed"] == science(second)["data"]["seed"] == OWN
    assert first["identity"]["science"] == second["identity"]["science"] != one(*other)["identity"]["science"]


def test_which_fold_is_the_test_is_no_science_but_how_many_there_are_is():
    words = ["data=series_file", "data.path=x.csv", "task=sequence_classification", "data.target=class", "data.folds=5"]
    first, second = (one(*words, f"data.fold={fold}") for fold in (0, 1))
    assert first["identity"]["science"] == second["identity"]["science"]
    assert first["identity"]["request"] != second["identity"]["request"]
    assert one(*words[:-1], "data.folds=4")["identity"]["science"] != first["identity"]["science"]


def test_a_group_is_named_by_model_and_data_and_by_digits_where_the_science_was_changed():
    assert group_name(one()) == "clockwork-python_docs" == group_name(one("seed=4"))
    changed = one("model.hidden_size=9", "name=mine")
    assert group_name(changed) == f"mine-python_docs-{changed['identity']['science'][:6]}"
    assert group_name(one("model.hidden_size=9", "seed=1", "name=mine")) == group_name(changed)


def test_a_frozen_config_asks_nobody_but_for_its_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MINE", "mine")
    (job,) = compose_jobs(["name=${oc.env:MINE}", f"hydra.run.dir={tmp_path}"], several=False)
    monkeypatch.delenv("MINE")
    written = OmegaConf.to_container(job.config)
    assert written["name"] == "mine"
    references = {leaf for leaf in flatten(written).values() if "${" in str(leaf)}
    assert {leaf.partition("/")[0] for leaf in references} == {"${folder}"}
    job.config.folder = "/moved"
    assert to_plain(job.config)["callbacks"]["checkpoints"]["folder"] == "/moved/checkpoints"


def test_text_that_looks_like_a_reference_stays_text(tmp_path):
    (config,) = jobs(["data=text_file", "data.path='\\${folder}.txt'"])
    config.folder = str(tmp_path)
    assert to_plain(config)["data"]["path"] == "${folder}.txt"


def test_a_variable_that_is_not_set_is_one_line():
    with pytest.raises(InvalidInput, match=r"model\.hidden_size cannot be filled in; got .*NOT_SET"):
        jobs(["model.hidden_size=${oc.env:NOT_SET}"])


def test_a_solved_size_is_science_and_what_was_asked_for_stays():
    (config,) = jobs(["model=clockwork", "match=parameters"])
    before = to_plain(config.identity)
    config.model.hidden_size, config.match = 11, None
    identify(config)
    assert config.identity.science != before["science"]
    assert config.identity.request == before["request"]


def test_a_digest_does_not_ask_for_the_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1}) != digest({"a": 1, "b": [2, 1]})
