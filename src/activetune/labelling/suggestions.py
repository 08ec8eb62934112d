"""What the page suggests: by a finetuned model, or by a linear probe on the answers so far, which is fitted anew.

Fits run in a thread of their own, on snapshots; nobody waits for them. A probe takes well under a second: of many
answers the last ones of each class are taken, as many as the number of features and classes allows.
Shape legend: N items, L labelled ones, D feature size, C classes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.errors import ActivetuneError
from activetune.base.progress import note
from activetune.features.distances import Float32, pieces
from activetune.labelling.features import Features, alike

MULTIPLICATIONS = 3 * 10**7  # L x D x C of a fit, about half a second on one core
FEWEST = 50  # labelled items that a fit takes all the same
STRENGTH, ITERATIONS = 100.0, 60
FEWEST_NEW = 3  # answers that are worth another fit; of many a fraction:
FRACTION = 0.04
LIKELY = 0.5  # from which probability a class is suggested where an image may have several


@dataclass(frozen=True)
class Suggested:
    """A state of the suggestions.

    Attributes:
        version: counts the states. classes: C names.
        named: for each of N items the positions of its classes; an empty tuple is "none of these", None no suggestion.
        probabilities: of the suggestion, in [0, 1]. by: what they come from, in words.
    """

    version: int = 0
    classes: Sequence[str] = ()
    named: Sequence[tuple[int, ...] | None] = ()
    probabilities: Sequence[float] = ()
    by: str = ""

    def of(self, row: int) -> tuple[str, ...] | None:
        """The class names that are suggested for an item; None without a suggestion."""
        found = self.named[row] if row < len(self.named) else None
        return None if found is None else tuple(self.classes[position] for position in found)


Show = Callable[[Suggested], None]


@dataclass(frozen=True)
class Known:
    """A snapshot of the answers: rows of N, their class names, the classes, and which rows are answered."""

    rows: Sequence[int]
    labels: Sequence[tuple[str, ...]]
    classes: Sequence[str]
    number: int


@dataclass
class Suggestions:
    """The suggestions for N items, kept up to date by a thread.

    Attributes:
        known: gives the answers at present. multilabel: an item may have several classes.
        find: looks for the features. probing: suggest by them. seed: of the order of clusters.
        model: suggests for all items, in place of a probe.
        current: the latest. order: rows in the order in which like images lie together; empty while that is not known.
    """

    known: Callable[[], Known]
    multilabel: bool = False
    find: Callable[[], Features | None] = lambda: None
    probing: bool = True
    seed: int = 0
    model: Callable[[Show], None] | None = None
    current: Suggested = field(default_factory=Suggested)
    order: Sequence[int] = ()
    _news: threading.Event = field(default_factory=threading.Event)
    _idle: threading.Event = field(default_factory=threading.Event)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _ended: bool = False
    _done: bool = False

    def start(self) -> None:
        """Begin to work."""
        threading.Thread(target=self._work, name="suggestions", daemon=True).start()

    def tell(self) -> None:
        """There are new answers."""
        with self._turn:
            if not self._done:
                self._idle.clear()
            self._news.set()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to suggest for the answers so far; returns whether that came."""
        return self._idle.wait(seconds)

    def end(self) -> None:
        """Stop at the next opportunity."""
        self._ended = True
        self._news.set()

    @property
    def ended(self) -> bool:
        """Whether the page is about to go."""
        return self._ended

    def show(self, suggested: Suggested) -> None:
        """Take the place of the suggestions before."""
        self.current = suggested

    def _work(self) -> None:
        try:
            features = self.find()
            if features is not None:
                self.order = alike(features.rows_ND, seed=self.seed)
            if self.model is not None:
                self.model(self.show)
            elif features is not None and self.probing:
                self._follow(features.rows_ND)
        except ActivetuneError as error:
            note(f"no suggestions: {error}")
        finally:
            with self._turn:
                self._done = True
                self._idle.set()

    def _follow(self, rows_ND: Float32) -> None:
        fitted: Known | None = None
        while not self._ended:
            self._news.clear()
            known = self.known()
            if _worth_it(known, fitted):
                fitted, version = known, self.current.version + 1
                suggested = suggested_by_labels(rows_ND, known, version, multilabel=self.multilabel)
                if suggested is not None:
                    self.show(suggested)
                continue
            with self._turn:
                if not self._news.is_set():
                    self._idle.set()
            self._news.wait()


def _worth_it(known: Known, fitted: Known | None) -> bool:
    """Whether the answers have changed enough for another fit."""
    if fitted is None or list(known.classes) != list(fitted.classes):
        return True
    new = known.number - fitted.number
    return new >= max(FEWEST_NEW, FRACTION * len(known.rows))


def suggested_by_labels(rows_ND: Float32, known: Known, version: int, *, multilabel: bool) -> Suggested | None:
    """Suggestions by a linear probe on the answers so far; None where these tell no two classes apart."""
    from activetune.networks.regression import fit_linear

    present = sorted({name for names in known.labels for name in names})
    if len(present) < (1 if multilabel else 2):
        return None
    rows, labels = _fewer(known, rows_ND.shape[1], len(present))
    position = {name: number for number, name in enumerate(present)}
    if multilabel:
        targets: IntArray = np.zeros((len(rows), len(present)), dtype=np.int64)
        for place, names in enumerate(labels):
            targets[place, [position[name] for name in names]] = 1
        if (targets.all(axis=0) | ~targets.any(axis=0)).all():
            return None
    else:
        targets = np.asarray([position[names[0]] for names in labels], dtype=np.int64)
        if len(np.unique(targets)) < 2:
            return None
    head = fit_linear(rows_ND[rows], targets, STRENGTH, classes=len(present), iterations=ITERATIONS)
    named: list[tuple[int, ...] | None] = []
    probabilities: list[float] = []
    for part in pieces(len(rows_ND), max(rows_ND.shape[1], len(present))):
        found, sure = read(head.logits(rows_ND[part]), multilabel=multilabel)
        named += found
        probabilities += sure
    return Suggested(version, present, named, probabilities, f"by a probe on {len(known.rows):,} answers")


def _fewer(known: Known, size: int, classes: int) -> tuple[list[int], list[tuple[str, ...]]]:
    """The answers that a fit takes: all, or the last ones of each class in turn."""
    most = max(FEWEST, 2 * classes, MULTIPLICATIONS // (size * classes))
    if len(known.rows) <= most:
        return list(known.rows), list(known.labels)
    waiting: dict[tuple[str, ...], list[int]] = {}
    for place, names in enumerate(known.labels):
        waiting.setdefault(names, []).append(place)
    taken: list[int] = []
    while len(taken) < most:
        for names in list(waiting):
            taken.append(waiting[names].pop())
            if not waiting[names]:
                del waiting[names]
    taken = sorted(taken[:most])
    return [known.rows[place] for place in taken], [known.labels[place] for place in taken]


def read(logits_NC: FloatArray, *, multilabel: bool) -> tuple[list[tuple[int, ...] | None], list[float]]:
    """What logits (N, C) suggest for each item, and with which probability."""
    if multilabel:
        shown_NC = 1 / (1 + np.exp(-np.clip(logits_NC, -50, 50)))
        return named_by(shown_NC, multilabel=True)
    shifted = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    return named_by(shifted / shifted.sum(axis=1, keepdims=True), multilabel=False)


def named_by(probs_NC: FloatArray, *, multilabel: bool) -> tuple[list[tuple[int, ...] | None], list[float]]:
    """What probabilities (N, C) suggest for each item, and how likely that is."""
    if not multilabel:
        best_N = probs_NC.argmax(axis=1)
        sure = probs_NC[np.arange(len(probs_NC)), best_N]
        return [(int(best),) for best in best_N], [round(float(value), 3) for value in sure]
    named: list[tuple[int, ...] | None] = [tuple(np.flatnonzero(row >= LIKELY).tolist()) for row in probs_NC]
    sure = np.maximum(probs_NC, 1 - probs_NC).min(axis=1)  # of its most doubtful class
    return named, [round(float(value), 3) for value in sure]


def by_classes(suggested: Suggested, mapping: Mapping[str, str | None]) -> Suggested:
    """The same with the classes under the names of today; suggestions of classes that are none are left out."""
    names = [mapping.get(name) for name in suggested.classes]
    kept = sorted({name for name in names if name is not None})
    place = {number: kept.index(name) for number, name in enumerate(names) if name is not None}
    named: list[tuple[int, ...] | None] = []
    for found in suggested.named:
        inside = None if found is None else tuple(sorted({place[number] for number in found if number in place}))
        named.append(None if inside is None or (found and not inside) else inside)
    return Suggested(suggested.version, kept, named, suggested.probabilities, suggested.by)
