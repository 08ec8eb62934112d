"""What every process of a simulation is sent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from activetune.base.run import Run
from activetune.data.pool import Pool
from activetune.studies.simulation.parts import Parts


@dataclass(frozen=True)
class Setup:
    """Everything that a process needs to run chains; it can be sent to another one.

    Attributes:
        folder: of the simulation, with the embeddings of pool and test set in it.
        parts: pool and test set of each seed. images: the pool's images without labels, for recipes that train.
        head: the kind of head that models get; empty: the one that the task prefers.
        workers: decoding processes. keep_models: whether the models of such recipes stay.
    """

    folder: Path
    parts: Parts
    images: Pool
    head: str
    backbone: str
    weights: str | None
    device: str
    precision: str
    workers: int
    use_cache: bool
    keep_models: bool

    @property
    def where(self) -> dict[str, Any]:
        """The options of a stage that runs a network."""
        return {"device": self.device, "precision": self.precision, "workers": self.workers}

    @classmethod
    def of(
        cls,
        parts: Parts,
        folder: Path,
        run: Run,
        backbone: str,
        weights: str | Path | None,
        head: str | None,
        *,
        use_cache: bool,
        keep_models: bool,
    ) -> Setup:
        """The setup of a run's processes."""
        images = replace(parts.whole, labels=None)
        file = None if weights is None else str(weights)
        where = run.device, run.precision, run.workers
        return cls(
            folder, parts, images, head or "", backbone, file, *where, use_cache=use_cache, keep_models=keep_models
        )
