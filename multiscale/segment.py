"""Cut a text where a trained model ends its segments: ``python -m multiscale.segment checkpoint=... text="..."``.

checkpoint=PATH      a checkpoint of a run on text, of a backbone with boundaries
text=TEXT            the text, or
file=PATH            a file of UTF-8 text; - reads standard input
unknown=refuse       characters that the model does not know; skip leaves them out, and one that it knows, as unknown=_,
                     stands in their place
format=text          or json, with the position of each segment's last character
separator=|          between segments, in format=text
threads=1            of PyTorch
trust=[]             packages of yours whose classes the checkpoint may name, as [mine.]
"""

import json
import sys

from multiscale.checks import InvalidInput, expand, one_of, positive_int
from multiscale.cli import arguments, command
from multiscale.data.facts import TextFacts, name_some


def given_text(text: str, file: str) -> str:
    """The text that is meant by exactly one of the two; raises :class:`InvalidInput` for none, both, or a bad file."""
    if bool(text) == bool(file):
        raise InvalidInput("exactly one of text and file must be given, and not be empty.")
    from multiscale.data.text import read_text, utf8  # with torch

    if file == "-":
        return utf8(sys.stdin.buffer.read(), "file '-'")
    return text or read_text(expand(file), "file")


def make_known(facts: TextFacts, text: str, way: str) -> str:
    """``text`` with what the model does not know left out or replaced, as ``way`` says, which is told in a line.

    Raises:
        InvalidInput: for another ``way``, where it is to refuse and there is such a character, or where none is left.
    """
    unknown = facts.unknown(text)
    if way not in ("refuse", "skip") and (len(way) != 1 or facts.unknown(way)):
        raise InvalidInput(f"unknown must be refuse, skip, or one character that the model knows; got {way!r}.")
    if not unknown:
        return text
    if way == "refuse":
        try:
            facts.encode(text)
        except InvalidInput as error:
            raise InvalidInput(f"{error} With unknown=skip such characters are left out.") from error
    known = text.translate({ord(character): "" if way == "skip" else way for character in unknown})
    if not known:
        raise InvalidInput("text must have a character that the model knows; it has none.")
    count, done = sum(text.count(character) for character in unknown), "left out" if way == "skip" else "replaced"
    print(f"{count} characters unknown to the model are {done}: {name_some(unknown)}", file=sys.stderr)
    return known


def main(words: list[str]) -> None:
    """Print the text as each level cuts it."""
    known = {"checkpoint": str, "text": "", "file": "", "unknown": "refuse", "format": "text", "separator": "|"}
    given = arguments(words, {**known, "threads": 1, "trust": ()})
    one_of("format", given["format"], ("text", "json"))
    positive_int("threads", given["threads"])
    text = given_text(given["text"], given["file"])

    from multiscale.training.lean import import_lightning  # seconds, which no mistake above need wait for

    import_lightning()
    import torch

    from multiscale.training.language_model import check_boundaries, load_language_model, segment

    torch.set_num_threads(given["threads"])
    module, facts = load_language_model(given["checkpoint"], given["trust"])
    check_boundaries(module, "checkpoint must be that of a backbone with boundaries, such as hmlstm; it has none.")
    text = make_known(facts, text, given["unknown"])
    levels = segment(module, facts, text)
    if given["format"] == "json":
        print(json.dumps({"text": text, "levels": [level._asdict() for level in levels]}, ensure_ascii=False, indent=2))
        return
    for level in levels:
        print(f"{level.name}:")
        print(given["separator"].join(level.segments))


if __name__ == "__main__":
    command(main, __doc__)
