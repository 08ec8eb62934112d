"""Video files, frame by frame: ``clip.mp4``, or a folder of such files, also in sub-folders.

A frame's id is the video's path and the frame's number, ``clip.mp4#000123`` (six digits or more), counted from 0 in the
order in which frames are shown: at a constant rate number ``n`` is shown at ``n / rate`` seconds. One frame per second
is taken unless the pool's name says otherwise (``clip.mp4@2fps``, ``clip.mp4@all``): the one on the screen at 0, 1, 2 …
seconds. Labels are the names of the folders that the videos lie in, as for images. A folder that has images of its own
is a folder of images, and one with Parquet shards a data set; the videos there do not count.

Listing reads the packets of each file once (``_frame_memory.py`` remembers them) and decodes none. Frames come as PPM,
which costs less than decoding; the digest of a frame is that of its file and number, and so does not depend on how the
installed FFmpeg turns colours into RGB.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.errors import ReadingFault, UsageError
from activetune.base.fingerprint import digest_file
from activetune.data.formats import suffix_of
from activetune.data.frame_rate import DEFAULT
from activetune.data.identity import Place, content_digest
from activetune.data.remote.location import Location
from activetune.data.sources import _listing as reasons
from activetune.data.sources._files import folder_labels, place_of
from activetune.data.sources._frame_memory import known_frames
from activetune.data.sources._frames import FrameReader, FrameTable, Pixels, pyav
from activetune.data.sources._listing import LeftOut, Listing, OpenOptions
from activetune.data.sources._walk import walk

ABOUT = (
    "video file (.mp4, .mkv, .webm, .avi …), or a folder of them; POOL@2fps says how many frames, POOL@all takes each"
)
SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".3gp", ".ogv"),
)
FOLDERS = True
ELSEWHERE = False
OPEN_FILES = 4
TOLD = 3  # damaged videos that are named


@dataclass(frozen=True)
class Video:
    """A video file as it was when it was listed."""

    path: Path
    size: int
    changed_ns: int
    frames: FrameTable


@dataclass
class VideoSource:
    """Frames of video files. Shape legend: N items.

    Attributes:
        videos: the files. video_N, number_N: of each item, which of them it is from, and the number of its frame.
    """

    videos: Sequence[Video]
    video_N: IntArray
    number_N: IntArray
    parallel: bool = False
    _readers: OrderedDict[int, FrameReader] = field(default_factory=OrderedDict, repr=False, compare=False)
    _process: int = field(default_factory=os.getpid, repr=False, compare=False)
    _digests: dict[int, str] = field(default_factory=dict, repr=False, compare=False)

    def read(self, index: int) -> bytes:
        """The frame as a PPM image."""
        number = int(self.video_N[index])
        self._refuse_changed(self.videos[number])
        try:
            pixels = self._reader(number).read(int(self.number_N[index]))
        except OSError:
            self._readers.pop(number, None)  # so that the next attempt opens the file again
            raise
        return as_ppm(pixels)

    def place(self, index: int) -> Place | None:
        """The file, and the frame in it."""
        return place_of(self._resolved[self.video_N[index]], str(self.number_N[index]))

    def digest(self, index: int) -> bytes:
        """The digest of the file's bytes and of the frame's number; a file is read once for all its frames."""
        number = int(self.video_N[index])
        if number not in self._digests:
            self._digests[number] = digest_file(self.videos[number].path)
        return content_digest(f"{self._digests[number]}#{self.number_N[index]}".encode())

    @cached_property
    def _resolved(self) -> list[str]:
        return [os.path.realpath(video.path) for video in self.videos]

    def _reader(self, number: int) -> FrameReader:
        """Open files are no other process's: where they are read is shared with a forked one."""
        if self._process != os.getpid():
            self._readers, self._process = OrderedDict(), os.getpid()
        if number not in self._readers:
            while len(self._readers) >= OPEN_FILES:
                self._readers.popitem(last=False)[1].close()
            self._readers[number] = FrameReader(self.videos[number].path, self.videos[number].frames)
        self._readers.move_to_end(number)
        return self._readers[number]

    def _refuse_changed(self, video: Video) -> None:
        """Refuse a file that is another one than was listed: the frames would have other numbers.

        Raises:
            ReadingFault: it has grown or was replaced. OSError: it is not there at present.
        """
        status = os.stat(video.path)
        if (status.st_size, status.st_mtime_ns) != (video.size, video.changed_ns):
            raise ReadingFault(
                f"{video.path} has changed since the pool was opened (it had {video.size:,} bytes and has "
                f"{status.st_size:,} now); if it is still being recorded, start again when it is complete"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": OrderedDict()}


def as_ppm(pixels: Pixels) -> bytes:
    """An image file of these pixels (H, W, 3): a line of text and the pixels as they are."""
    header = f"P6 {pixels.shape[1]} {pixels.shape[0]} 255\n".encode()
    return b"".join((header, np.ascontiguousarray(pixels).data))


def find(path: Location, options: OpenOptions) -> Listing | None:
    """The frames of a video file, or of those below a folder; ids are the paths with the numbers of the frames.

    Raises:
        MissingExtra: PyAV is not installed. UsageError: a single file without a video that can be read.
    """
    assert isinstance(path, Path)  # see ELSEWHERE
    if not path.is_dir():
        return _listing(path.parent, [path.name], options, LeftOut(), only=True)
    found = walk(path, follow_links=options.follow_links)
    names = sorted(name for name in found.others if suffix_of(name) in SUFFIXES)
    for name in set(found.others) - set(names):
        found.left_out.add_file(suffix_of(name))
    return _listing(path, names, options, found.left_out) if names else None


def _listing(
    root: Path, names: Sequence[str], options: OpenOptions, left_out: LeftOut, *, only: bool = False
) -> Listing:
    pyav()  # one sentence where it is missing, not one per video
    rate = options.frame_rate or DEFAULT
    videos: list[Video] = []
    numbers: list[IntArray] = []
    ids: list[str] = []
    notes: list[str] = []
    for name in names:
        try:
            video = _listed(root / name)
        except UsageError as error:
            if only:
                raise UsageError(f"the video {root / name} can't be read: {error}") from None
            notes.append(f"{name} is left out: {error}")
            continue
        chosen = video.frames.at(rate)
        videos.append(video)
        numbers.append(chosen)
        ids += [frame_id(name, number) for number in chosen.tolist()]
    left_out.add(reasons.NO_VIDEO, len(notes))
    notes = [*notes[:TOLD], *([f"{len(notes) - TOLD:,} more videos can't be read"] if len(notes) > TOLD else [])]
    if options.frame_rate is None and videos:
        notes.append(
            f"{len(ids):,} of {sum(len(video.frames) for video in videos):,} frames are taken, one per second; "
            f"{root / names[0] if only else root}@2fps takes two, …@all every one"
        )
    folders = folder_labels([item.rpartition("#")[0] for item in ids])
    counts = [len(part) for part in numbers]
    source = VideoSource(
        videos, np.repeat(np.arange(len(videos)), counts), np.concatenate([*numbers, np.empty(0, dtype=np.int64)])
    )
    return Listing(ids, folders, source, left_out, notes, rated=True)


def _listed(path: Path) -> Video:
    try:
        status = path.stat()
        if not path.is_file():
            raise UsageError("no regular file")
        return Video(path, status.st_size, status.st_mtime_ns, known_frames(path))
    except OSError as error:
        raise UsageError(error.strerror or str(error)) from None


def frame_id(name: str, number: int) -> str:
    """The id of a frame.

    >>> frame_id("clip.mp4", 123)
    'clip.mp4#000123'
    """
    return f"{name}#{number:06d}"
