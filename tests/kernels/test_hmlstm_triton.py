"""The HM-LSTM's kernels in Triton: on a GPU, or else by its interpreter, and compiled for GPUs that are not here.

The interpreter shows that indices and arithmetic are right; layouts, races and shared memory only a GPU does.
"""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from multiscale.backbones.hmlstm import HMLSTM
from multiscale.checks import InvalidInput
from multiscale.kernels.hmlstm import triton_loop
from tests.helpers.hmlstm_kernels import OPTIONS, D, as_kernel, compare, model, run

CANNOT_RUN = triton_loop.unavailable(model((1,)).options, (1,))
GPU = CANNOT_RUN is None and not triton_loop.interpreted()
runs = pytest.mark.skipif(CANNOT_RUN is not None, reason=f"{CANNOT_RUN}; on a CPU: make test-triton")
gpu_only = pytest.mark.skipif(not GPU, reason="Triton's interpreter multiplies bfloat16 wrongly, and there is no GPU")


@pytest.fixture(autouse=True)
def device():
    with torch.device("cuda" if GPU else "cpu"):
        yield


def exact(sizes, batch=16, steps=5, given=True, **options):
    compare(model(sizes, **options), batch, steps, given, draws=(1, 5), kernels=("triton",))


@runs
@pytest.mark.parametrize("options", [o for o in OPTIONS if "layer_norm" not in o], ids=str)
def test_every_option_but_layer_norm_is_as_exact_as_the_reference(options):
    exact((16, 32, 17), **options)


@runs
@pytest.mark.parametrize("seed", [1, 2])
def test_batches_and_layers_of_any_size_are_as_exact_as_the_reference(seed):
    torch.manual_seed(seed)
    exact((45, 16, 33), batch=19, steps=3, given=seed == 1)


@runs
@pytest.mark.parametrize(("sizes", "batch", "steps"), [((7,), 1, 1), ((1, 1), 2, 3), ((16, 5, 4, 3), 1, 5)], ids=str)
def test_every_depth_and_one_of_everything_is_as_exact_as_the_reference(sizes, batch, steps):
    exact(sizes, batch, steps)


@runs
@pytest.mark.parametrize("short", [torch.float16, pytest.param(torch.bfloat16, marks=gpu_only)], ids=str)
@pytest.mark.parametrize("options", [{}, {"boundary_source": "hidden", "copy_boundary": "hold"}], ids=str)
def test_short_products_are_as_exact_as_the_reference_s(options, short):
    with torch.autocast("cuda" if GPU else "cpu", short):
        exact((16, 32, 17), **options)


@runs
@pytest.mark.parametrize("options", [{}, {"boundary": "soft"}], ids=str)
def test_evaluation_gives_what_training_gives(options):
    found, x = as_kernel(model((16, 17), **options), "triton"), torch.randn(17, 4, D)
    trained = found.eval()(x, trace=True)
    with torch.no_grad():
        kept_nothing = found(x, trace=True)
    assert torch.equal(trained.trace.boundary, kept_nothing.trace.boundary)
    assert all(map(torch.equal, (*trained.levels, *trained.state[1]), (*kept_nothing.levels, *kept_nothing.state[1])))


@runs
def test_a_broken_number_breaks_what_reads_it_and_no_other_sample():
    found, x = as_kernel(model((16, 17, 5)), "triton"), torch.randn(3, 4, D)
    x[1, 2] = float("nan")
    for level in found(x).levels:
        assert level[1, -1].isnan().all()
        assert level[[0, 2]].isfinite().all()


@runs
def test_no_result_depends_on_what_memory_held(monkeypatch):
    truth, x, cotangents = model((16, 17)), torch.randn(3, 4, D), {}
    expected = run(as_kernel(truth, "triton"), x, None, cotangents)
    new_empty = torch.Tensor.new_empty
    monkeypatch.setattr(
        torch.Tensor, "new_empty", lambda like, *shape, **kinds: new_empty(like, *shape, **kinds).fill_(torch.nan)
    )
    monkeypatch.setattr(triton_loop.Workspace, "empty", lambda workspace, *shape: workspace.like.new_empty(shape))
    found = run(as_kernel(truth, "triton"), x, None, cotangents)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.slow
@pytest.mark.skipif(not triton_loop.INSTALLED, reason=f"{CANNOT_RUN}")
@pytest.mark.parametrize("capability", [80, 90])
def test_it_compiles_for_a_gpu_and_shares_no_more_memory_than_any_has(capability, tmp_path):
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    program = [sys.executable, "-m", "tests.helpers.compile_triton", str(capability)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shared = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, _ in shared] == ["forward", "backward"] * 2
    assert all(int(size) <= 48 << 10 for _, size in shared)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"layer_norm": True}, "the triton kernel has no layer norm"),
        ({"hidden_size": (8, 257)}, "the triton kernel has at most 256 units a layer; got 257"),
        ({"zoneout": 0.1}, "the whole-sequence kernels have no zoneout"),
        ({}, r"Triton is not installed: pip install 'multiscale-rnn\[triton\]'"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(options, why, monkeypatch):
    monkeypatch.setattr(triton_loop, "INSTALLED", False)
    with pytest.raises(InvalidInput, match=f"kernel 'triton' of HMLSTM cannot run here: {why}"):
        HMLSTM(D, **{"hidden_size": 8, "kernel": "triton", **options})


def test_on_a_gpu_it_is_there_by_its_name_and_auto_takes_torchs_gates(monkeypatch):
    monkeypatch.setattr(triton_loop, "INSTALLED", True)
    monkeypatch.setattr(triton_loop, "_cannot_launch", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0) if device.index is None else (7, 5))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)

    def can_run(device, **options):
        kernels = HMLSTM(D, 8, **options).kernels(SimpleNamespace(device=torch.device(device)))
        return [name for name, reason in kernels.items() if reason is None]

    assert can_run("cuda") == ["fused", "triton", "reference"]
    assert can_run("cuda", layer_norm=True) == ["fused", "reference"]
    assert can_run("cuda:1") == ["fused", "reference"]  # an older one
    assert "triton" not in can_run("cpu")
