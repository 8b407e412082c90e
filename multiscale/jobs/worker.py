"""One job in its own process, as sweeps and several devices start it.

``python -m multiscale.jobs.worker <run folder>``
"""

import logging
import os
import signal
import sys
from pathlib import Path

from multiscale.jobs import start
from multiscale.runs import folder, status
from multiscale.runs.signals import end_with_parent


def main() -> int:
    """Run the job, or start the processes that run it together; returns the exit code."""
    place = Path(sys.argv[1])
    end_with_parent()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    config = folder.read(place)
    if start.processes(config) > 1 and "LOCAL_RANK" not in os.environ:
        return together(place)
    return start.work(place)


def together(place: Path) -> int:
    """Run the job in several processes, by torch.distributed.run; the first to fail is named."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # what failed is told once, below
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config = folder.read(place)
    nodes = config.trainer.get("num_nodes", 1)
    meet = ["--standalone"]
    if nodes > 1:
        meet = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", config.rendezvous]
        meet += ["--rdzv-id", config.request[:16]]
    here = str(start.processes(config) // nodes)
    words = [*meet, "--nproc-per-node", here, "--max-restarts", "0", "-m", "multiscale.jobs.worker", str(place)]
    try:
        run.main(words)
    except SignalException as error:
        return 128 + int(error.sigval)
    except ChildFailedError as error:
        return _told(place, {rank: failure.exitcode for rank, failure in error.failures.items()})
    return 0


def _told(place: Path, codes: dict[int, int]) -> int:
    """One exit code for those of all ranks; a rank that a signal ended without a word gets one here."""
    asked = [code for code in codes.values() if code in (128 + signal.SIGINT, 128 + signal.SIGTERM)]
    killed = {rank: -code for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM}
    for rank, number in killed.items():
        told = f"rank {rank} was ended by {signal.Signals(number).name}"
        if start.first_error(place, f"{told}\n"):
            print(f"error: {told}", file=sys.stderr)
            status.Status(place).update(status.FAILED, error=told)
    if killed or not asked:
        return max([code for code in codes.values() if code > 0 and code not in asked], default=1)
    return asked[0]


if __name__ == "__main__":
    sys.exit(main())
