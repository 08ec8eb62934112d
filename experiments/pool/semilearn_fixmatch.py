"""FixMatch of ``semilearn`` on features, in an environment of its own (``peers.py`` says which).

python semilearn_fixmatch.py GIVEN.npz ANSWERS.npy

GIVEN holds the pool's features, its labels (-1: unknown), and the features to be answered; ANSWERS their labels.
The algorithm, its losses, its threshold and its moving average are semilearn's, and so are all its settings but the
number of steps: 2,000 of 64 labelled and 448 other items, for a linear head on standardised features. Where FixMatch
asks for a weakly and a strongly changed image, a tenth and a half of an item's features are dropped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import torch
from semilearn.algorithms.fixmatch.fixmatch import FixMatch
from torch.nn import functional

STEPS, LABELLED, RATIO = 2000, 64, 7
WEAK, STRONG = 0.1, 0.5  # of the features that are dropped
SETTINGS = {
    **{"ema_m": 0.999, "ulb_loss_ratio": 1.0, "T": 0.5, "p_cutoff": 0.95, "hard_label": True, "use_cat": True},
    **{"optim": "SGD", "lr": 0.03, "momentum": 0.9, "weight_decay": 5e-4, "layer_decay": 1.0},
    **{"epoch": 1, "num_train_iter": STEPS, "num_eval_iter": STEPS, "num_log_iter": STEPS, "num_warmup_iter": 0},
    **{"amp": False, "clip_grad": 0.0, "save_name": "", "save_dir": "", "resume": False, "algorithm": "fixmatch"},
    **{"gpu": None, "rank": 0, "distributed": False, "world_size": 1, "use_pretrain": False, "pretrain_path": ""},
    **{"use_wandb": False, "use_aim": False},
}


class Linear(torch.nn.Module):
    """A linear head with the outputs that semilearn expects."""

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.head = torch.nn.Linear(features, classes)

    def forward(self, features):
        return {"logits": self.head(features), "feat": features}


class OnFeatures(FixMatch):
    """FixMatch on tensors in memory and on the processor, with the hooks that train and none that write."""

    def __init__(self, labelled, labels, pool, classes: int):
        self.given = labelled, labels, pool
        arguments = SimpleNamespace(num_classes=classes, **SETTINGS)
        super().__init__(arguments, lambda num_classes, **_: Linear(pool.shape[1], num_classes))

    def set_dataset(self):
        return {}

    def set_data_loader(self):
        labelled, labels, pool = self.given
        return {"train_lb": self._labelled(labelled, labels), "train_ulb": self._others(pool)}

    def _labelled(self, features, labels) -> Iterator[dict]:
        while True:
            rows = torch.randint(len(features), (LABELLED,))
            yield {"x_lb": functional.dropout(features[rows], WEAK), "y_lb": labels[rows]}

    def _others(self, features) -> Iterator[dict]:
        while True:
            drawn = features[torch.randint(len(features), (LABELLED * RATIO,))]
            yield {"x_ulb_w": functional.dropout(drawn, WEAK), "x_ulb_s": functional.dropout(drawn, STRONG)}

    def process_batch(self, input_args=None, **tensors):
        return tensors

    def register_hook(self, hook, *how):
        if type(hook).__module__ not in WRITING:
            super().register_hook(hook, *how)


WRITING = {f"semilearn.core.hooks.{name}" for name in ("checkpoint", "evaluation", "logging", "sampler_seed", "timer")}


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with np.load(sys.argv[1]) as given:
        pool, labels, asked = given["pool"], given["labels"], given["asked"]
    mean, spread = pool.mean(axis=0), pool.std(axis=0) + 1e-6
    pool, asked = (torch.from_numpy((side - mean) / spread) for side in (pool, asked))
    known = np.flatnonzero(labels >= 0)
    names, targets = np.unique(labels[known], return_inverse=True)
    trained = OnFeatures(pool[known], torch.from_numpy(targets), pool, len(names))
    trained.train()
    trained.ema.apply_shadow()
    with torch.no_grad():
        answers = trained.model.eval()(asked)["logits"].argmax(dim=1)
    np.save(sys.argv[2], names[answers.numpy()])


if __name__ == "__main__":
    main()
