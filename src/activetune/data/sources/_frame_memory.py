"""Lists of frames of videos that have been read through before, in the user's cache: one file per video and state.

Listing reads a whole file; every command opens its pool again, and should not. A file here is named by the video's path
and state (device, inode, size, times), so that a changed video is listed anew. Whatever is wrong with the memory costs
time, not the result.
"""

from __future__ import annotations

import contextlib
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from activetune.base.errors import UsageError
from activetune.base.files import cache_folder
from activetune.base.fingerprint import digest
from activetune.base.numpy_files import load_array, write_array
from activetune.data.identity import SETTLED_NS
from activetune.data.sources._files import place_of
from activetune.data.sources._frames import FrameTable, list_frames

FORM = 1  # of the files here
HEAD = 5  # numbers before the lists: the form, the tick's two, whether frames are counted, how many keys


def known_frames(path: Path) -> FrameTable:
    """The frames of a video file, remembered or listed now.

    Raises:
        UsageError: no video; the message is the reason. MissingExtra: PyAV is not installed.
    """
    place = place_of(str(path.resolve()))
    if place is None or place.changed_ns > time.time_ns() - SETTLED_NS:  # it may change again within the same tick
        return list_frames(path)
    file = cache_folder("frames") / f"{digest(place.name, place.state)}.npy"
    found = _recalled(file) if file.is_file() else None
    if found is None:
        found = list_frames(path)
        with contextlib.suppress(OSError):
            write_array(file, _packed(found))
    return found


def _packed(table: FrameTable) -> np.ndarray:
    head = [FORM, table.tick.numerator, table.tick.denominator, int(table.counted), len(table.keys)]
    return np.concatenate([np.asarray(head, dtype=np.int64), table.keys, table.ticks_F])


def _recalled(file: Path) -> FrameTable | None:
    """What a file of the memory holds; None where it is damaged, or of another form."""
    with contextlib.suppress(UsageError, OSError):
        numbers = np.array(load_array(file))
        if numbers.ndim == 1 and numbers.dtype == np.int64 and len(numbers) > HEAD and numbers[0] == FORM:
            _, over, under, counted, count = numbers[:HEAD].tolist()
            keys, ticks_F = numbers[HEAD : HEAD + max(0, count)], numbers[HEAD + max(0, count) :]
            if under > 0 and over > 0 and len(keys) and len(ticks_F) and keys[0] == 0 and keys[-1] < len(ticks_F):
                return FrameTable(ticks_F, keys, Fraction(over, under), bool(counted))
    return None
