"""What is worth a word about labels before a model is trained on them: few, uneven, or misspelt ones."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from activetune.base.errors import some
from activetune.base.printing import counted
from activetune.base.tables import header_of
from activetune.data.labels import Labels
from activetune.data.near_names import near_names, nearest_spellings

IMBALANCE = 20  # labels of the largest class for one of the smallest, from which on it is worth a word
LIKE_MISSING = frozenset({"none", "null", "nan", "<na>", "na", "n/a", "#n/a", "-", "?", "-1"})  # in lower case


def describe_labels(labels: Labels, *, treated: bool = False) -> list[str]:
    """All that is worth a word before training; ``treated``: the recipe itself answers for uneven classes."""
    uneven = [] if treated else describe_imbalance(labels)
    return [*describe_unanswered(labels), *describe_spelling(labels), *describe_shortage(labels), *uneven]


def describe_predicted(given: object) -> list[str]:
    """A sentence where a file of answers is what ``predict`` wrote: a model's answers and how sure it was."""
    if not isinstance(given, str | os.PathLike) or "probability" not in header_of(Path(given)):
        return []
    return [f"{given} has a column probability, as predict writes it: these are a model's answers, not a person's"]


def describe_unanswered(labels: Labels) -> list[str]:
    """A sentence where some of the listed items wait for their answer."""
    if not labels.unanswered:
        return []
    listed = len(labels) + labels.unanswered
    return [f"{labels.unanswered:,} of {listed:,} listed items are not answered yet and are left out"]


def describe_imbalance(labels: Labels) -> list[str]:
    """A sentence where the largest class has ``IMBALANCE`` times the labels of the smallest that has any."""
    ordered = Counter(labels.names).most_common()
    (most, count), (least, few) = ordered[0], ordered[-1]
    if count < IMBALANCE * few:
        return []
    return [
        f"classes have from {counted(few, 'label')} ({least!r}) to {count:,} ({most!r}), and the model "
        "will lean towards the large ones; --set logit_adjustment=1 answers for evenly frequent classes"
    ]


def describe_shortage(labels: Labels) -> list[str]:
    """A sentence each on classes without a label and with a single one, if there are any."""
    counts = Counter(labels.names)
    told = (
        "no label ({}): in the model's outputs, but nothing teaches {them}",
        "a single label ({}): used for training, never for validation",
    )
    found = []
    for count, sentence in enumerate(told):
        names = [name for name in labels.classes if counts[name] == count]
        if names:
            verb, them = ("class has", "it") if len(names) == 1 else ("classes have", "them")
            found.append(f"{len(names)} {verb} {sentence.format(some(names), them=them)}")
    return found


def describe_spelling(labels: Labels) -> list[str]:
    """A sentence each on class names that are nearly equal, and on those that read like a missing answer."""
    counts = Counter(dict.fromkeys(labels.classes, 0))
    counts.update(labels.names)
    return describe_names(counts)


def describe_names(counts: Mapping[str, int]) -> list[str]:
    """:func:`describe_spelling` of class names and how many labels each has."""
    pairs = near_names(counts)
    found = []
    if pairs:
        shown = ", ".join(f"{a!r} ({counts[a]:,}) and {b!r} ({counts[b]:,})" for a, b in pairs[:3])
        more = f" and {len(pairs) - 3:,} more pairs" if len(pairs) > 3 else ""
        found.append(
            f"some of the {len(counts):,} class names differ by case, blanks or one letter only (labels of each): "
            f"{shown}{more}; where two mean the same, spell them alike"
        )
    blank = [name for name in counts if name.casefold() in LIKE_MISSING]
    if blank:
        found.append(
            f"{some(blank)} {'is a class' if len(blank) == 1 else 'are classes'} here "
            f"({sum(counts[name] for name in blank):,} labels); "
            "where they stand for a missing answer, leave the cell empty"
        )
    return found


def describe_foreign(names: Collection[str], classes: Collection[str]) -> str:
    """How class names that are unknown are spelt among the known ones: ``; spelt otherwise: 'Cat' is 'cat' there``."""
    meant = nearest_spellings(names, classes)
    shown = ", ".join(f"{name!r} is {known!r} there" for name, known in sorted(meant.items())[:3])
    return f"; spelt otherwise: {shown}" if meant else ""
