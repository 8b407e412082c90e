"""What a trainer may be asked for, on this machine, without the seconds that importing Lightning takes."""

from collections.abc import Callable, Mapping
from typing import Any

from multiscale.checks import InvalidInput, flag, in_range, nearest, one_of, positive_int

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
PRECISIONS = (
    *("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "32", "16", "bf16", "64"),
    *("transformer-engine", "transformer-engine-float16"),
)
STRATEGIES = (
    *("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true"),
    *("ddp_spawn", "ddp_spawn_find_unused_parameters_false", "ddp_spawn_find_unused_parameters_true"),
    *("ddp_fork", "ddp_fork_find_unused_parameters_false", "ddp_fork_find_unused_parameters_true"),
    *("ddp_notebook", "ddp_notebook_find_unused_parameters_false", "ddp_notebook_find_unused_parameters_true"),
    *("deepspeed", "deepspeed_stage_1", "deepspeed_stage_1_offload", "deepspeed_stage_2", "deepspeed_stage_2_offload"),
    *("deepspeed_stage_3", "deepspeed_stage_3_offload", "deepspeed_stage_3_offload_nvme"),
    *("fsdp", "fsdp_cpu_offload", "single_device", "single_tpu", "single_xla", "xla", "xla_debug"),
)

Check = Callable[[str, Any], Any]


def check_values(values: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidInput` for a value that Lightning's trainer would refuse, or refuse only after a while.

    ``values`` are the arguments of the trainer that are set.
    """
    for name, check in CHECKS.items():
        if values.get(name) is not None:
            check(f"trainer.{name}", values[name])


def check_devices(values: Mapping[str, Any], batch_size: int) -> None:
    """Raise :class:`InvalidInput` for devices that are not there or cannot share ``batch_size`` evenly."""
    accelerator = values.get("accelerator", "auto")
    present = _gpus(accelerator)
    if accelerator in ("gpu", "cuda", "mps") and not present:
        raise InvalidInput(f"trainer.accelerator must be cpu or auto on a machine without a GPU; got {accelerator!r}.")
    ranks = _count(values.get("devices") or "auto", present) * (values.get("num_nodes") or 1)
    if batch_size % ranks:
        raise InvalidInput(
            f"data.batch_size must be a multiple of the number of devices, which trainer.devices makes {ranks}; "
            f"got {batch_size}."
        )


def _gpus(accelerator: str) -> int:
    """GPUs that the accelerator would use; 0 for the CPU, and where there are none."""
    import torch  # which takes a second, and most checks do without

    if accelerator in ("cpu", "tpu"):
        return 0
    cuda = torch.cuda.device_count() if accelerator != "mps" and torch.cuda.is_available() else 0
    return cuda or int(accelerator != "cuda" and torch.backends.mps.is_available())


def _asked(where: str, devices: Any) -> int | list[int] | None:
    """How many devices, or which GPUs; None for all. Raises :class:`InvalidInput` for what is neither."""
    if devices in ("auto", "-1") or (devices == -1 and not isinstance(devices, bool)):
        return None
    try:
        if isinstance(devices, str) and "," not in devices:
            devices = int(devices)
        elif isinstance(devices, str | list):
            numbers = devices.split(",") if isinstance(devices, str) else devices
            return [int(number) for number in numbers if str(number).strip()]
    except ValueError as error:
        raise InvalidInput(f"{where} must be a whole number, auto, or a list of GPUs; got {devices!r}.") from error
    return positive_int(where, devices)


def _count(devices: Any, present: int) -> int:
    """How many devices ``devices`` asks for, of ``present`` GPUs, or of a CPU if there are none."""
    asked, where = _asked("trainer.devices", devices), "trainer.devices"
    if asked is None:
        return present or 1
    if isinstance(asked, int):
        if present and asked > present:
            raise InvalidInput(f"{where} must be at most {present}, the GPUs of this machine; got {asked}.")
        return asked
    if not asked or len(set(asked)) < len(asked) or not all(0 <= i < present for i in asked):
        there = f"those present, 0 to {present - 1}, each once" if present else "none, which this machine has"
        raise InvalidInput(f"{where} as a list of GPUs must be of {there}; got {devices!r}.")
    return len(asked)


def _word(*allowed: str) -> Check:
    def check(where: str, value: Any) -> None:
        one_of(where, str(value) if isinstance(value, int) and not isinstance(value, bool) else value, allowed)

    return check


def _at_least(low: float, integer: bool = True) -> Check:
    def check(where: str, value: Any) -> None:
        in_range(where, value, low)
        if integer and not isinstance(value, int):
            raise InvalidInput(f"{where} must be a whole number of at least {low:g}; got {value!r}.")

    return check


def _limit(zero: bool) -> Check:
    """Whole numbers are batches, fractions a share of them; ``zero`` says whether none is allowed."""

    def check(where: str, value: Any) -> None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or isinstance(value, float)) or not value >= 0 or (not whole and not value <= 1):
            raise InvalidInput(f"{where} must be a number of batches, or a fraction of them up to 1.0; got {value!r}.")
        if not (zero or value):
            raise InvalidInput(f"{where} must be above 0; got {value!r}.")

    return check


def _epochs(where: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or (value < 1 and value != -1):
        raise InvalidInput(f"{where} must be at least 1 and whole, or -1 for no limit; got {value!r}.")


def _strategy(where: str, value: Any) -> None:
    if isinstance(value, str) and value not in STRATEGIES:
        raise InvalidInput(
            f"{where} must be auto, ddp, or another that Lightning knows; got {value!r}.{nearest(value, STRATEGIES)}"
        )


def _deterministic(where: str, value: Any) -> None:
    if value != "warn":
        flag(where, value)


CHECKS: dict[str, Check] = {
    "accelerator": _word(*ACCELERATORS),
    "precision": _word(*PRECISIONS),
    "strategy": _strategy,
    "devices": _asked,
    "num_nodes": positive_int,
    "max_epochs": _epochs,
    "max_steps": _epochs,
    "min_epochs": _at_least(0),
    "min_steps": _at_least(0),
    "limit_train_batches": _limit(zero=False),
    "limit_val_batches": _limit(zero=False),
    "limit_test_batches": _limit(zero=True),
    "limit_predict_batches": _limit(zero=True),
    "overfit_batches": _limit(zero=True),
    "val_check_interval": lambda where, value: (
        _limit(zero=False)(where, value) if isinstance(value, int | float) else None
    ),
    "check_val_every_n_epoch": positive_int,
    "num_sanity_val_steps": _at_least(-1),
    "log_every_n_steps": _at_least(0),
    "accumulate_grad_batches": positive_int,
    "gradient_clip_val": _at_least(0, integer=False),
    "gradient_clip_algorithm": _word("norm", "value"),
    "deterministic": _deterministic,
    **dict.fromkeys(
        (
            "benchmark",
            "use_distributed_sampler",
            "detect_anomaly",
            "barebones",
            "enable_checkpointing",
            "enable_progress_bar",
            "enable_model_summary",
            "inference_mode",
            "sync_batchnorm",
        ),
        flag,
    ),
}
