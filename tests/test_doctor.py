"""The doctor finds what is amiss on a machine and says how to mend it."""

import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple

import pytest
import torch
from packaging.requirements import Requirement

from multiscale import doctor
from multiscale.doctor import MEND, NOTE, OK
from multiscale.kernels import compiler
from multiscale.kernels.hmlstm import triton_loop

LIGHTNING = "pytorch-lightning>=2.6,<2.7"
Usage = namedtuple("Usage", "total used free")


def installed(monkeypatch, **found: str) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: found.get(name.replace("-", "_"), ""))


def only(findings) -> doctor.Finding:
    (finding,) = findings
    return finding


@pytest.mark.parametrize("bad", ["2.6.2", "2.6.3"])
def test_a_lightning_that_is_known_to_be_bad_is_named(monkeypatch, bad):
    installed(monkeypatch, pytorch_lightning=bad)
    finding = doctor.package(Requirement(LIGHTNING))
    assert finding.state == MEND
    assert f"{bad} is known to be bad" in finding.text
    assert "pip install" in finding.how


@pytest.mark.parametrize(("found", "state"), [("2.6.4", OK), ("2.7.0", MEND), ("2.5.9", MEND), ("", MEND)])
def test_a_version_is_one_of_those_that_are_asked_for(monkeypatch, found, state):
    installed(monkeypatch, pytorch_lightning=found)
    assert doctor.package(Requirement(LIGHTNING)).state == state


def test_what_this_package_needs_is_read_from_its_own_metadata(monkeypatch):
    installed(monkeypatch)
    missing = {finding.subject for finding in doctor.versions() if finding.state == MEND}
    assert {"torch", "pytorch-lightning", "hydra-core", "omegaconf", "numpy", "rich"} <= missing
    assert "pytest" not in missing  # it is optional
    assert any(finding.subject == "optional" and "pytest" in finding.text for finding in doctor.versions())


def test_without_a_compiler_the_slower_kernel_is_a_note(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    finding = only(doctor.compiled())
    assert finding.state == NOTE
    assert "slower" in finding.text
    assert "g++" in finding.how


def test_a_compiler_that_fails_is_to_be_mended(monkeypatch):
    monkeypatch.setenv("CXX", "false")
    compiler.load.cache_clear()
    finding = only(doctor.compiled())
    compiler.load.cache_clear()
    assert finding.state == MEND
    assert "fails" in finding.text


def test_a_gpu_is_told_with_its_memory(monkeypatch):
    card = namedtuple("Card", "name total_memory")("Card X", 80e9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: card)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert any(f.state == OK and "Card X, 80 GB, with bf16" in f.text for f in doctor.devices())


@pytest.mark.parametrize(("why", "state"), [(None, OK), ("Triton is not installed", NOTE)])
def test_a_gpu_without_triton_is_a_note(monkeypatch, why, state):
    monkeypatch.setattr(triton_loop, "unavailable", lambda options, sizes: why)
    finding = doctor.launched()
    assert finding.state == state
    assert (why or "can run") in finding.text


def test_a_driver_without_a_gpu_in_torch_is_a_note(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert [f.state for f in doctor.devices()] == [OK, NOTE]


@pytest.mark.parametrize(("asked", "state"), [("2", OK), ("3", MEND), ("many", MEND)])
def test_more_threads_than_cores_are_to_be_mended(monkeypatch, asked, state):
    monkeypatch.setattr(doctor, "usable_cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    finding = only(doctor.threads())
    assert finding.state == state
    assert (finding.how == "export OMP_NUM_THREADS=2") == (state == MEND)


@pytest.mark.parametrize(("free", "state"), [(0.2e9, MEND), (2e9, NOTE), (50e9, OK)])
def test_a_disk_that_is_full_is_told(monkeypatch, tmp_path, free, state):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100e9, 0, free))
    runs, data = doctor.disk(tmp_path / "runs/not/yet")
    assert runs.state == data.state == state
    assert f"{free / 1e9:.1f} GB free" in runs.text


def test_a_folder_that_cannot_be_written_is_told(monkeypatch, tmp_path):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path))
    runs, data = doctor.disk(tmp_path)
    assert runs.state == data.state == MEND
    assert "cannot be written: Permission denied" in runs.text
    assert "MULTISCALE_DATA" in data.how


@pytest.mark.parametrize(
    ("environment", "state", "text"),
    [
        ({}, OK, "offline; no key is found"),
        ({"WANDB_API_KEY": "secret"}, OK, "online; a key is found"),
        ({"WANDB_MODE": "nonsense"}, MEND, "WANDB_MODE=nonsense"),
        ({"WANDB_MODE": "online"}, MEND, "without a key"),
        ({"WANDB_MODE": "disabled"}, OK, "disabled"),
    ],
)
def test_the_state_of_wandb_is_told_without_the_key(monkeypatch, tmp_path, environment, state, text):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    finding = only(doctor.tracking())
    assert finding.state == state
    assert text in finding.text
    assert "secret" not in finding.text + finding.how


@pytest.mark.parametrize(("losses", "state"), [([6.5, 4.0], OK), ([6.5, 6.6], MEND), ([6.5, float("nan"), 4.0], MEND)])
def test_a_loss_must_fall_and_stay_finite(losses, state):
    assert doctor.judge(losses).state == state


@pytest.mark.parametrize(
    "outcome", [subprocess.TimeoutExpired("run", 1), subprocess.CompletedProcess([], 1, "", "a\nKeyError: 'x'\n")]
)
def test_a_run_that_fails_or_hangs_is_told(monkeypatch, outcome):
    def run(*words, **settings):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(subprocess, "run", run)
    finding = only(doctor.training())
    assert finding.state == MEND
    assert "KeyError" in finding.text or "over" in finding.text


def test_a_check_that_breaks_does_not_keep_the_others_from_telling(monkeypatch, tmp_path):
    def broken():
        raise ImportError("libtorch.so\nis gone")

    monkeypatch.setattr(doctor, "devices", broken)
    findings = list(doctor.examine(tmp_path, train=False))
    assert any(f.state == MEND and "ImportError: libtorch.so is gone" in f.text for f in findings)
    assert any(f.subject == "w&b" for f in findings)


@pytest.mark.parametrize(("state", "code"), [(OK, None), (NOTE, None), (MEND, 1)])
def test_the_exit_code_says_whether_something_is_to_be_mended(monkeypatch, capsys, state, code):
    finding = doctor.Finding(state, "disk", "some [text]", "do this")
    monkeypatch.setattr(doctor, "examine", lambda folder, train: iter([finding]))
    if code is None:
        doctor.main([])
    else:
        with pytest.raises(SystemExit) as end:
            doctor.main([])
        assert end.value.code == code
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first.split() == [state, "disk", "some", "[text]"]
    assert second.split() == ["->", "do", "this"]


def test_a_word_it_does_not_know_is_one_message(cli):
    done = cli("trainig=false", module="doctor")
    assert done.returncode == 2
    assert "Did you mean 'training'?" in done.stderr


@pytest.mark.slow
def test_the_doctor_trains_a_network_and_leaves_nothing(cli, tmp_path):
    done = cli(module="doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ready to run." in done.stdout
    assert "bits per character of a small HM-LSTM" in done.stdout
    assert not list(tmp_path.iterdir())
    assert {line.split()[0] for line in done.stdout.splitlines() if line[:1].strip()} <= {"ok", "note", "Ready"}
    assert sys.version.split()[0] in done.stdout
