"""Tiny videos for tests, made by PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SIDE, STEP = 32, 8  # pixels; grey levels from one frame to the next
LOSSLESS = {"png": "rgb24", "ffv1": "bgr0"}


def av() -> Any:
    """PyAV, or the test is skipped."""
    return pytest.importorskip("av", reason="PyAV is not installed: pip install 'activetune[video]'")


def shade_of(number: int) -> int:
    """The grey of a frame."""
    return STEP * number


def plain(count: int) -> list[Image.Image]:
    """Frames of one grey each, the lighter the later."""
    return [Image.new("RGB", (SIDE, SIDE), (shade_of(number),) * 3) for number in range(count)]


def number_in(image: Image.Image) -> int:
    """Which of the plain frames an image is, also where the codec has changed its grey a little."""
    return round(float(np.median(np.asarray(image))) / STEP)


def write_video(
    path: Path,
    frames: Sequence[Image.Image],
    *,
    codec: str = "mpeg4",
    rate: int = 10,
    group: int = 5,
    times: Sequence[float] | None = None,
    turned: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video.

    Args:
        group: frames from one key frame to the next. times: seconds at which each is shown (default: at ``rate``).
        turned: degrees counter-clockwise by which players turn it.
    """
    pyav = av()
    path.parent.mkdir(parents=True, exist_ok=True)
    with pyav.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        try:
            stream = container.add_stream(codec, rate=rate, options=options or {})
        except ValueError as error:
            pytest.skip(f"the installed PyAV does not encode {codec}: {error}")
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = LOSSLESS.get(codec, "yuv420p")
        stream.gop_size = group
        stream.codec_context.time_base = Fraction(1, 1000) if times is not None else Fraction(1, rate)
        if turned:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("the installed PyAV writes no rotation")
            stream.set_display_rotation(turned)
        for number, image in enumerate(frames):
            frame = pyav.VideoFrame.from_image(image)
            frame.time_base = stream.codec_context.time_base
            frame.pts = number if times is None else round(1000 * times[number])
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
