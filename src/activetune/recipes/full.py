"""Full finetuning: backbone and a fresh classifier, end to end.

The default is AdamW for few labels; ``--preset paper`` is ActiveFT's published recipe (SGD, 1,000 epochs), without its
two traps: its best epoch was chosen on the test split, and its sampler repeated images (docs/finetune.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from activetune.base.settings import flatten
from activetune.tasks import Crops
from activetune.training.job import Job, Outcome
from activetune.training.loop import train
from activetune.training.recipe import Recipe
from activetune.training.settings import HoldOut, Training

# Every setting of a training by name: the preset is the same whatever the defaults of a recipe that has it.
PAPER = flatten(
    Training(
        optimizer="sgd",
        lr=0.01,
        weight_decay=1e-4,
        momentum=0.9,
        batch_size=512,
        epochs=1000,
        warmup_epochs=5.0,
        label_smoothing=0.1,
        clip=2.0,
        drop_path=0.1,
        crops=Crops(min_crop=0.08),
    )
)


@dataclass(frozen=True)
class Full(Recipe):
    """Everything is trained from the first step; a classifier starts at zero, other heads at random."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": PAPER}

    training: Training = Training()
    validation: HoldOut = HoldOut()

    def run(self, job: Job) -> Outcome:
        """See :class:`Recipe`."""
        job.new_head()
        return train(job, self.training, phase="full")
