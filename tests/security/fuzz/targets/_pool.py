"""A small pool that answers are about, and whatever may be asked of a pool."""

from __future__ import annotations

import contextlib
import functools
import io
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from activetune.base.errors import ActivetuneError, RejectedImage
from activetune.data.annotations import TASKS, pool_annotations
from activetune.data.images import decode_image
from activetune.data.kinds import ArrayMask, Boxes, Mask, Names, Sentences
from activetune.data.labels import Labels, labels_of
from activetune.data.opening import open_pool
from activetune.data.pool import NO_PATIENCE, Pool

HEIGHT, WIDTH = 12, 18
IDS = ("cat/1.png", "dog/2.png", "dog/ü 3.jpg")
CLASSES = {"segmentation": ["background", "cat", "dog"]}
MOST = 20  # items that are read
ANSWERS: dict[str, Any] = {
    "classification": ["cat", "dog", "dog"],
    "multilabel": [Names.of(["cat", "dog"]), Names(), Names.of(["dog"])],
    "captioning": [Sentences(("a cat",)), Sentences(("a dog", "two, or so")), Sentences(("grass",))],
    "detection": [
        Boxes.of([[1, 2, 8, 9]], ["cat"]),
        Boxes.of([], []),
        Boxes.of([[0, 0, 18, 12], [2, 2, 4, 4]], ["dog", "cat"]),
    ],
    "segmentation": [ArrayMask(np.tile(np.arange(3).repeat(6), (HEIGHT, 1)).astype(np.int32))] * 3,
}


def picture(kind: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    """An encoded image of the pool's size."""
    file = io.BytesIO()
    pixels = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def write_pool(folder: Path) -> Path:
    """The images as files."""
    for item in IDS:
        path = folder / item
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture("JPEG" if item.endswith("jpg") else "PNG"))
    return folder


@functools.cache
def pool() -> Pool:
    """The pool, on disk until the process ends."""
    return open_pool(write_pool(Path(tempfile.mkdtemp(prefix="fuzz-")) / "pool"), quiet=True)


def labels(task: str) -> Labels:
    """Answers to its images."""
    return Labels(list(IDS), ANSWERS[task], CLASSES.get(task, ["cat", "dog"] if task != "captioning" else []))


def look_through(opened: Pool) -> None:
    """Ask a pool whatever the stages ask of it: bytes, pixels, sizes, labels, answers, further columns."""
    opened = replace(opened, patience=NO_PATIENCE)
    for index in range(min(len(opened), MOST)):
        with contextlib.suppress(ActivetuneError):
            decode_image(opened.read(index), about=16)
        with contextlib.suppress(ActivetuneError):
            opened.size(index)
        opened.place(index)
    with contextlib.suppress(ActivetuneError):
        labels_of(None, opened)
    for task in TASKS:
        with contextlib.suppress(ActivetuneError):
            use(pool_annotations(opened, task, quiet=True))
    if opened.further is not None:
        for name in list(opened.further.names())[:5]:
            with contextlib.suppress(ActivetuneError):
                opened.further.given(name)
                opened.further.values(name)
                opened.further.class_names(name)
                images = opened.further.images(name)
                if images is not None:
                    with contextlib.suppress(OSError):
                        images.read(0)


def use(found: Labels) -> None:
    """Use answers as a training does: masks are read when they are asked for."""
    for _, answer in list(_rows(found))[:MOST]:
        if isinstance(answer, Mask):
            with contextlib.suppress(RejectedImage, ActivetuneError):
                pixels = answer.pixels()
                assert pixels.ndim == 2
        if isinstance(answer, Boxes):
            assert np.isfinite(answer.xyxy_K4).all() and len(answer.names) == len(answer.xyxy_K4)


def _rows(found: Labels) -> Iterator[tuple[str, Any]]:
    return zip(found.ids, found.answers, strict=True)
