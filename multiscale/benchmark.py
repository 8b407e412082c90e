"""How fast the backbones are, side by side, as ratios: ``python -m multiscale.benchmark [model=hmlstm] [key=value]``.

model      a model file; without it, all of them. hmlstm and clockwork have reports of their own below the table;
           streaming is one of steps read one at a time, resting one of an HM-LSTM's time against its updates, with
           a figure
sizes      units a layer x batch x steps, with commas between, as 512x64x100,64x8x100; default 128x32x64
rounds     how often the peers take turns
precision  float32 or bf16
threads    of PyTorch, as 1,2; a report of its own has the last
device     cpu or cuda

No absolute time is printed but the time to compile. All models take minutes; what is under way is told on stderr.
"""

from importlib import import_module
from pathlib import Path

from multiscale.checks import InvalidInput, one_of, positive_int
from multiscale.cli import arguments, command

HOME = Path(__file__).parent / "benchmarks"
NO_MODEL = ("__init__", "timing", "backbones")
REPORTS = sorted(path.stem for path in HOME.glob("*.py") if path.stem not in NO_MODEL)  # models with one of their own


def benchmark(words: list[str]) -> None:
    """Print the table of one model or all, and the report of a model that has one.

    Raises:
        InvalidInput: for a mistake in the words.
    """
    known = {"model": "", "sizes": "", "rounds": 7, "precision": "", "threads": "1,2", "device": "cpu"}
    given = arguments(words, known)
    threads = counts(given["threads"])

    from multiscale.config.compose import CONF  # with Hydra, and below with torch: no --help waits for either

    models = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
    known_models = sorted({*models, *REPORTS})
    chosen = [one_of("model", given["model"], known_models)] if given["model"] else models

    import torch

    from multiscale.benchmarks import backbones
    from multiscale.benchmarks.timing import Settings, sizes_of

    sizes = sizes_of(given["sizes"]) if given["sizes"] else None
    settings = Settings(sizes, given["rounds"], given["precision"] or None, given["device"])
    print(f"torch {torch.__version__}, {settings.device}, {given['threads']} threads, {settings.rounds} rounds")
    if set(chosen) <= set(models):
        backbones.report(settings, chosen, threads)
    if given["model"] in REPORTS:
        torch.set_num_threads(threads[-1])
        torch.manual_seed(0)
        import_module(f"multiscale.benchmarks.{given['model']}").report(settings)


def counts(text: str) -> list[int]:
    """Numbers of threads as they are written on a command line, with commas between."""
    try:
        return [positive_int("threads", int(part)) for part in text.split(",")]
    except InvalidInput:
        raise
    except ValueError as error:
        raise InvalidInput(f"threads must be whole numbers with commas between, as 1,2; got {text!r}.") from error


if __name__ == "__main__":
    command(benchmark, __doc__)
