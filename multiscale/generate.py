"""Let a trained language model write: ``python -m multiscale.generate checkpoint=... prompt="..."``.

checkpoint=PATH      a checkpoint of a run on text
prompt=TEXT          what the model reads first
length=500           characters to write (bytes, for a model of bytes)
temperature=1.0      below 1 bolder in what is likely, above 1 more even; 0 always takes the likeliest
seed=0               of the draws
boundaries=false     mark with | where level 1 ended a segment, with || where level 2 did, and so on
threads=1            of PyTorch; more of them rather wait for each other over one character
trust=[]             packages of yours whose classes the checkpoint may name, as [mine.]
"""

import codecs
import sys

from multiscale.checks import InvalidInput, in_range, positive_int
from multiscale.cli import arguments, command


def main(words: list[str]) -> None:
    """Print what the model writes, symbol by symbol."""
    known = {"checkpoint": str, "prompt": str, "length": 500, "temperature": 1.0, "seed": 0}
    given = arguments(words, {**known, "boundaries": False, "threads": 1, "trust": ()})
    for name in ("length", "threads"):
        positive_int(name, given[name])
    in_range("temperature", given["temperature"], 0)
    in_range("seed", given["seed"], 0, 2**63 - 1)
    if not given["prompt"]:
        raise InvalidInput("prompt must be at least one character; got ''.")

    from multiscale.training.lean import import_lightning  # seconds, which no mistake above need wait for

    import_lightning()
    import torch

    from multiscale.training.language_model import check_boundaries, load_language_model, write

    torch.set_num_threads(given["threads"])
    module, facts = load_language_model(given["checkpoint"], given["trust"])
    prompt = facts.encode(given["prompt"], "prompt")
    if given["boundaries"]:
        check_boundaries(module, "boundaries must be false for a model without boundaries; got True.")
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    written = write(module, prompt, given["length"], given["temperature"], given["seed"], given["boundaries"])
    for symbol, level in written:
        shown = facts.vocabulary[symbol]
        shown = decode(shown.encode("latin-1")) if facts.bytewise else shown
        sys.stdout.write(shown + "|" * level)
        sys.stdout.flush()
    sys.stdout.write("\n")


if __name__ == "__main__":
    command(main, __doc__)
