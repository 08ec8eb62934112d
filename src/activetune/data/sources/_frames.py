"""The frames of a video file by number: listing them without decoding, and decoding the one that is asked for.

Numbers count the frames from 0 in the order in which they are shown. A file is read through once to list them (packets
alone, nothing is decoded), which tells when each is shown and where decoding can start. To read a frame, decoding goes
on from where it is, or starts at the last key frame before it, whichever decodes less. Some files (``.avi`` with
reordered frames) do not tell when a frame is shown; there numbers count what comes out of the decoder, from the start.
Shape legend: F frames, H x W pixels.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import IntArray
from activetune.base.errors import MissingExtra, RejectedImage, UsageError, first_line
from activetune.data.frame_rate import FrameRate
from activetune.data.images import MAX_PIXELS

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg"
OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": CONTAINERS,
}  # a play list would open other files or the net
HIGH_DEFINITION = 720  # lines from which on players take colours of untold kind for those of BT.709
UNTOLD, BT_709 = 2, 1  # colour spaces by FFmpeg's numbers
STARTS = 2  # key frames before a frame that decoding is started from, before it is tried from the beginning

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FrameTable:
    """The frames of a video in the order in which they are shown.

    Attributes:
        ticks_F: (F,) when each is shown, ascending, in units of ``tick`` seconds.
        keys: numbers of the frames that decoding can start at, ascending; the first is 0.
        counted: the ticks do not tell which frame the decoder gives: it has to be counted from the beginning.
    """

    ticks_F: IntArray
    keys: IntArray
    tick: Fraction
    counted: bool

    def __len__(self) -> int:
        return len(self.ticks_F)

    def at(self, rate: FrameRate) -> IntArray:
        """The numbers of the frames on the screen at 0, 1/rate, 2/rate … seconds, each once, ascending."""
        if rate.per_second is None or not len(self):
            return np.arange(len(self))
        shown_F = self.ticks_F - self.ticks_F[0]
        step = 1 / (rate.per_second * self.tick)  # ticks from one of these times to the next
        times = np.arange(int(shown_F[-1] / step) + 1) * step.numerator // step.denominator
        return np.unique(np.searchsorted(shown_F, times, side="right") - 1)

    def number_of(self, tick: int | None) -> int | None:
        """The number of the frame that is shown from a tick on; None where none is."""
        number = len(self) if tick is None else int(np.searchsorted(self.ticks_F, tick))
        return number if number < len(self) and self.ticks_F[number] == tick else None


def pyav() -> Any:
    """The package ``av``.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingExtra("av", "video") from None
    return av


def list_frames(path: Path) -> FrameTable:
    """The frames of a video file, without decoding any; of a damaged file, those up to where it can't be read.

    Raises:
        UsageError: no video; the message is the reason, without the file's name. MissingExtra: PyAV is not installed.
    """
    av = pyav()
    shown, keys, timed = array("q"), array("b"), True
    try:
        with av.open(str(path.absolute()), options=OPTIONS) as container:
            stream = _video_of(container)
            try:
                for packet in container.demux(stream):
                    if packet.size and not packet.is_discard:
                        timed = timed and packet.pts is not None
                        shown.append(packet.pts if timed else len(shown))
                        keys.append(packet.is_keyframe)
            except av.FFmpegError:  # damaged from here on
                if not shown:
                    raise
            vague = container.format.name == "mpeg" or (
                container.format.name == "avi" and stream.codec_context.has_b_frames
            )
            tick = stream.time_base or Fraction(1, 25)
    except av.FFmpegError as error:
        raise UsageError(_reason(error)) from None
    if not shown:
        raise UsageError("its video has no frame")
    return _table(np.asarray(shown), np.asarray(keys, dtype=bool), tick, timed and not vague)


def _table(shown: IntArray, is_key: npt.NDArray[np.bool_], tick: Fraction, timed: bool) -> FrameTable:
    ticks_F = np.unique(shown)
    if not timed or len(ticks_F) < len(shown):
        return FrameTable(np.sort(shown), np.zeros(1, dtype=np.int64), tick, counted=True)
    return FrameTable(ticks_F, np.union1d([0], np.searchsorted(ticks_F, shown[is_key])), tick, counted=False)


def _video_of(container: Any) -> Any:
    """The video stream of an opened file; a cover picture is none."""
    found = [stream for stream in container.streams.video if not stream.disposition & stream.disposition.attached_pic]
    if not found:
        kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
        raise UsageError(f"no video in it, but {' and '.join(kinds)}")
    if found[0].codec_context is None:
        raise UsageError("its video is of a kind that the installed PyAV does not decode")
    return found[0]


def _reason(error: Exception) -> str:
    """What FFmpeg says, without the name of the file."""
    if isinstance(error, EOFError):
        return "it ends before its first frame"
    return str(getattr(error, "strerror", None) or first_line(error))


class FrameReader:
    """An open video file, which gives frames by number; fast where the numbers ascend.

    Raises:
        RejectedImage: the file is damaged. OSError: it can't be opened at present.
    """

    def __init__(self, path: Path, table: FrameTable):
        self._av = pyav()
        self._path, self._table = path, table
        self._container: Any = None
        self._stream: Any = None
        self._next = 0  # the lowest number that may still come
        self._ahead: tuple[int, Any] | None = None  # a frame that came in another one's place
        self._begin(0)

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()

    def read(self, number: int) -> Pixels:
        """The frame's pixels (H, W, 3), upright, RGB.

        Raises:
            RejectedImage: it is damaged, or too large. OSError: it can't be read at present.
        """
        for start in self._starts(number):
            if start is not None:
                self._begin(start)
            try:
                frame = self._forward(number)
            except self._av.FFmpegError as error:
                raise self._fault(error) from None
            if frame is not None:
                return upright(frame)
        raise RejectedImage(f"corrupt: frame {number:,} can't be decoded")

    def _starts(self, number: int) -> Iterator[int | None]:
        """Where to decode from, the best place first; None: from where it is."""
        keys = self._table.keys
        nearest = int(np.searchsorted(keys, number, side="right")) - 1
        if self._next <= number and not keys[nearest] > self._next:
            yield None
        yield from dict.fromkeys([*keys[max(0, nearest + 1 - STARTS) : nearest + 1][::-1].tolist(), 0])

    def _begin(self, key: int) -> None:
        """Go to a key frame; to the first one by opening the file again, as some can't be gone back in so far."""
        try:
            if key:
                self._container.seek(int(self._table.ticks_F[key]), stream=self._stream, backward=True)
            else:
                self.close()
                self._container = self._av.open(str(self._path.absolute()), options=OPTIONS)
                self._stream = _video_of(self._container)
                self._stream.codec_context.thread_count = 1  # images are decoded in a process per core
        except UsageError as error:
            raise RejectedImage(f"corrupt: {error}") from None
        except self._av.FFmpegError as error:
            raise self._fault(error) from None
        self._next, self._ahead, self._decoded = 0, None, self._decode(wait=key > 0)

    def _forward(self, number: int) -> Any:
        """The frame, decoding on; None where it does not come."""
        while True:
            coming = self._ahead or next(self._decoded, None)
            self._ahead = None
            if coming is None or coming[0] > number:
                self._ahead = coming
                return None
            self._next = coming[0] + 1
            if coming[0] == number:
                return coming[1]

    def _decode(self, *, wait: bool) -> Iterator[tuple[int, Any]]:
        """The frames that can be decoded from here on, with their numbers; ``wait`` for the first key frame."""
        count = 0
        for packet in self._container.demux(self._stream):
            try:
                frames = packet.decode()
            except self._av.error.EOFError:
                return
            except (self._av.error.InvalidDataError, self._av.error.UndefinedError):
                continue  # damaged; what follows may be good
            for frame in frames:
                number = count if self._table.counted else self._table.number_of(frame.pts)
                count += 1
                wait = wait and not frame.key_frame
                if number is not None and not wait and not frame.is_corrupt:
                    yield number, frame

    def _fault(self, error: Exception) -> Exception:
        """An error of the system as it is, to be tried again; one of the content as a rejection."""
        if isinstance(error, OSError) and not isinstance(error, EOFError):
            return error
        return RejectedImage(f"corrupt: {_reason(error)}")


def upright(frame: Any) -> Pixels:
    """A decoded frame as (H, W, 3) RGB, turned as its file says.

    Raises:
        RejectedImage: more pixels than an image may have.
    """
    if frame.width * frame.height > MAX_PIXELS:
        raise RejectedImage(f"oversized: {frame.width} x {frame.height} pixels, {MAX_PIXELS:,} are allowed")
    untold = frame.colorspace == UNTOLD and frame.height >= HIGH_DEFINITION
    pixels: Pixels = frame.to_ndarray(format="rgb24", **({"src_colorspace": BT_709} if untold else {}))
    turns = round(frame.rotation / 90) % 4
    return np.rot90(pixels, turns) if turns else pixels
