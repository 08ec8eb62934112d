"""LoRA: from the probe's head, low-rank additions to some linear layers and the classifier are trained, then merged.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022. Queries and values are adapted by default,
as there; ``networks/adapters.py`` says how.

The model that is saved is merged: a plain network, no slower than before. Beside it lie ``adapter_model.safetensors``
and ``adapter_config.json``, which ``peft.PeftModel.from_pretrained`` puts on the pretrained timm network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from activetune.networks.adapters import LowRank, adapter_files, inject, merge
from activetune.networks.heads import CLASSES
from activetune.networks.network import Network
from activetune.recipes._from_probe import FromProbe
from activetune.training.batches import derive
from activetune.training.job import Job
from activetune.training.settings import Training


@dataclass(frozen=True)
class Lora(FromProbe):
    """Low-rank additions to linear layers.

    Attributes:
        additions: to which layers, and of what rank.
    """

    phase: ClassVar[str] = "lora"

    training: Training = Training(lr=1e-3)
    additions: LowRank = LowRank()

    @contextlib.contextmanager
    def prepared(self, job: Job) -> Iterator[dict[str, bytes]]:
        """See :class:`FromProbe`; ends with the merged network and the adapter's files."""
        network = job.backbone.network
        files: dict[str, bytes] = {}
        inject(network, self.additions, seed=derive(job.seed, 0, -1))
        yield files
        files |= adapter_files(network, self.additions, _classifier(job.network))
        merge(network)
        network.requires_grad_(True)


def _classifier(trained: Network) -> tuple[str, dict[str, Any]] | None:
    """Where the network's library keeps its classifier, and the tensors of that; None: it keeps none."""
    place = trained.backbone.classifier_name
    if place is None or trained.head().room != CLASSES:
        return None
    return place, trained.classifier().state_dict()
