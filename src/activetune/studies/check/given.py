"""What a check is given of the pool and of the test pool: images, class names, features."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest_stream
from activetune.base.run import Run
from activetune.data.identity import Contents
from activetune.data.labels import Labels, labels_of
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.features.artefact import Embeddings, load_embeddings
from activetune.features.embedding import embed
from activetune.networks.backbones import Backbone
from activetune.studies.check.examined import Examined
from activetune.studies.check.measuring import Pass
from activetune.studies.check.picture import Measure


@dataclass(frozen=True)
class Given:
    """A pool with what is known of it.

    Attributes:
        labels: class names by id; empty without. embeddings: features that were given; or ``backbone`` makes them.
        use_cache: of digests and features.
    """

    pool: Pool
    labels: Mapping[str, str]
    embeddings: Embeddings | None
    backbone: Backbone | None
    use_cache: bool

    @classmethod
    def of(
        cls,
        pool: Pool | str | os.PathLike[str],
        labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None,
        embeddings: Embeddings | str | os.PathLike[str] | None,
        backbone: Backbone | None,
        *,
        use_cache: bool,
        quiet: bool,
    ) -> Given:
        """Open and read what is given.

        Raises:
            UsageError: it can't be opened, or the labels or features are of other items, or of patches.
        """
        opened = pool if isinstance(pool, Pool) else open_pool(pool, quiet=quiet)
        without = labels is None and not any(opened.labels or ())
        names = None if without else labels_of(labels, opened, quiet=quiet)
        features = (
            embeddings if embeddings is None or isinstance(embeddings, Embeddings) else load_embeddings(embeddings)
        )
        if features is not None:
            _refuse_foreign(features, opened)
        known = {} if names is None else dict(zip(names.ids, names.names, strict=True))
        return cls(opened, known, features, backbone, use_cache)

    @cached_property
    def contents(self) -> Contents:
        """The digests of the images."""
        return Contents(self.pool, remember=self.use_cache)

    @property
    def with_features(self) -> bool:
        """Whether there are features, or something that makes them."""
        return self.embeddings is not None or self.backbone is not None

    @property
    def _features_fingerprint(self) -> str | None:
        if self.embeddings is not None:
            return self.embeddings.fingerprint
        return None if self.backbone is None else self.backbone.features_fingerprint

    def record(self) -> dict[str, Any]:
        """What tells it from other pools, labels and features, without reading an image."""
        return {
            "outline": self.contents.outline,
            "labels": digest_stream(part for pair in self.labels.items() for part in pair),
            "features": self._features_fingerprint,
        }

    def examined(self, measures: Sequence[Measure], folder: Path, what: str, run: Run) -> Examined:
        """Read all images, and compute their features where these are asked for and not given."""
        found = Pass(self.pool, measures, self.contents, folder, what).run(run)
        features = self.embeddings
        if self.backbone is not None and features is None:
            features = embed(self.pool, backbone=self.backbone, use_cache=self.use_cache, **run.within())
        return replace(found, labels=self.labels, embeddings=features, quiet=run.quiet)


def _refuse_foreign(embeddings: Embeddings, pool: Pool) -> None:
    """Refuse features that are of no image of the pool, or of its patches."""
    if embeddings.features_ND.ndim != 2:
        raise UsageError("check compares one feature per image, and these embeddings are patch tokens (--tokens)")
    if not any(item in pool.position for item in embeddings.ids):
        raise UsageError(
            f"none of the embeddings is of an image of {pool.name} (for instance {embeddings.ids[0]!r} is not); embed "
            f"this pool: activetune embed {pool.name} --out EMB"
        )
