"""BitFit: from the probe's head, only the biases and the classifier are trained.

Ben Zaken, Ravfogel & Goldberg, "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
Language-models", ACL 2022. Memory and time are those of full finetuning without most of the weights' gradients; what
is learned is a tenth of a percent of the network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from activetune.recipes._from_probe import FromProbe
from activetune.training.job import Job
from activetune.training.settings import Training


@dataclass(frozen=True)
class BitFit(FromProbe):
    """Biases and classifier are trained."""

    phase: ClassVar[str] = "bitfit"

    training: Training = Training(lr=1e-3)

    @contextlib.contextmanager
    def prepared(self, job: Job) -> Iterator[dict[str, bytes]]:
        """See :class:`FromProbe`."""
        for name, value in job.backbone.named_parameters():
            value.requires_grad_(name.endswith("bias"))
        yield {}
        job.network.requires_grad_(True)
