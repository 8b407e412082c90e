"""How many processes train together, from what a trainer is asked for: said once."""

from collections.abc import Mapping
from typing import Any

from multiscale.checks import InvalidInput, positive_int


def count_processes(trainer: Mapping[str, Any]) -> int:
    """The processes of a trainer, of these arguments, on all nodes; raises as :func:`count_devices`."""
    return count_devices(trainer) * (trainer.get("num_nodes") or 1)


def count_devices(trainer: Mapping[str, Any]) -> int:
    """The devices on each node that the arguments of a trainer ask for.

    Raises:
        InvalidInput: for devices that are not there, or are no number, list or ``auto``.
    """
    accelerator, devices = trainer.get("accelerator", "auto"), trainer.get("devices", "auto")
    present = count_gpus(accelerator)
    if accelerator in ("gpu", "cuda", "mps") and not present:
        raise InvalidInput(f"trainer.accelerator must be cpu or auto on a machine without a GPU; got {accelerator!r}.")
    asked = _read_devices(devices)
    if asked is None:
        return present or 1
    if isinstance(asked, int):
        if present and asked > present:
            raise InvalidInput(f"trainer.devices must be at most {present}, the GPUs of this machine; got {asked}.")
        return asked
    if not asked or len(set(asked)) < len(asked) or not all(0 <= i < present for i in asked):
        there = f"those present, 0 to {present - 1}, each once" if present else "none, which this machine has"
        raise InvalidInput(f"trainer.devices as a list of GPUs must be of {there}; got {devices!r}.")
    return len(asked)


def count_gpus(accelerator: str) -> int:
    """GPUs that the accelerator would use; 0 for the CPU, and where there are none."""
    if accelerator in ("cpu", "tpu"):
        return 0
    import torch  # which takes a second, and for a run on the CPU is not needed to see a mistake

    cuda = torch.cuda.device_count() if accelerator != "mps" and torch.cuda.is_available() else 0
    return cuda or int(accelerator != "cuda" and torch.backends.mps.is_available())


def _read_devices(devices: Any) -> int | list[int] | None:
    """How many devices, or which GPUs; None for all. Raises :class:`InvalidInput` for what is neither."""
    if devices in (None, "auto", "-1") or (devices == -1 and not isinstance(devices, bool)):
        return None
    try:
        if isinstance(devices, str) and "," not in devices:
            devices = int(devices)
        elif isinstance(devices, str | list):
            numbers = devices.split(",") if isinstance(devices, str) else devices
            return [int(number) for number in numbers if str(number).strip()]
    except ValueError as error:
        raise InvalidInput(
            f"trainer.devices must be a whole number, auto, or a list of GPUs; got {devices!r}."
        ) from error
    return positive_int("trainer.devices", devices)
