"""Whether Weights & Biases runs are online: from the environment and the key that is stored, without asking anyone."""

import os
from netrc import NetrcParseError, netrc
from pathlib import Path


def mode_of(mode: str) -> str:
    """``mode``; for ``auto`` what ``WANDB_MODE`` says, else ``online`` where a key is found, else ``offline``."""
    if mode != "auto":
        return mode
    return os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")


def has_key() -> bool:
    """Whether ``WANDB_API_KEY`` or a netrc file has a key."""
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].strip("/")
    try:
        stored = netrc(os.environ.get("NETRC") or Path.home() / ".netrc").authenticators(host)
    except (OSError, NetrcParseError, RuntimeError):  # the last for a user without a home
        stored = None
    return bool(os.environ.get("WANDB_API_KEY") or stored)
