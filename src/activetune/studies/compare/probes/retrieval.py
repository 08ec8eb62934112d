"""Images by sentences and sentences by images.

A backbone with a text tower of its own (``open_clip/…``, which a training of the image tower leaves as it is) is asked
without any training. Any other one gets a ridge regression from its features to the captions' embeddings, fitted on
images that are not asked about: that measures what the features hold, not what the backbone knows of language.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from activetune.base.arrays import FloatArray
from activetune.base.config import check_settings
from activetune.base.errors import UsageError
from activetune.data.labels import Labels
from activetune.features.distances import unit_rows
from activetune.features.text.encoders import load_text_encoder
from activetune.studies.compare.probe import Probe, Row, rows_of
from activetune.studies.compare.sampled import Means
from activetune.studies.compare.side import OWN, Side, poolings
from activetune.studies.compare.tested import answered_digests, answered_sides
from activetune.tasks import make_task

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class Retrieval(Probe):
    """Images by sentences and sentences by images.

    Attributes:
        pool, labels: images and their captions. test: share of the images that is held out.
        text: the encoder of sentences, where the backbone has none (``docs/captions.md``). top: an answer counts when
            it is among the first so many.
    """

    pool: str = ""
    labels: str = ""
    test: str = "30%"
    text: str = "minilm"
    top: int = 5

    def __post_init__(self) -> None:
        check_settings("the probe retrieval", ("top", self.top, 1, np.inf))

    def shown(self, seed: int) -> list[str]:
        """See :class:`Probe`."""
        return answered_digests(make_task("captioning"), self.pool, self.labels, self.test)

    def rows(self, a: Side, b: Side, seed: int) -> list[Row]:
        """See :class:`Probe`."""
        kept, held = answered_sides(make_task("captioning"), self.pool, self.labels, self.test, seed=seed)
        if self.top >= len(held.labels):
            raise UsageError(
                f"top can't be {self.top}: {len(held.labels):,} images are held out, so any answer is among the first "
                f"{self.top}; give a smaller top, or more images"
            )
        (_, wanted), (said, _) = (self._sentences(side.labels) for side in (kept, held))

        def told(side: Side) -> dict[str, Means]:
            features, tested = side.of_pool(kept.pool), side.of_pool(held.pool)
            found: dict[str, Means] = {}
            if a.text and b.text:
                spoken = load_text_encoder(side.text).encode([answer.texts[0] for answer in held.labels.answers])
                found |= self._ranked("its own text tower", tested[OWN], spoken)
            for pooling in poolings(a, b):
                read = _ridge(features[pooling], wanted, tested[pooling], seed)
                found |= self._ranked(f"ridge to {self.text}, {pooling}", read, said)
            return found

        return rows_of(f"recall@{self.top}", told, a, b)

    def _sentences(self, labels: Labels) -> tuple[FloatArray, FloatArray]:
        """The first sentence of each image, and the mean of all, as embeddings of unit length."""
        said = [answer.texts for answer in labels.answers]
        embedded = load_text_encoder(self.text).encode([sentence for sentences in said for sentence in sentences])
        ends = np.cumsum([len(sentences) for sentences in said])
        parts = np.split(embedded, ends[:-1])
        return np.stack([part[0] for part in parts]), unit_rows(np.stack([part.mean(axis=0) for part in parts]))

    def _ranked(self, how: str, told: FloatArray, said: FloatArray) -> dict[str, Means]:
        """How likely the right one is among the first ``top``, for each sentence and for each image.

        That is 0 or 1 but for ties, which stand in any order: a network that gives all images alike finds them by
        chance.
        """
        likeness = unit_rows(told) @ said.T
        right = np.diagonal(likeness)
        found = {}
        for what, axis, own in (("images by a sentence", 0, right[None]), ("sentences by an image", 1, right[:, None])):
            ahead, level = (likeness > own).sum(axis=axis), (likeness == own).sum(axis=axis)
            found[f"{what}, {how}"] = Means(np.clip((self.top - ahead) / level, 0, 1))
        return found


def _ridge(features: FloatArray, wanted: FloatArray, tested: FloatArray, seed: int) -> FloatArray:
    """What a ridge regression tells of test images; a fifth of those that it learns from choose its penalty."""
    rows = np.random.default_rng([seed, 31]).permutation(len(features))
    out, kept = rows[: len(rows) // 5], rows[len(rows) // 5 :]
    chosen = PENALTIES[1]
    if len(out):
        losses = [
            float(((_fitted(features[kept], wanted[kept], one)(features[out]) - wanted[out]) ** 2).mean())
            for one in PENALTIES
        ]
        chosen = PENALTIES[int(np.argmin(losses))]
    return _fitted(features, wanted, chosen)(tested)


def _fitted(features: FloatArray, wanted: FloatArray, penalty: float) -> Callable[[FloatArray], FloatArray]:
    mean, middle = features.mean(axis=0), wanted.mean(axis=0)
    centred = (features - mean).astype(np.float64)
    scale = np.sqrt((centred**2).sum(axis=1).mean()) or 1.0
    centred /= scale
    gram = centred.T @ centred + penalty * np.eye(centred.shape[1]) * len(centred) / centred.shape[1]
    weight = np.linalg.solve(gram, centred.T @ (wanted - middle))

    def told(tested: FloatArray) -> FloatArray:
        found: FloatArray = (tested - mean) / scale @ weight + middle
        return found

    return told
