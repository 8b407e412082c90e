"""How configurations are called: by what differs among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNSAID = {"model", "data", "task", "experiment"}  # groups that a name need not tell
MISSING = object()


@dataclass(frozen=True)
class Identity:
    """A configuration to be named: its model, the chosen files of its groups, its values by dotted keys."""

    model: str
    choices: Mapping[str, str]
    leaves: Mapping[str, Any]

    def choice(self, key: str) -> str | None:
        """What was chosen for the group of a dotted key."""
        group = key.split(".")[0]
        return self.choices.get(group, self.model if group == "model" else None)


def find_differences(identities: Sequence[Identity]) -> list[dict[str, str]]:
    """For each of several configurations, by key, what of it differs from any other, as ``hidden_size 64``.

    Values are compared among those that made the same choice for the value's group; of the groups themselves all but
    model, data and task are compared.
    """
    groups = sorted({group for identity in identities for group in identity.choices} - UNSAID)
    varied = [group for group in groups if len({one.choices.get(group) for one in identities} - {None}) > 1]
    texts = []
    for identity in identities:
        own = {group: f"{group} {identity.choices[group]}" for group in varied if group in identity.choices}
        for key, value in identity.leaves.items():
            rivals = [other for other in identities if other.choice(key) == identity.choice(key)]
            if any(other.leaves.get(key, MISSING) != value for other in rivals):
                own[key] = f"{_shorten(key, identity.leaves)} {_format(value)}"
        texts.append(dict(sorted(own.items(), key=lambda item: not item[0].startswith("model."))))
    return texts


def make_labels(identities: Sequence[Identity]) -> list[str]:
    """A short name for each of several configurations: the model, then what tells it from others of the same model.

    Whatever else differs among the set is counted, as in ``hmlstm, hidden_size 64 (+2)``: nothing is hidden.
    """
    texts = find_differences(identities)
    needed: dict[str, set[str]] = {}  # keys, by model
    for identity, own in zip(identities, texts, strict=True):
        rivals = [theirs for other, theirs in zip(identities, texts, strict=True) if other.model == identity.model]
        for key, text in own.items():
            alike = [theirs for theirs in rivals if theirs.get(key) == text]
            if len(alike) < len(rivals):
                needed.setdefault(identity.model, set()).add(key)
            rivals = alike
    names = []
    for identity, own in zip(identities, texts, strict=True):
        shown = [text for key, text in own.items() if key in needed.get(identity.model, ())]
        rest = len(own) - len(shown)
        names.append(", ".join([identity.model, *shown]) + (f" (+{rest})" if rest else ""))
    return names


def _shorten(key: str, keys: Mapping[str, Any]) -> str:
    """The end of a dotted key that is enough to tell it from the others."""
    parts = key.split(".")
    ends = (".".join(parts[-length:]) for length in range(1, len(parts) + 1))
    return next((end for end in ends if sum(f".{other}".endswith(f".{end}") for other in keys) == 1), key)


def _format(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
