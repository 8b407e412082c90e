"""One job in its own process, as sweeps and several devices start it.

``python -m multiscale.jobs.worker <run folder>``
"""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from multiscale.cli import INTERRUPTED, collect_seldom
from multiscale.runs.processes import is_rank
from multiscale.runs.signals import end_with_parent

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main() -> int:
    """Run the job, which Ctrl-C ends without a traceback from its first moments on; returns the exit code."""
    end_with_parent()
    collect_seldom()
    try:
        return _run(Path(sys.argv[1]))
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(folder: Path) -> int:
    """Run the job, or start the processes that run it together."""
    from multiscale.jobs.start import needs_processes, run_here  # torch takes a second or two
    from multiscale.runs.folder import read

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if not is_rank() and needs_processes(config := read(folder)):
        return run_ranks(folder, config)
    return run_here(folder)


def run_ranks(folder: Path, config: "DictConfig") -> int:
    """Run the job in several processes, by torch.distributed.run; the first to fail is named."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    from multiscale.config.identity import to_plain
    from multiscale.training.devices import count_devices

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # what failed is told once, below
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    nodes = config.trainer.get("num_nodes", 1)
    meet = ["--standalone"]
    if nodes > 1:
        meet = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", config.rendezvous]
        meet += ["--rdzv-id", config.identity.request[:16]]
    here = str(count_devices(to_plain(config.trainer)))
    words = [*meet, "--nproc-per-node", here, "--max-restarts", "0", "-m", "multiscale.jobs.worker", str(folder)]
    try:
        run.main(words)
    except SignalException as error:
        return 128 + int(error.sigval)
    except ChildFailedError as error:
        return _settle(folder, {rank: failure.exitcode for rank, failure in error.failures.items()})
    return 0


def _settle(folder: Path, codes: dict[int, int]) -> int:
    """One exit code for those of all ranks; a rank that a signal ended without a word gets one here."""
    from multiscale.jobs.start import keep_first_error
    from multiscale.runs import status

    asked = [code for code in codes.values() if code in (128 + signal.SIGINT, 128 + signal.SIGTERM)]
    killed = {rank: -code for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM}
    for rank, number in killed.items():
        told = f"rank {rank} was ended by {signal.Signals(number).name}"
        if keep_first_error(folder, f"{told}\n"):
            print(f"error: {told}", file=sys.stderr)
            status.Status(folder).update(status.FAILED, error=told)
    if killed or not asked:
        return max([code for code in codes.values() if code > 0 and code not in asked], default=1)
    return asked[0]


if __name__ == "__main__":
    sys.exit(main())
