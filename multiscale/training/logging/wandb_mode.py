"""Whether Weights & Biases runs are online, and which are still to be sent: without asking anyone or loading W&B."""

import os
from netrc import NetrcParseError, netrc
from pathlib import Path


def mode_of(mode: str) -> str:
    """``mode``; for ``auto`` what ``WANDB_MODE`` says, else ``online`` where a key is found, else ``offline``."""
    if mode != "auto":
        return mode
    return os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")


def find_unsent(folder: Path, pattern: str = "offline-run-*") -> list[Path]:
    """What W&B kept in a run's folder, of names of this ``pattern``, and did not send."""
    kept = sorted(folder.glob(f"wandb/{pattern}"))
    return [path for path in kept if any(path.glob("*.wandb")) and not any(path.glob("*.synced"))]


def has_key() -> bool:
    """Whether ``WANDB_API_KEY`` or a netrc file has a key."""
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].strip("/")
    try:
        stored = netrc(os.environ.get("NETRC") or Path.home() / ".netrc").authenticators(host)
    except (OSError, NetrcParseError, RuntimeError):  # the last for a user without a home
        stored = None
    return bool(os.environ.get("WANDB_API_KEY") or stored)
