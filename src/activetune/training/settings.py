"""The settings of a training run through the whole network, and of what it is validated on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.config import check_settings
from activetune.base.errors import UsageError
from activetune.base.printing import told_numbers
from activetune.base.settings import Settings
from activetune.data.splits import VALIDATION_LEAST, carve_validation
from activetune.networks.imbalance import Imbalance
from activetune.tasks import Crops


@dataclass(frozen=True)
class HoldOut(Settings):
    """How many of the labelled items are held out to choose by.

    Attributes:
        share: of each class, in [0, 0.9]; ``validation`` on the command line.
        least: where the share makes fewer items, nothing is held out and the last epoch is kept, as few labels are
            worth more in training; ``validation_least`` on the command line.
    """

    flat_names: ClassVar[Mapping[str, str]] = {"share": "validation", "least": "validation_least"}

    share: float = 0.2
    least: int = VALIDATION_LEAST

    def __post_init__(self) -> None:
        check_settings("training", ("validation", self.share, 0, 0.9), ("validation_least", self.least, 1, np.inf))

    def carve(self, strata: IntArray, seed: int) -> IntArray:
        """Positions of the items (their strata: (L,)) that are held out."""
        return carve_validation(strata, self.share, np.random.default_rng([seed, 1]), least=self.least)


@dataclass(frozen=True)
class Optimisation(Settings):
    """How the network is trained, whatever its course.

    Attributes:
        imbalance: what is done about classes of different size. crops: how images are varied.
        batch_size: images per step (batches of one epoch differ by one image at most). accumulation: parts in which a
            batch goes through the network one after the other. checkpointing: compute activations again in the
            backward pass instead of keeping them. Both need less memory and give the same gradients.
        optimizer: ``adamw`` or ``sgd`` (with ``momentum``). lr: peak learning rate.
        weight_decay: of all weights but norms and biases.
        label_smoothing: in [0, 1). clip: largest gradient norm, 0 is off.
        ema: decay of the weights' moving average, which is then the model; 0 is off.
        layer_decay: factor on the learning rate from each layer to the one below it; 1 is off.
        l2sp: pull of the backbone's weights towards their start, 0 is off (Li, Grandvalet & Davoine, ICML 2018);
            decoupled from the gradient as AdamW's decay is: a step takes off ``lr * l2sp`` of the way gone.
        interpolation: how far the final weights (of LoRA its two factors) lie on the straight line from where training
            began (0) to where it ended (1), which often is better than either end (Wortsman et al., "Robust
            fine-tuning of zero-shot models", CVPR 2022). Of several the validation part decides; without one it is the
            first.
        drop_path: rate of stochastic depth, in [0, 0.99].
    """

    batch_size: int = 32
    accumulation: int = 1
    checkpointing: bool = False
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-4
    weight_decay: float = 0.05
    momentum: float = 0.9
    label_smoothing: float = 0.1
    clip: float = 1.0
    ema: float = 0.0
    layer_decay: float = 1.0
    l2sp: float = 0.0
    interpolation: tuple[float, ...] = (1.0,)
    drop_path: float = 0.0
    imbalance: Imbalance = Imbalance()
    crops: Crops = Crops()

    def __post_init__(self) -> None:
        check_settings(
            "training",
            ("batch_size", self.batch_size, 1, np.inf),
            ("accumulation", self.accumulation, 1, self.batch_size),
            ("lr", self.lr, 0, np.inf),
            ("weight_decay", self.weight_decay, 0, np.inf),
            ("momentum", self.momentum, 0, 1),
            ("label_smoothing", self.label_smoothing, 0, 0.99),
            ("clip", self.clip, 0, np.inf),
            ("ema", self.ema, 0, 0.99999),
            ("layer_decay", self.layer_decay, 0.01, 1),
            ("l2sp", self.l2sp, 0, np.inf),
            ("drop_path", self.drop_path, 0, 0.99),
        )

        if not self.interpolation or min(self.interpolation) < 0 or max(self.interpolation) > 1:
            raise UsageError(
                f"training: interpolation can't be {told_numbers(self.interpolation)}; allowed: numbers from 0 to 1, "
                "at least one"
            )

    def construction(self) -> dict[str, Any]:
        """Options that the backbone is built with: stochastic depth is part of the network."""
        return {"drop_path_rate": self.drop_path} if self.drop_path else {}


@dataclass(frozen=True)
class Training(Optimisation):
    """An optimisation whose course is so many epochs.

    Attributes:
        epochs: passes over the training items, at most. patience: training stops after so many epochs without a lower
            validation loss; 0 trains all epochs, as does a training without a validation part.
        warmup_epochs: linear rise to ``lr``; a cosine falls to zero from there.
    """

    epochs: int = 15
    patience: int = 0
    warmup_epochs: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(
            "training",
            ("epochs", self.epochs, 1, np.inf),
            ("patience", self.patience, 0, np.inf),
            ("warmup_epochs", self.warmup_epochs, 0, np.inf),
        )
