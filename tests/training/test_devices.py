"""Devices asked for are those of the machine, and are counted."""

import pytest
import torch

from multiscale.checks import InvalidInput
from multiscale.training.devices import count_devices


@pytest.mark.parametrize(
    ("devices", "allowed"), [(2, True), (3, False), ("auto", True), (-1, True), ([0, 1], True), ([0, 2], False)]
)
def test_devices_are_those_of_the_machine(monkeypatch, devices, allowed):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    values = {"accelerator": "gpu", "devices": devices}
    if allowed:
        assert count_devices(values) == 2
    else:
        with pytest.raises(InvalidInput, match=r"trainer\.devices .*got"):
            count_devices(values)


@pytest.mark.parametrize(
    ("devices", "count"), [(2, 2), ("2", 2), ("0,1", 2), ([1], 1), ("auto", 2), (-1, 2), (None, 2)]
)
def test_devices_are_counted_as_they_are_written(monkeypatch, devices, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert count_devices({"accelerator": "gpu", "devices": devices}) == count
