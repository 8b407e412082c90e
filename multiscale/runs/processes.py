"""Which of the processes that train together this is: said once, by the variables that torch.distributed.run sets."""

import os


def get_rank() -> int:
    """The number of this process, from 0, which writes for all."""
    return int(os.environ.get("RANK", "0"))


def count_ranks() -> int:
    """How many processes train together with this one, itself included."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_rank() -> bool:
    """Whether this process was started as one of several."""
    return "LOCAL_RANK" in os.environ
