"""No door that reads a folder or a checkpoint runs what it was not asked for."""

import pytest
import yaml
from omegaconf import OmegaConf

from multiscale import compare, generate, segment
from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs
from multiscale.jobs.resume import read_request, read_sweep, resume_run
from multiscale.jobs.study import TrialFailed, run_trial
from multiscale.runs import folder as run_folder
from multiscale.training.build import load
from multiscale.training.checkpoint import files
from tests.faults.breaking import SMALL, run

pytestmark = pytest.mark.slow

WORDS = ["model=hmlstm", "model.hidden_size=8", "trainer.max_epochs=1"]


@pytest.fixture
def copy(copy):
    (copy / "summary.json").unlink()
    return copy


@pytest.fixture
def canary(tmp_path):
    yield tmp_path / "canary"
    assert not (tmp_path / "canary").exists()


def hostile(canary) -> list[tuple[str, dict]]:
    """(where, what): each ran a command or unpickled a file while targets were told by their first letters."""
    touch = {"_target_": "multiscale.kernels.compiler._run", "command": ["touch", str(canary)]}
    unpickle = {"_target_": "multiscale.training.checkpoint.files.torch.load", "f": str(canary), "weights_only": False}
    return [("model", touch), ("model.hidden_size", touch), ("head", unpickle), ("optim.scheduler", touch)]


@pytest.mark.parametrize("number", range(4))
def test_the_config_of_a_run_folder(copy, canary, number):
    config = OmegaConf.load(copy / "config.yaml")
    OmegaConf.update(config, *hostile(canary)[number], merge=False)
    (copy / "config.yaml").write_text(OmegaConf.to_yaml(config))
    with pytest.raises(InvalidInput, match=r"must be a class|must be plain values"):
        resume_run(read_request([f"resume={copy}"]))
    config.folder = str(copy)
    asked = [*SMALL, *WORDS, f"data.path={copy}/text.txt"]
    (mine,) = jobs(asked)
    mine.folder, mine.name, mine.choices = str(copy), "small", {}
    with pytest.raises(InvalidInput, match="holds another run"):
        run_folder.claim(mine, "")
    with pytest.raises(TrialFailed, match="holds another run"):
        run_trial(copy, asked)
    compare.main([str(copy), f"to={copy}/comparison"])


@pytest.mark.parametrize("number", range(4))
def test_the_recipe_of_a_checkpoint(copy, canary, number):
    best = copy / "checkpoints/best.ckpt"
    checkpoint = files.load(best)
    recipe = OmegaConf.create(checkpoint["recipe"]["config"])
    OmegaConf.update(recipe, *hostile(canary)[number], merge=False)
    checkpoint["recipe"]["config"] = OmegaConf.to_container(recipe)
    files.save(checkpoint, best)
    doors = (
        lambda: load(best),
        lambda: generate.main([f"checkpoint={best}", "prompt=the"]),
        lambda: segment.main([f"checkpoint={best}", "text=the quick"]),
    )
    for door in doors:
        with pytest.raises(InvalidInput, match=r"must be a class|must be plain values"):
            door()
    run(copy.parent / "another", *WORDS, f"init_from={best}")  # which takes the weights alone


def test_the_facts_of_a_checkpoint(copy, canary):
    best = copy / "checkpoints/best.ckpt"
    checkpoint = files.load(best)
    checkpoint["recipe"]["facts"] = {"_target_": "multiscale.kernels.compiler._run", "command": ["touch", str(canary)]}
    files.save(checkpoint, best)
    with pytest.raises(InvalidInput, match=r"facts\._target_ must be a class"):
        load(best)


@pytest.mark.parametrize(
    ("task", "hydra"),
    [
        ([], ["+hydra.callbacks.mine._target_=multiscale.kernels.compiler._run"]),
        ([], ["hydra.searchpath=[file://{place}]", "hydra/launcher=mine", "hydra/sweeper=mine"]),
        (["hydra.callbacks.sweep._target_=os.system"], []),
        (["+model@hydra.callbacks.mine=hmlstm"], []),
        (["model.hidden_size={{_target_: multiscale.kernels.compiler._run, command: [touch, {place}/canary]}}"], []),
        (["name=${{oc.env:HOME}}"], []),
    ],
)
def test_the_words_of_a_sweep(tmp_path, canary, task, hydra, capsys):
    words = {"task": [word.format(place=tmp_path) for word in task], "hydra": [w.format(place=tmp_path) for w in hydra]}
    callback = {"mine": {"_target_": "multiscale.kernels.compiler._run", "command": ["touch", str(canary)]}}
    (tmp_path / "multirun.yaml").write_text(yaml.dump({"hydra": {"overrides": words, "callbacks": callback}}))
    request = read_request([f"resume={tmp_path}"])
    if task:
        with pytest.raises(InvalidInput, match=r"may only set keys of its runs|must be a class"):
            read_sweep(request)
        return
    assert read_sweep(request) == ["-m", f"hydra.sweep.dir={tmp_path}"]
    assert "not taken from" in capsys.readouterr().err


def test_what_a_sweep_is_asked_for_anew_is_taken(tmp_path, capsys):
    words = {"task": ["seed=0,1"], "hydra": ["hydra/launcher=joblib", f"hydra.sweep.dir={tmp_path}"]}
    (tmp_path / "multirun.yaml").write_text(yaml.dump({"hydra": {"overrides": words}}))
    request = read_request([f"resume={tmp_path}", "hydra/launcher=joblib"])
    assert read_sweep(request) == ["-m", "seed=0,1", "hydra/launcher=joblib", f"hydra.sweep.dir={tmp_path}"]
    assert capsys.readouterr().err == ""
