"""A training that was stopped anywhere and goes on is bit for bit the one that never stopped."""

import pytest

from multiscale.runs.signals import Interrupted
from tests.conftest import MODELS
from tests.faults.breaking import differing, result, run

pytestmark = pytest.mark.slow

KILL = "+callbacks.kill._target_=tests.faults.breaking.Kill"
PLACES = {
    "middle": ["train", 1, 3],
    "edge": ["epoch_end", 0, 0],
    "validation": ["validation", 1, 0],
    "accumulation": ["train", 1, 3],  # the first of three batches of the second step
    "before anything": ["train", 0, 0],
    "last batch": ["train", 1, 6],
    "last validation batch": ["validation", 0, 1],
    "after a validation": ["validation", 1, 1],
    "second validation": ["train", 1, 3],
    "last epoch": ["train", 2, 3],
    "test": ["test", 3, 0],
}


STOPPING = ["+callbacks.stop._target_=pytorch_lightning.callbacks.EarlyStopping", "+callbacks.stop.monitor=val/bpc"]
STOPPING += ["+callbacks.stop.check_on_train_epoch_end=true", "+callbacks.stop.strict=false"]


SETTINGS = {
    "steps": ["+trainer.max_steps=14"],
    "steps, accumulated": ["+trainer.max_steps=6", "+trainer.accumulate_grad_batches=3"],
    "steps, no epochs": ["+trainer.max_steps=16", "trainer.max_epochs=-1"],
    "steps, validated often": ["+trainer.max_steps=12", "+trainer.val_check_interval=3"],
    "double": ["trainer.precision=64-true"],
    "half": ["trainer.precision=bf16-true"],
    "averaged": ["+callbacks.mean._target_=pytorch_lightning.callbacks.EMAWeightAveraging"],
    "accumulated more and more": [
        "+callbacks.more._target_=pytorch_lightning.callbacks.GradientAccumulationScheduler",
        "+callbacks.more.scheduling={0: 2, 1: 3}",
    ],
    "kept by Lightning too": [
        "trainer.enable_checkpointing=true",
        "+callbacks.kept._target_=pytorch_lightning.callbacks.ModelCheckpoint",
        "+callbacks.kept.monitor=val/bpc",
        "+callbacks.kept.dirpath=kept",
    ],
    "looked at before": ["trainer.num_sanity_val_steps=1"],
    "regularised": ["model.zoneout=0.2", "model.zoneout_c=0.3", "task.dropout=0.2"],
}


def stopped(folder, place, *words):
    """Run, be stopped, go on."""
    hook, epoch, batch = PLACES[place]
    words = [*words, KILL, f"+callbacks.kill.hook={hook}", f"+callbacks.kill.epoch={epoch}"]
    words.append(f"+callbacks.kill.batch={batch}")
    with pytest.raises(Interrupted):
        run(folder, *words)
    run(folder, *words)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the training comes to that is never stopped, by its words."""
    known = {}

    def make(*words):
        if words not in known:
            folder = tmp_path_factory.mktemp("whole")
            run(folder, *words)
            known[words] = result(folder)
        return known[words]

    return make


OTHER_PLACES = [
    (m, p) for m in ("hmlstm", "learned_clock", "stacked_lstm") for p in ("edge", "validation", "accumulation")
]


@pytest.mark.parametrize(("model", "place"), [*((model, "middle") for model in MODELS), *OTHER_PLACES])
def test_it_goes_on_bit_for_bit(tmp_path, whole, model, place):
    words = [f"model={model}", *(["+trainer.accumulate_grad_batches=3"] if place == "accumulation" else [])]
    stopped(tmp_path, place, *words)
    tensors, rows = result(tmp_path)
    expected_tensors, expected_rows = whole(*words)
    assert not differing(tensors, expected_tensors)
    assert rows == expected_rows


IN_TURN = ["model=history_compressor", "model.training=in_turn"]
IN_TURN += ["model.epochs_per_level=0.5", "model.num_levels=4"]  # the second begins in the middle of an epoch


@pytest.mark.parametrize("place", ["before anything", "middle", "edge", "validation", "accumulation"])
def test_levels_that_learn_in_turn_go_on_bit_for_bit(tmp_path, whole, place):
    words = [*IN_TURN, *(["+trainer.accumulate_grad_batches=3"] if place == "accumulation" else [])]
    stopped(tmp_path, place, *words)
    tensors, rows = result(tmp_path)
    expected_tensors, expected_rows = whole(*words)
    assert not differing(tensors, expected_tensors)
    assert rows == expected_rows


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("before anything", []),
        ("last batch", []),
        ("last validation batch", []),
        ("test", []),
        ("middle", ["model.boundary=sample"]),
        ("edge", ["model.boundary=sample"]),
        ("validation", ["model.boundary=sample", "+trainer.val_check_interval=0.5"]),
        ("after a validation", ["+trainer.val_check_interval=3"]),
        ("last epoch", ["+trainer.check_val_every_n_epoch=2", *STOPPING]),  # which sees what was measured before
        ("middle", ["optim.scheduler.patience=1", "+trainer.check_val_every_n_epoch=2"]),
        ("edge", ["optim.scheduler.patience=1", "+trainer.check_val_every_n_epoch=2"]),
        ("before anything", ["trainer.log_every_n_steps=3"]),
        ("middle", ["data.overlap=5"]),  # a step that goes on from the state in the middle of the chunk before
        ("middle", ["task.sampling={_target_: multiscale.nn.schedules.Ramp, epochs: 4}", "data.overlap=5"]),
        ("middle", ["trainer.log_every_n_steps=3"]),  # a step whose updates are not asked for
        *(("middle", words) for words in SETTINGS.values()),
        *(("edge", words) for words in SETTINGS.values()),
        *(("validation", words) for words in SETTINGS.values()),
        ("last batch", SETTINGS["steps"]),  # and the validation after it is still to come
        ("last batch", SETTINGS["averaged"]),
        ("last batch", SETTINGS["double"]),
        ("second validation", ["+trainer.val_check_interval=2", "+trainer.accumulate_grad_batches=3"]),
    ],
)
def test_wherever_it_stops(tmp_path, whole, place, words):
    words = ["model=hmlstm", *words]
    stopped(tmp_path, place, *words)
    tensors, rows = result(tmp_path)
    expected_tensors, expected_rows = whole(*words)
    assert not differing(tensors, expected_tensors)
    assert rows == expected_rows
