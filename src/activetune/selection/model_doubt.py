"""A finetuned model of any task as the evidence of a selection: its doubt of every item of the pool.

Shape legend: N items, C classes.
"""

from __future__ import annotations

import numpy as np

from activetune.base.errors import ActivetuneError, UsageError, some
from activetune.base.run import Run
from activetune.base.runtime import resolve_runtime
from activetune.data.identity import Contents
from activetune.data.pool import Pool
from activetune.evaluation.doubt import Doubt
from activetune.evaluation.model import Model, predictions
from activetune.features.artefact import Embeddings
from activetune.selection.images import pool_of
from activetune.selection.selectors import Selector, selectors

TOLD = frozenset({"probs_NC", "losses_N"})  # the fields of the evidence that a model tells
FREE = frozenset({"features_ND", "tokens_NTD"})  # those that are there without one


def reads_model(selector: type[Selector] | Selector) -> bool:
    """Whether a method reads what a finetuned model tells, and needs nothing else beyond features."""
    return bool((selector.needs | selector.uses) & TOLD) and selector.needs <= TOLD | FREE


def readers(*, in_order: bool = False) -> str:
    """The methods that do, for messages; ``in_order``: of these the ordered ones."""
    found = (name for name, cls in selectors().items() if reads_model(cls) and (cls.ordered or not in_order))
    return ", ".join(sorted(found))


def refuse_unread(selector: Selector, method: str, *, in_order: bool = False) -> None:
    """Refuse a model where a method does not read one, or needs more than a model of any task can tell.

    Args:
        in_order: whether the method must be an ordered one.

    Raises:
        UsageError: it does.
    """
    if not reads_model(selector):
        why = "learns from a classifier of the features" if selector.needs - FREE else "reads no model"
        raise UsageError(
            f"{method} {why}; leave --model out, or choose a method that selects by it: {readers(in_order=in_order)}"
        )


def _images(embeddings: Embeddings) -> Pool:
    try:
        return pool_of(embeddings)
    except UsageError as error:
        raise UsageError(f"{error}; give --pool, whose ids must be those of the features") from None


def doubt_of(model: Model, embeddings: Embeddings, run: Run, pool: Pool | None = None) -> Doubt:
    """The model's doubt of all N items, in the order of the embeddings.

    Args:
        run: where and in which precision the model runs. pool: where the images are; None: where the embeddings say.

    Raises:
        UsageError: the images are not there, or the model's task names no classes.
        ActivetuneError: an image that was embedded can't be decoded any more.
    """
    if not model.task.has_classes:
        raise UsageError(
            f"a model for {model.task.name} names no classes, and methods that select by a model read their "
            "probabilities; leave --model out, or give a model of another task"
        )
    images = _images(embeddings) if pool is None else pool
    if missing := [item for item in embeddings.ids if item not in images.position]:
        raise UsageError(
            f"{len(missing):,} of {len(embeddings):,} items are not in {images.name}: {some(missing)}; "
            "give the pool that was embedded"
        )
    known = embeddings.manifest.get("pool_fingerprint")
    if known and Contents(images).fingerprint != known:
        raise UsageError(
            f"{images.name} does not hold the images that were embedded, or not these alone; give that pool with "
            "--pool, or embed this one"
        )
    items = images.subset(embeddings.ids)
    settings = model.backbone.settings
    shares_NC = np.empty((len(items), len(model.classes)), dtype=np.float32)
    losses_N = np.empty(len(items), dtype=np.float32)
    runtime = resolve_runtime(run.device, run.precision)
    for batch in predictions(model, items, runtime=runtime, workers=run.workers, quiet=run.quiet):
        for position, reason in batch.rejected:
            raise ActivetuneError(f"{items.ids[position]} can't be decoded any more: {reason}; embed the pool again")
        rows = list(batch.positions)
        shares_NC[rows], losses_N[rows] = model.task.doubt(batch.outputs, batch.sizes, settings, model.classes)
    return Doubt(shares_NC, losses_N)
