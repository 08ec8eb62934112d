"""Whether an exported network says what the network says that it was made from: in numbers, and in scores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from activetune.base.errors import ActivetuneError
from activetune.base.run import Run
from activetune.data.labels import Labels
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.evaluation.evaluate import evaluate
from activetune.evaluation.metrics import told, told_value
from activetune.evaluation.model import Model
from activetune.handover.graph import Graph, Replayed
from activetune.handover.targets import Target
from activetune.tasks import Scored

BATCHES = (1, 3, 7)
TOLERANCE = 1e-3  # of the largest number that the network gives, or of 1: sums in another order differ by 1e-5
SAME = 0.005  # of a score: what differences in the last digits may move, where two classes are all but tied


@dataclass(frozen=True)
class Truth:
    """Labelled images to score by.

    Attributes:
        pool: of the images. labels: as :func:`activetune.evaluate` takes them.
    """

    pool: Pool
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None

    @classmethod
    def of(
        cls,
        pool: Pool | str | os.PathLike[str],
        labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None,
        *,
        quiet: bool,
    ) -> Truth:
        """That of a pool, which is opened."""
        return cls(pool if isinstance(pool, Pool) else open_pool(pool, quiet=quiet), labels)

    def score(self, model: Model, run: Run) -> Scored:
        """The scores of a model in full precision, on the processor."""
        where: Any = {**run.within(), "device": "cpu", "precision": "fp32"}
        return evaluate(model, self.pool, labels=self.labels, **where)


def differences(graph: Graph, target: Target, folder: Any, *, tolerance: float | None) -> dict[str, float]:
    """The largest difference of each batch's outputs, in parts of the largest number or of 1.

    Args:
        tolerance: above which the export is refused; None: as large as it likes.

    Raises:
        ActivetuneError: the exported network gives other numbers or shapes, or does not take a batch.
    """
    answer, found = target.open(folder), {}
    for batch in BATCHES:
        images = graph.example(batch)
        with torch.no_grad():
            wanted = graph(images)
        try:
            given = list(answer(images))
        except Exception as error:  # every runtime has its own
            raise ActivetuneError(
                f"the exported network does not take a batch of {batch} ({type(error).__name__}); nothing was written"
            ) from error
        found[str(batch)] = _largest(_difference(*pair) for pair in zip(given, wanted, strict=True))
    worst = _largest(found.values())
    if tolerance is not None and not worst <= tolerance:
        raise ActivetuneError(
            f"the exported network differs from PyTorch's by {worst:.2g} of its largest number, where {tolerance:.2g} "
            "is allowed; nothing was written: try another --to"
        )
    return found


def _largest(differences: Iterable[float]) -> float:
    """The largest; NaN, where one is, which ``max`` may pass over."""
    return float(np.max(list(differences)))


def _difference(given: Tensor, wanted: Tensor) -> float:
    if given.shape != wanted.shape:
        raise ActivetuneError(
            f"the exported network gives {tuple(given.shape)} numbers where PyTorch gives {tuple(wanted.shape)}; "
            "nothing was written: try another --to"
        )
    return float((given.float() - wanted).abs().max() / wanted.abs().max().clamp_min(1))


def compare(model: Model, graph: Graph, target: Target, folder: Any, truth: Truth, run: Run) -> tuple[Scored, Scored]:
    """The scores of the network and of the exported one."""
    return truth.score(model, run), truth.score(replace(model, network=Replayed(graph, target.open(folder))), run)


def refuse_loss(before: Scored, after: Scored, limit: float, *, int8: bool) -> None:
    """Refuse an exported network that scores less than the one that it was made from.

    Args:
        limit: what the primary score may lose, on its scale (of shares: 0.01 is a point).

    Raises:
        ActivetuneError: it loses more.
    """
    lost = before.value - after.value
    if lost <= limit:
        return
    values = " to ".join(told_value(before.primary, one.value) for one in (before, after))
    allowed = told_value(before.primary, limit)
    advice = "leave --int8 out, or allow more by --int8-limit" if int8 else "try another --to"
    raise ActivetuneError(
        f"{told(before.primary)} falls from {values} on {before.n:,} items{' as int8' if int8 else ''}, and a loss of "
        f"{allowed} is allowed; nothing was written: {advice}"
    )
