"""Lines of handwriting as pen strokes (IAM On-Line Handwriting Database, Liwicki and Bunke 2005)."""

import hashlib
from pathlib import Path
from xml.etree import ElementTree

import torch
from jaxtyping import Float
from torch import Tensor

from multiscale.checks import positive_int
from multiscale.data.batch import delay
from multiscale.data.facts import StrokeFacts
from multiscale.data.files import VARIABLE, DataError, data_folder
from multiscale.data.module import Samples, SequenceDataModule, count_sequences

LISTS = {"train": "trainset.txt", "val": "testset_v.txt", "test": "testset_f.txt"}
SITE = "https://fki.tic.heia-fr.ch/databases/iam-on-line-handwriting-database"


class IAMOnDB(SequenceDataModule):
    """Where does the pen go next? Lines of whiteboard writing of different lengths, in the parts of the official lists.

    A step is (dx, dy, 1 if the pen is lifted after it); offsets are divided by their common deviation over the training
    part, which the facts tell as ``scale``. The first step of a line is predicted from zeros.

    Files, which are given to whoever registers: ``iam_ondb/lineStrokes/**/<form>-<line>.xml``, and the lists of forms
    ``iam_ondb/{trainset,testset_v,testset_f}.txt`` for train, val and test. No checksum of them is published.

    Args:
        batch_size: B, lines over all devices together.
        max_steps: a longer line is cut there.
    """

    kind = "strokes"

    def __init__(self, batch_size: int, max_steps: int) -> None:
        super().__init__(batch_size)
        self.max_steps = positive_int("max_steps", max_steps)

    def load(self) -> tuple[StrokeFacts, dict[str, Samples]]:
        folder = data_folder() / "iam_ondb"
        lists = {split: _there(folder / name).read_text(encoding="utf-8") for split, name in LISTS.items()}
        forms = {split: set(names.split()) for split, names in lists.items()}
        parts: dict[str, list[Tensor]] = {split: [] for split in forms}
        digest = hashlib.sha256()
        for path in sorted(_there(folder / "lineStrokes").rglob("*.xml"), key=lambda path: path.name):
            for split in (split for split, names in forms.items() if path.stem.rpartition("-")[0] in names):
                line = read_strokes(path)[: self.max_steps]
                digest.update(line.numpy().tobytes())
                parts[split].append(line)
        for split, part in parts.items():
            if not part:
                raise DataError(f"{folder}/lineStrokes must have lines of the forms in {LISTS[split]}; it has none.")
        scale = float(torch.cat(parts["train"])[:, :2].std().clamp(min=1e-6))
        scaled = {split: [line / torch.tensor([scale, scale, 1.0]) for line in part] for split, part in parts.items()}
        facts = StrokeFacts(
            source="IAM-OnDB",
            sha256=digest.hexdigest(),
            sequences=count_sequences(parts),
            input_size=3,
            output_size=3,
            per_step=True,
            scale=scale,
        )
        return facts, {split: Samples([delay(line) for line in part], part) for split, part in scaled.items()}


def _there(path: Path) -> Path:
    if not path.exists():
        raise DataError(
            f"{path.relative_to(data_folder())} is missing; looked for {path}. Register at {SITE}, and put what you "
            f"are given there, or name another folder with the environment variable {VARIABLE}."
        )
    return path


def read_strokes(path: Path) -> Float[Tensor, "T 3"]:
    """Offsets from point to point of a line, 1 in the last column where the pen is lifted after the point.

    The first point is where the line begins and makes no step.

    Raises:
        DataError: if the file is not such XML or has fewer than two points.
    """
    try:
        points, lifted = [], []
        for stroke in ElementTree.parse(path).iter("Stroke"):
            drawn = [(float(point.attrib["x"]), float(point.attrib["y"])) for point in stroke.iter("Point")]
            points += drawn
            lifted += [0.0] * (len(drawn) - 1) + [1.0] * bool(drawn)
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise DataError(f"{path} must be XML with Stroke and Point x= y=; it is not: {error}") from error
    if len(points) < 2:
        raise DataError(f"{path} must have strokes of at least two points; it has {len(points)}.")
    places = torch.tensor(points)
    return torch.cat([places[1:] - places[:-1], torch.tensor(lifted)[1:, None]], 1)
