"""Do levels found on one text hold on another, and what is the third level for? See README.md.

python -m experiments.live_levels.transfer multirun/live_levels

Each language model of letters27 under the folder reads the test splits of texts of the same alphabet, untrained on
them; and its own once more with its slowest level held at zero. Texts that are not there are left out.
"""

import csv
import json
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate

from multiscale.analysis.segmentation import BoundaryScores
from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs
from multiscale.data.module import DataModule
from multiscale.training.build import load
from multiscale.training.loaders import Loaders
from multiscale.training.module import SequenceModule
from multiscale.training.silence import silence

HERE = Path(__file__).parent
TEXTS = ("python_docs", "ptb", "tinyshakespeare")


def find_texts() -> dict[str, DataModule]:
    """The texts that are there, by name."""
    found = {}
    for name in TEXTS:
        data = instantiate(jobs([f"data={name}", "data.form=letters27"])[0].data)
        try:
            data.setup()
        except InvalidInput as reason:
            print(f"{name} is left out: {reason}")
            continue
        found[name] = data
    return found


def measure(module: SequenceModule, data: DataModule) -> dict[str, float]:
    """Bits per character of the test split, and of both levels the rate and F1 against spaces."""
    scores = BoundaryScores("spaces")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    with silence():
        trainer = pl.Trainer(accelerator="cpu", callbacks=[scores], **quiet)
        found = trainer.test(module, Loaders(data), verbose=False)[0]
    kept = ("test/bpc", "boundary_1", "boundary_2", "f1_1", "f1_2", "f1_entropy_1", "f1_surprisal_1", "f1_random_1")
    return {name.split("/")[-1]: value for name, value in found.items() if name.endswith(kept)}


@torch.no_grad()
def hold_top(module: SequenceModule) -> None:
    """Hold the slowest level's hidden state at zero: its output gate is shut."""
    layer = module.backbone.layers[-1]
    layer.bias[2 * layer.size : 3 * layer.size] = -1e4


def main(folders: list[str]) -> None:
    texts, rows = find_texts(), []
    for folder in folders:
        for path in sorted(Path(folder).rglob("summary.json")):
            summary = json.loads(path.read_text())
            module = load(path.parent / "checkpoints/best.ckpt")
            if tuple(module.facts.vocabulary) != tuple(texts["python_docs"].facts.vocabulary):
                continue
            arm = (summary["choices"]["experiment"] or "").split("/")[-1]
            for name, data in texts.items():
                rows.append({"arm": arm, "seed": summary["seed"], "text": name, **measure(module, data)})
            if arm != "lstm":
                hold_top(module)
                held = measure(module, texts["python_docs"])
                rows.append({"arm": arm, "seed": summary["seed"], "text": "python_docs, level 3 at zero", **held})
            print(rows[-1], flush=True)
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with (HERE / "transfer.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
