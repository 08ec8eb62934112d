"""What a source finds at a path, and what it leaves out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from activetune.data.frame_rate import FrameRate
from activetune.data.pool import FurtherColumns, ImageSource

KINDS_TOLD = 4  # suffixes of other files that a note names

HIDDEN = "hidden entries"
SYSTEM = "folders that a system made (@eaDir, __MACOSX)"
SPECIAL = "pipes, sockets and devices"
DANGLING = "links that lead nowhere"
LINK_OUT = "linked folders that lead out of the pool (--follow-links takes them)"
LINK_AGAIN = "linked folders whose images are listed where they lie"
LINK = "links inside the archive (pack it with tar --hard-dereference --dereference)"
OUTSIDE = "names that lead out of the archive"
OTHER = "files that are no images"
NAMES_NOTHING = "rows of metadata that name no image of the pool"
NO_IMAGES = "Parquet files without images"
CUT_OFF = "files that are cut off"
NO_VIDEO = "videos that can't be read"
ONE = {  # how a single one of them is told
    HIDDEN: "hidden entry",
    SYSTEM: "folder that a system made (@eaDir, __MACOSX)",
    SPECIAL: "pipe, socket or device",
    DANGLING: "link that leads nowhere",
    LINK_OUT: "linked folder that leads out of the pool (--follow-links takes it)",
    LINK_AGAIN: "linked folder whose images are listed where they lie",
    LINK: "link inside the archive (pack it with tar --hard-dereference --dereference)",
    OUTSIDE: "name that leads out of the archive",
    OTHER: "file that is no image",
    NAMES_NOTHING: "row of metadata that names no image of the pool",
    NO_IMAGES: "Parquet file without images",
    CUT_OFF: "file that is cut off",
    NO_VIDEO: "video that can't be read",
}


@dataclass(frozen=True)
class OpenOptions:
    """How a pool is listed.

    Attributes:
        follow_links: also into linked folders that lead out of the pool.
        frame_rate: which frames of videos are items; None: nothing was said.
        quiet: no sentences while a long listing goes on.
    """

    follow_links: bool = False
    frame_rate: FrameRate | None = None
    quiet: bool = False


@dataclass
class LeftOut:
    """What lies in a pool and does not count: how many entries by reason, and files by their suffix."""

    reasons: Counter[str] = field(default_factory=Counter)
    suffixes: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str, count: int = 1) -> None:
        """Count entries that are left out."""
        self.reasons[reason] += count

    def add_file(self, suffix: str) -> None:
        """Count a file that is no image."""
        self.suffixes[suffix or "no suffix"] += 1

    def counts(self) -> dict[str, int]:
        """How many by reason."""
        files = sum(self.suffixes.values())
        return {**({OTHER: files} if files else {}), **{name: count for name, count in self.reasons.items() if count}}

    def __str__(self) -> str:
        """``12 files that are no images (.txt 10, .csv 2), 1 hidden entry``, or nothing."""
        told = []
        for reason, count in self.counts().items():
            kinds, name = "", ONE.get(reason, reason) if count == 1 else reason
            if reason == OTHER:
                shown = [f"{suffix} {files:,}" for suffix, files in self.suffixes.most_common(KINDS_TOLD)]
                more = len(self.suffixes) - len(shown)
                others = f" and {more} more kind{'' if more == 1 else 's'}" if more > 0 else ""
                kinds = f" ({', '.join(shown)}{others})"
            told.append(f"{count:,} {name}{kinds}")
        return ", ".join(told)


@dataclass(frozen=True)
class Listing:
    """Images by id, as a source lists them.

    Attributes:
        ids: N item ids; none where a source opens this kind of path, and the path holds no image.
        labels: N class names, None where unknown; or None when there are no labels at all.
        source: reads an item's bytes.
        left_out: what else lies there.
        notes: sentences that the user should read.
        further: what is known of the items beside image and label. rated: a frame rate was heeded, if there is one.
        several: a sentence where an image has several class names, and none has a label for that.
    """

    ids: Sequence[str]
    labels: Sequence[str | None] | None
    source: ImageSource
    left_out: LeftOut = field(default_factory=LeftOut)
    notes: Sequence[str] = ()
    further: FurtherColumns | None = None
    rated: bool = False
    several: str = ""
