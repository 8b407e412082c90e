"""How fast the backbones are, side by side, as ratios: no absolute time is printed but the time to compile.

  python -m multiscale.benchmark model=hmlstm

model      which report: a file of multiscale/benchmarks
sizes      units x batch x steps, with commas between, as 512x64x100,64x8x100; else the report's own
rounds     how often the peers take turns
precision  float32 or bf16; else the report's own
threads    of PyTorch
device     cpu or cuda
"""

import pkgutil
from importlib import import_module

import torch

from multiscale import benchmarks
from multiscale.benchmarks.timing import Settings, sizes_of
from multiscale.checks import one_of, positive_int
from multiscale.cli import arguments, command

MODELS = sorted({module.name for module in pkgutil.iter_modules(benchmarks.__path__)} - {"timing"})


def benchmark(words: list[str]) -> None:
    """Print the report of one model.

    Raises:
        InvalidInput: for a mistake in the words.
    """
    known = {"model": str, "sizes": "", "rounds": 7, "precision": "", "threads": torch.get_num_threads()}
    given = arguments(words, {**known, "device": "cpu"})
    model = one_of("model", given["model"], MODELS)
    sizes = sizes_of(given["sizes"]) if given["sizes"] else None
    settings = Settings(sizes, given["rounds"], given["precision"] or None, given["device"])
    torch.set_num_threads(positive_int("threads", given["threads"]))
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {settings.device}, {torch.get_num_threads()} threads, {settings.rounds} rounds")
    import_module(f"{benchmarks.__name__}.{model}").report(settings)


if __name__ == "__main__":
    command(benchmark, __doc__)
