"""What VeCAF's loop asks of language: the captions of items, mapped beside their image embeddings.

Shape legend: K described items, D feature size, M size of a text embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.config import check_settings, off_default
from activetune.base.errors import UsageError
from activetune.base.progress import note
from activetune.base.settings import Settings, flatten
from activetune.features.distances import Float32, unit_rows
from activetune.features.text import cea
from activetune.features.text.alignment import FEWEST_PAIRS, Method, TextMap, fit_map
from activetune.features.text.captions import Captioner, make_captioner
from activetune.features.text.encoders import Pooling, TextEncoder, load_text_encoder
from activetune.training.job import Job

OOD = "It is a {domain} day!"


@dataclass(frozen=True)
class Language(Settings):
    """Captions and their part in selection and training.

    Attributes:
        captions: ``template``, a file with ``id`` and ``caption``, ``hf/MODEL``, or ``none``: no language at all.
        prompt: of the captioner; empty takes its own.
        text_encoder: see ``activetune.features.text.encoders``. text_pooling: of its tokens.
        text_map: from text to image embeddings: ``auto``, ``ridge``, ``procrustes``, ``none`` (one space).
        target_domain: phrases for conditions to come, such as ``snowy``: each becomes "It is a snowy day!" at the end
            of every caption; one that ends in ``.``, ``!`` or ``?`` is taken as the sentence itself.
        eta: mean step of CEA towards the captions, in [0, 1] (``text/cea.py``).
        lambda_bw: equation 10's share of the image embedding in the forward pass; 1 trains without captions.
        moves: whose image embeddings CEA moves before a selection: ``selected``, items of earlier loops, as in the
            paper, or ``described``, all that have a caption: the whole pool, but for captions of a model.
        place: what CEA moves in the network: the ``pooled`` feature before the classifier, or all ``tokens`` of the
            last layer by the same vector.
    """

    captions: str = "template"
    prompt: str = ""
    text_encoder: str = "minilm"
    text_pooling: Pooling = "auto"
    text_map: Method = "auto"
    target_domain: tuple[str, ...] = ()
    eta: float = 0.5
    lambda_bw: float = 0.998
    moves: Literal["selected", "described"] = "selected"
    place: Literal["pooled", "tokens"] = "pooled"

    def __post_init__(self) -> None:
        check_settings("vecaf", ("eta", self.eta, 0, 1), ("lambda_bw", self.lambda_bw, 0, 1))
        if self.captions == "none" and self.target_domain:
            raise UsageError(
                "vecaf: target_domain is added to captions, and captions=none; give captions, or leave it out"
            )

    @property
    def without_effect(self) -> list[str]:
        """Settings that are given and change nothing, as nothing is described."""
        return [] if self.described else off_default(self, (name for name in flatten(self) if name != "captions"))

    @property
    def described(self) -> bool:
        """Whether items are described at all."""
        return self.captions != "none"


@dataclass(frozen=True)
class Moved:
    """Described items: how far and to where CEA moves their image embeddings.

    Attributes:
        positions: (K,). steps: (K,) in [0, 1]. texts_KD: at the image embeddings' own scale.
    """

    positions: IntArray
    steps_K: Float32
    texts_KD: Float32


@dataclass
class Describer:
    """Captions of a job's items and their embeddings; each is asked for once a run."""

    job: Job
    options: Language
    captions: dict[int, str] = field(default_factory=dict)
    embedded: dict[str, Float32] = field(default_factory=dict)

    @property
    def everything(self) -> bool:
        """Whether captions cost nothing, so that the whole pool can have them."""
        return not self.options.captions.startswith("hf/")

    @cached_property
    def captioner(self) -> Captioner:
        """Loaded when the first caption is asked for."""
        prompt, device = self.options.prompt or None, self.job.runtime.device
        return make_captioner(self.options.captions, prompt=prompt, device=device, use_cache=self.job.use_cache)

    @cached_property
    def encoder(self) -> TextEncoder:
        """Loaded when the first text is asked for."""
        options = self.options
        return load_text_encoder(options.text_encoder, pooling=options.text_pooling, device=self.job.runtime.device)

    def open(self, positions: IntArray) -> None:
        """Find out early what is wrong: an unknown encoder, a missing package, a file without captions of these items.

        Captions that cost something are asked for when they are needed.
        """
        self.captioner.check()
        _ = self.encoder
        if self.everything:
            self.describe(positions)

    def describe(self, positions: IntArray) -> list[str]:
        """Captions, as the captioner gives them."""
        waiting = [int(position) for position in positions if int(position) not in self.captions]
        if waiting:
            names = [self.job.labels.names[position] for position in waiting]
            said = self.captioner.describe(self.job.pool, waiting, names, quiet=self.job.quiet)
            self.captions |= dict(zip(waiting, said, strict=True))
        return [self.captions[int(position)] for position in positions]

    def in_domain(self, positions: IntArray) -> list[str]:
        """Captions with the sentences of the target domain."""
        return [in_domain(caption, self.options.target_domain) for caption in self.describe(positions)]

    def fit(self, positions: IntArray, features_KD: Float32) -> TextMap | None:
        """A map from the captions of some items to their image embeddings; None where they are too few for one.

        The target domain's sentences are no part of it: these images are not of that domain.
        """
        if len(positions) < FEWEST_PAIRS and self.options.text_map != "none":
            note(f"{len(positions)} items are too few to map captions to images; going on without them", self.job.quiet)
            return None
        captions = self.describe(positions)
        return fit_map(features_KD, self._embed(captions), captions, method=self.options.text_map, seed=self.job.seed)

    def move(self, positions: IntArray, features_KD: Float32, text_map: TextMap) -> Moved:
        """CEA of some items, towards their captions in the target domain."""
        texts_KD = text_map(self._embed(self.in_domain(positions)))
        steps_K = cea.steps(cea.attention(features_KD, texts_KD), self.options.eta)
        length = float(np.linalg.norm(features_KD, axis=1).mean())
        return Moved(positions, steps_K, unit_rows(texts_KD) * length)

    def _embed(self, sentences: list[str]) -> Float32:
        """Text embeddings (K, M) of unit length; equal sentences are computed once."""
        waiting = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self.embedded]
        if waiting:
            rows = self.encoder.encode(waiting, quiet=self.job.quiet)
            self.embedded |= dict(zip(waiting, rows, strict=True))
        return np.stack([self.embedded[sentence] for sentence in sentences])


def in_domain(caption: str, phrases: tuple[str, ...]) -> str:
    """A caption with the sentences of the domain at its end."""
    added = [phrase if phrase.endswith((".", "!", "?")) else OOD.replace("{domain}", phrase) for phrase in phrases]
    return " ".join([caption, *added])


def told(text_map: TextMap) -> dict[str, Any]:
    """A map's entry for the manifest."""
    return {
        "name": text_map.name,
        "similarity": None if np.isnan(text_map.similarity) else round(text_map.similarity, 4),
        "tried": {name: round(value, 4) for name, value in text_map.tried.items()},
    }
