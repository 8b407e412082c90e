"""Digits, speech, chorales, waveforms and problems of memory: the right samples, the right splits, clear refusals."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs
from multiscale.config.instantiate import make
from multiscale.data.chorales import read_chorales
from multiscale.data.files import DataError, data_folder
from multiscale.data.images import read_idx
from multiscale.data.speech import features, mel_filters
from multiscale.data.wav import read_wav
from tests.helpers import tiny


def data(name: str, *words: str):
    module = make(jobs([f"data={name}", *tiny.SMALL[name], *words])[0], "data")
    module.setup()
    return module


def real(name: str, path: str, *words: str):
    if not (data_folder() / path).exists():
        pytest.skip(f"needs {path} under MULTISCALE_DATA")
    module = make(jobs([f"data={name}", *words])[0], "data")
    module.setup()
    return module


@pytest.fixture
def files(tmp_path, monkeypatch):
    tiny.data_sets(tmp_path)
    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path))
    return tmp_path


def test_digits_are_read_row_by_row_and_the_last_are_held_out(files):
    module = data("smnist")
    images = read_idx(files / "mnist/train-images-idx3-ubyte.gz", 3)
    labels = read_idx(files / "mnist/train-labels-idx1-ubyte.gz", 1)
    assert module.facts.sequences == (32, 8, 10)
    pixels, label = module.samples["val"][3]
    assert pixels.shape == (784, 1)
    assert torch.equal(pixels[:, 0], torch.from_numpy(images[35].reshape(-1) / np.float32(255)))
    assert label == labels[35]


def test_permuted_digits_are_all_in_one_fixed_order(files):
    plain, shuffled = data("smnist"), data("psmnist")
    order = np.random.RandomState(92916).permutation(784)
    for split in ("train", "test"):
        for i in (0, 5):
            assert torch.equal(shuffled.samples[split][i][0], plain.samples[split][i][0][order])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nonsense", "damaged"),
        (tiny.idx(np.zeros((40, 28, 28)))[:-9], "damaged"),
        (tiny.idx(np.zeros(40)), "3 axes"),
        (tiny.idx(np.zeros((41, 28, 28))), "a label for each image; it has 40 for 41"),
    ],
    ids=["no gzip", "cut short", "one axis", "one too many"],
)
def test_images_that_cannot_be_used_are_refused(files, content, message):
    (files / "mnist/train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError, match=message):
        data("smnist")


def test_recordings_are_split_by_their_number_and_standardised_by_the_training_part(files):
    module = data("spoken_digits")
    assert module.facts.sequences == (2 * 3 * 2, 2 * 3, 2 * 3 * 5)
    frames = torch.cat([frames for frames, _ in (module.samples["train"][i] for i in range(12))])
    assert frames.shape[1] == 13
    torch.testing.assert_close(frames.mean(0), torch.zeros(13), atol=1e-5, rtol=0)
    torch.testing.assert_close(frames.std(0), torch.ones(13), atol=1e-4, rtol=0)
    batch = next(iter(module.loader("test")))
    assert not batch.mask.all()


def test_a_feature_frame_is_25_ms_every_10_ms():
    for length, frames in ((1, 1), (200, 1), (279, 1), (280, 2), (8000, 98)):
        assert features(np.random.default_rng(0).normal(size=length).astype(np.float32)).shape == (frames, 13)


def test_a_tone_is_strongest_in_the_band_around_it():
    filters = mel_filters()
    assert filters.shape == (26, 129)
    for bin_ in (20, 60, 100):
        band = int(filters[:, bin_].argmax())
        centre = 700 * (10 ** ((band + 1) * 2595 * np.log10(1 + 4000 / 700) / 27 / 2595) - 1)
        assert abs(centre - bin_ * 8000 / 256) < 250


def test_features_do_not_change_with_loudness_but_for_the_energy():
    sound = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    quiet, loud = features(0.01 * sound), features(sound)
    np.testing.assert_allclose(quiet[:, :12], loud[:, :12], atol=1e-2)
    np.testing.assert_allclose(loud[:, 12] - quiet[:, 12], 2 * math.log(100), atol=1e-3)


def test_a_sound_file_comes_back_as_its_samples(tmp_path):
    sound = np.linspace(-1, 1, 500)
    tiny.wav(tmp_path / "a.wav", sound)
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav", 8000).samples, sound, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 16000}, "must have 8000 samples a second; it has 16000"),
        ({"width": 1}, "1 channel of 16 bits; it has 1 of 8 bits"),
        ({"channels": 2}, "1 channel of 16 bits; it has 2 of 16 bits"),
    ],
)
def test_a_sound_of_another_rate_or_width_is_refused(files, change, message):
    tiny.wav(files / "fsdd/recordings/0_ann_3.wav", np.zeros(800), **change)
    with pytest.raises(DataError, match=message):
        data("spoken_digits")


@pytest.mark.parametrize("keep", [-30, 44, 20, 0])
def test_a_sound_that_is_cut_short_is_refused(tmp_path, keep):
    tiny.wav(tmp_path / "a.wav", np.ones(100))
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a.wav must (be a WAV file|hold 100 samples)"):
        read_wav(tmp_path / "a.wav")


def test_a_chorale_is_predicted_from_the_step_before_and_from_silence(files):
    module = data("jsb_chorales")
    assert module.facts.sequences == (20, 6, 5)
    inputs, targets = module.samples["train"][4]
    assert not inputs[0].any()
    assert torch.equal(inputs[1:], targets[:-1])
    assert 1 <= targets.sum(1).min() <= targets.sum(1).max() <= 4


@pytest.mark.parametrize(
    "content", ["", "[]", '{"train": []}', '{"train": [[[20]]], "valid": [], "test": []}', '{"train": [[]]}']
)
def test_chorales_of_another_form_are_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match="must be JSON with lists of chorales"):
        read_chorales(tmp_path / "a.json")


def test_the_sum_of_the_marked_numbers_is_the_target_and_one_is_in_each_half():
    module = data("adding", "data.steps=31")
    for inputs, target in (module.samples["train"][i] for i in range(20)):
        at = inputs[:, 1].nonzero()[:, 0].tolist()
        assert len(at) == 2
        assert at[0] < 15 <= at[1]
        assert target.item() == pytest.approx(inputs[at, 0].sum().item())


def test_always_answering_one_has_the_stated_error():
    module = data("adding", "data.sequences=[20000,1,1]")
    error = (module.samples["train"].targets - 1).square().mean().item()
    assert module.facts.references["MSE of always answering 1"] == pytest.approx(error, rel=0.03)
    assert error == pytest.approx(0.167, abs=0.005)


def test_ten_symbols_are_to_be_told_after_the_signal():
    module = data("copy_memory", "data.delay=7")
    inputs, targets = module.samples["train"][0]
    assert len(inputs) == len(targets) == 27
    assert torch.equal(inputs[:10], targets[-10:])
    assert inputs[16] == 9
    assert Counter(inputs[10:].tolist()) == {0: 16, 9: 1}
    assert not targets[:-10].any()
    assert set(inputs[:10].tolist()) <= set(range(1, 9))


def test_without_memory_the_cross_entropy_is_the_stated_one():
    module = data("copy_memory", "data.delay=100")
    # Blanks are certain; each recalled symbol is one of eight, equally likely.
    by_hand = (110 * 0 + 10 * math.log(8)) / 120
    assert module.facts.references["cross-entropy without memory (nats)"] == pytest.approx(by_hand)


def test_the_values_and_the_first_mark_of_the_adding_problem_may_be_chosen():
    module = data(
        "adding", "data.steps=50", "data.sequences=[4000,1,1]", "data.values=[-0.5,0.5]", "data.first_mark=0.1"
    )
    inputs = torch.stack(list(module.samples["train"].inputs))
    assert -0.5 <= inputs[..., 0].min() < -0.49
    assert 0.49 < inputs[..., 0].max() <= 0.5
    first, second = inputs[..., 1].nonzero()[:, 1].view(-1, 2).T
    assert set(first.tolist()) == set(range(5))
    assert set(second.tolist()) == set(range(25, 50))
    assert module.facts.references == {"MSE of always answering 0": pytest.approx(1 / 6)}


@pytest.mark.parametrize("name", ["adding", "copy_memory"])
def test_generated_splits_differ_and_their_seed_is_their_own(name):
    module, again, other = data(name), data(name), data(name, "data.seed=1")
    torch.manual_seed(3)
    assert module.facts == again.facts
    assert module.facts.sha256 != other.facts.sha256
    assert not torch.equal(module.samples["val"].inputs, module.samples["test"].inputs)


def test_the_training_set_is_shuffled_and_the_others_are_not():
    module = data("adding", "data.sequences=[64,64,64]", "data.batch_size=64")
    for split in ("train", "val"):
        (batch,) = module.loader(split)
        in_order = torch.equal(batch.targets, torch.as_tensor(module.samples[split].targets))
        assert in_order == (split == "val")


@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_share_a_split_and_count_every_sequence_once(ranks):
    module = data("adding", "data.sequences=[20,7,8]", f"data.batch_size={2 * ranks}")
    whole = module.samples["val"].targets
    shares, steps = [], set()
    for rank in range(ranks):
        shares += [target for batch in module.loader("val", rank, ranks) for target in batch.targets.tolist()]
        steps.add(len(module.loader("train", rank, ranks)))
    assert sorted(shares) == sorted(whole.tolist())
    assert len(steps) == 1
    with pytest.raises(InvalidInput, match=r"data.batch_size must be a multiple of the number of devices, 5"):
        module.loader("val", 0, 5)


def test_a_wave_has_its_periods_and_no_input():
    module = data("waveform", "data.samples=320", "data.periods=[8,32]")
    inputs, target = module.samples["train"][0]
    assert not inputs.any()
    strength = np.abs(np.fft.rfft(target[:, 0].numpy()))
    assert set(np.flatnonzero(strength > 1).tolist()) == {320 // 8, 320 // 32}
    assert target.abs().max() == 1


def test_a_wave_may_be_a_sound_of_the_users(tmp_path):
    sound = np.sin(np.arange(400) / 5) / 2
    tiny.wav(tmp_path / "a.wav", sound, rate=44100)
    target = data("waveform", f"data.path={tmp_path}/a.wav", "data.samples=100").samples["test"][0][1]
    np.testing.assert_allclose(target[:, 0], sound[:100] * 2, atol=1e-2)
    with pytest.raises(DataError, match=r"at least 500 samples of 44100 Hz; it has 400"):
        data("waveform", f"data.path={tmp_path}/a.wav", "data.samples=500")


def test_a_sound_may_be_brought_to_another_rate_and_begin_later(tmp_path):
    tiny.wav(tmp_path / "a.wav", np.sin(2 * np.pi * np.arange(800) / 40) / 2, rate=8000)  # 200 Hz, whole periods
    words = ("waveform", f"data.path={tmp_path}/a.wav", "data.rate=44100", "data.samples=300")
    target = data(*words, "data.start=0.05").samples["test"][0][1]
    expected = np.sin(2 * np.pi * 200 * (0.05 + np.arange(300) / 44100))
    np.testing.assert_allclose(target[:, 0], expected, atol=1e-3)
    with pytest.raises(DataError, match=r"at least 4491 samples of 44100 Hz; it has 4410"):
        data(*words, "data.start=0.09503")
    with pytest.raises(DataError, match=r"at least 300 samples of 1 Hz; it has 1"):
        data(*words, "data.rate=1")


@pytest.mark.parametrize(
    ("name", "word", "message"),
    [
        ("smnist", "data.held_out=40", "held_out must be less than the 40 training digits; got 40"),
        ("spoken_digits", "data.validation=[4]", r"validation must be numbers .*got \[4\]"),
        ("jsb_chorales", "data.resolution=8th", "resolution must be one of 16th, quarter; got '8th'"),
        ("adding", "data.steps=1", "steps must be a number at least 2; got 1"),
        ("adding", "data.sequences=[1,2]", r"sequences must be three numbers.*got \[1, 2\]"),
        ("copy_memory", "data.delay=0", "delay must be a whole number of at least 1; got 0"),
        ("waveform", "data.periods=[]", "periods must be at least one"),
        ("waveform", "data.path=/no/such.wav", "such.wav must be a WAV file"),
    ],
)
def test_a_mistake_is_named(files, name, word, message):
    with pytest.raises(InvalidInput, match=message):
        data(name, word)


@pytest.mark.real_data
def test_real_digits_have_their_first_labels():
    module = real("smnist", "mnist/train-labels-idx1-ubyte.gz")
    assert module.facts.sequences == (55_000, 5_000, 10_000)
    assert module.samples["train"].targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert module.samples["test"].targets[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@pytest.mark.real_data
def test_real_speech_has_its_official_split():
    train, val, test = real("spoken_digits", "fsdd/recordings").facts.sequences
    assert (train + val, test) == (2700, 300)


@pytest.mark.real_data
@pytest.mark.parametrize("resolution", ["quarter", "16th"])
def test_real_chorales_have_their_counts(resolution):
    module = real("jsb_chorales", f"jsb/jsb-chorales-{resolution}.json", f"data.resolution={resolution}")
    assert module.facts.sequences == (229, 76, 77)
