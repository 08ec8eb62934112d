"""The one pass over a pool's images: decoded by several processes, a row of measures each, resumable after any kill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from activetune.base.fingerprint import digest, digest_stream
from activetune.base.numpy_files import load_array
from activetune.base.progress import note, progress
from activetune.base.run import Run
from activetune.data.identity import Contents
from activetune.data.loading import image_loader
from activetune.data.pool import Pool, check_complete
from activetune.features.clock import Clock
from activetune.features.writer import FEATURES, FeatureWriter
from activetune.studies.check.examined import Examined
from activetune.studies.check.picture import Measure, Measuring

BATCH = 64
SAVE_EVERY_SECONDS = 2.0


@dataclass(frozen=True)
class Pass:
    """Reads all images of a pool once.

    Attributes:
        folder: for unfinished work. contents: of the pool. what: is shown beside the progress.
    """

    pool: Pool
    measures: Sequence[Measure]
    contents: Contents
    folder: Path
    what: str

    def run(self, run: Run) -> Examined:
        """Measure every image.

        Raises:
            UsageError: images that an unfinished run has measured have changed since.
            ReadingFault: an image can't be read at present; what is finished is kept.
        """
        measuring = Measuring(self.measures)
        self.folder.mkdir(parents=True, exist_ok=True)
        key = digest(repr(measuring.row_type), digest_stream(self.pool.ids))
        with FeatureWriter(self.folder, key, batch_size=BATCH, dtype="uint8", called="check") as writer:
            begun = writer.progress
            if begun.images:
                note(f"going on after {begun.images:,} of {len(self.pool):,} images", run.quiet)
                self.contents.read(begun.images, quiet=run.quiet)
            writer.check(self.contents.digests_N[: begun.images].tobytes())
            self._append_rest(writer, measuring, run)
            done = writer.progress
            check_complete(len(self.pool), done.rows, len(done.rejected), str(self.folder))
            writer.finish()
        self.contents.save()
        rejected = {item for item, _ in done.rejected}
        kept = [place for place, item in enumerate(self.pool.ids) if item not in rejected]
        read = load_array(self.folder / FEATURES, "start again with --overwrite instead of --resume")
        rows = np.zeros(len(kept), dtype=measuring.row_type)
        if read.size:  # there may be no image that can be used, or no measure asked for
            rows[:] = read.reshape(-1).view(measuring.row_type)
        return Examined(
            self.pool,
            [self.pool.ids[place] for place in kept],
            rows,
            self.contents.digests_N[kept],
            done.rejected,
        )

    def _append_rest(self, writer: FeatureWriter, measuring: Measuring, run: Run) -> None:
        """Measure the images that the writer has not dealt with yet."""
        begun = writer.progress
        clock = Clock(on_processor=True, save_every=SAVE_EVERY_SECONDS)
        loader = image_loader(
            self.pool,
            measuring,
            batch_size=begun.batch_size,
            workers=run.workers,
            first_batch=begun.batches,
            contents=self.contents,
        )
        with progress(len(self.pool), self.what, done=begun.images, quiet=run.quiet) as meter:
            for batch in loader:
                rejected = [(self.pool.ids[position], reason) for position, reason in batch.rejected]
                writer.append(batch.images.numpy() if len(batch.images) else None, rejected, batch.digests)
                meter.advance(len(batch.images) + len(batch.rejected))
                if clock.time_to_save():
                    writer.save()
