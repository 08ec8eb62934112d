"""The corruptions of CIFAR-10-C (Hendrycks & Dietterich, ICLR 2019): ImageNet-C's kinds at strengths for 32 pixels.

The constants are those of the authors' ``make_cifar_c.py``; ImageNet-C's, which are made for 224 pixels, leave little
of an image of 32 (its fog of severity 3 is three times as dense). What is computed with them is written anew here,
with scipy. Deviations: motion blur is a Gaussian half-line of samples, where the authors call ImageMagick; frost is
shrunk with antialiasing; ``spatter`` is not there.
Shape legend: pixels (H, W, 3) float in [0, 1].
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.float64]
Random = np.random.Generator

CONSTANTS: Mapping[str, tuple[Any, Any, Any, Any, Any]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation
    "shot_noise": (500, 250, 100, 75, 50),  # photons of a white pixel
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # share of values
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),  # standard deviation relative to the value
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),  # sigma
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),  # sigma, pixels, turns
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),  # radius, sigma of the disk's edge
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),  # radius, sigma
    "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),  # the largest zoom, in steps of 0.01
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),  # density, decay of its structure
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),  # share of the image, of the frost
    "snow": (  # mean, spread, zoom, threshold of the flakes, radius and sigma of their motion, share of the image
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # of what it was
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added to the value of HSV
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),  # times, and added to, the saturation
    "jpeg_compression": (80, 65, 58, 50, 40),  # quality
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # share of the side
    "elastic_transform": (  # shift and its smoothness, and that of the corners, in sides of the image
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
}
SMALL_KINDS = tuple(CONSTANTS)
FROSTS = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")


def small_corrupted(image: npt.NDArray[np.uint8], kind: str, severity: int, rng: Random, frosts: Path) -> Any:
    """An image (H, W, 3) uint8 under one of :data:`SMALL_KINDS`.

    Args:
        severity: 1 to 5. frosts: the folder with the photos of frost.
    """
    constant = CONSTANTS[kind][severity - 1]
    pixels = image / 255.0
    found = _frost(pixels, constant, rng, frosts) if kind == "frost" else _WAYS[kind](pixels, constant, rng)
    return np.uint8(np.clip(found, 0, 1) * 255)


# Noise --------------------------------------------------------------------------------------------------------------


def _gaussian_noise(pixels: Pixels, spread: float, rng: Random) -> Pixels:
    return pixels + rng.normal(0, spread, pixels.shape)


def _shot_noise(pixels: Pixels, photons: float, rng: Random) -> Pixels:
    return np.asarray(rng.poisson(pixels * photons) / photons)


def _impulse_noise(pixels: Pixels, share: float, rng: Random) -> Pixels:
    struck, white = rng.random(pixels.shape) < share, rng.random(pixels.shape) < 0.5
    return np.where(struck, white, pixels)


def _speckle_noise(pixels: Pixels, spread: float, rng: Random) -> Pixels:
    return pixels + pixels * rng.normal(0, spread, pixels.shape)


# Blur ---------------------------------------------------------------------------------------------------------------


def _blurred(pixels: Pixels, sigma: float) -> Pixels:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(pixels, (sigma, sigma, 0), mode="nearest"))


def _gaussian_blur(pixels: Pixels, sigma: float, rng: Random) -> Pixels:
    return _blurred(pixels, sigma)


def _glass_blur(pixels: Pixels, constant: tuple[float, int, int], rng: Random) -> Pixels:
    """Each pixel takes the value of one nearby, above it or to its left.

    The authors write a swap of two pixels. On rows of a NumPy array, which are views, it copies one over the other.
    """
    sigma, farthest, turns = constant
    found = _blurred(pixels, sigma)
    rows, columns = np.indices(found.shape[:2])
    inside = np.minimum(rows, columns) > farthest
    for _ in range(turns):
        up, left = rng.integers(-farthest, farthest, (2, *rows.shape)) * inside
        found = found[rows + up, columns + left]
    return _blurred(found, sigma)


def _defocus_blur(pixels: Pixels, constant: tuple[float, float], rng: Random) -> Pixels:
    from scipy.ndimage import convolve, gaussian_filter

    radius, edge = constant
    down, right = np.mgrid[-8:9, -8:9]
    disk = (down**2 + right**2 <= radius**2).astype(np.float64)
    kernel = gaussian_filter(disk / disk.sum(), edge, radius=1)
    return np.asarray(convolve(pixels, kernel[..., None], mode="mirror"))


def _motion_blur(pixels: Pixels, constant: tuple[int, float], rng: Random) -> Pixels:
    return _moved(pixels, *constant, angle=rng.uniform(-45, 45))


def _moved(pixels: Pixels, radius: int, sigma: float, *, angle: float) -> Pixels:
    """A mean along a line that begins at each pixel, its weights one half of a Gaussian."""
    from scipy.ndimage import shift

    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    towards = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    found = np.zeros_like(pixels)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        by = [-round(step * part) for part in towards]
        found += weight * shift(pixels, (*by, 0), order=0, mode="nearest")
    return found


def _zoom_blur(pixels: Pixels, largest: float, rng: Random) -> Pixels:
    zooms = np.arange(1, largest, 0.01)
    return (pixels + sum(_zoomed(pixels, zoom) for zoom in zooms)) / (len(zooms) + 1)


def _zoomed(pixels: Pixels, times: float) -> Pixels:
    """The middle, enlarged to the size of the whole."""
    from scipy.ndimage import zoom

    height, width = pixels.shape[:2]
    kept = [int(np.ceil(side / times)) for side in (height, width)]
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    found = zoom(pixels[top : top + kept[0], left : left + kept[1]], (times, times, 1), order=1)
    top, left = (found.shape[0] - height) // 2, (found.shape[1] - width) // 2
    return np.asarray(found[top : top + height, left : left + width])


# Weather ------------------------------------------------------------------------------------------------------------


def _fog(pixels: Pixels, constant: tuple[float, float], rng: Random) -> Pixels:
    density, decay = constant
    height, width = pixels.shape[:2]
    brightest = pixels.max()
    clouds = _clouds(1 << (max(height, width) - 1).bit_length(), decay, rng)[:height, :width, None]
    return np.asarray((pixels + density * clouds) * brightest / (brightest + density))


def _clouds(side: int, decay: float, rng: Random) -> Pixels:
    """A plasma fractal in [0, 1] on a torus of ``side`` pixels, a power of two, by the diamond-square algorithm.

    Each halving of the grid fills in means of four neighbours and a random part, whose size falls by ``decay``.
    """
    found = np.zeros((side, side))
    step, size = side, 100.0
    while step >= 2:
        half = step // 2
        corners = found[::step, ::step]
        four = corners + np.roll(corners, -1, 0)
        found[half::step, half::step] = _between(four + np.roll(four, -1, 1), size, rng)
        middles = found[half::step, half::step]
        beside = corners + np.roll(corners, -1, 1) + middles + np.roll(middles, 1, 0)
        above = corners + np.roll(corners, -1, 0) + middles + np.roll(middles, 1, 1)
        found[::step, half::step] = _between(beside, size, rng)
        found[half::step, ::step] = _between(above, size, rng)
        step, size = half, size / decay
    found -= found.min()
    return np.asarray(found / max(float(found.max()), 1e-12))


def _between(four: Pixels, size: float, rng: Random) -> Pixels:
    return four / 4 + size * rng.uniform(-size, size, four.shape)


def _frost(pixels: Pixels, constant: tuple[float, float], rng: Random, folder: Path) -> Pixels:
    kept, added = constant
    photo = _shrunk(folder / FROSTS[rng.integers(len(FROSTS))])
    height, width = pixels.shape[:2]
    photo = np.pad(photo, ((0, max(0, height - len(photo))), (0, max(0, width - photo.shape[1])), (0, 0)), mode="wrap")
    top, left = (rng.integers(0, have - want + 1) for have, want in zip(photo.shape, (height, width), strict=False))
    return kept * pixels + added * photo[top : top + height, left : left + width]


@cache
def _shrunk(path: Path) -> Pixels:
    """A photo at a fifth of its sides."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize([round(side / 5) for side in image.size], Image.Resampling.BILINEAR)
    return np.asarray(small) / 255.0


def _snow(pixels: Pixels, constant: tuple[float, ...], rng: Random) -> Pixels:
    mean, spread, zoom, threshold, radius, sigma, kept = constant
    flakes = _zoomed(rng.normal(mean, spread, (*pixels.shape[:2], 1)), zoom)
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)
    flakes = _moved(flakes, int(radius), sigma, angle=rng.uniform(-135, -45))
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    whiter = kept * pixels + (1 - kept) * np.maximum(pixels, grey[..., None] * 1.5 + 0.5)
    return np.asarray(whiter + flakes + np.rot90(flakes, 2))


# Colour, coding and shape -------------------------------------------------------------------------------------------


def _contrast(pixels: Pixels, kept: float, rng: Random) -> Pixels:
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return np.asarray((pixels - mean) * kept + mean)


def _brightness(pixels: Pixels, added: float, rng: Random) -> Pixels:
    return _in_hsv(pixels, 2, 1.0, added)


def _saturate(pixels: Pixels, constant: tuple[float, float], rng: Random) -> Pixels:
    return _in_hsv(pixels, 1, *constant)


def _in_hsv(pixels: Pixels, channel: int, times: float, added: float) -> Pixels:
    """One channel of hue, saturation and value changed."""
    from skimage.color import hsv2rgb, rgb2hsv

    found = rgb2hsv(pixels)
    found[..., channel] = np.clip(found[..., channel] * times + added, 0, 1)
    return np.asarray(hsv2rgb(found))


def _jpeg_compression(pixels: Pixels, quality: int, rng: Random) -> Pixels:
    encoded = io.BytesIO()
    _as_image(pixels).save(encoded, "JPEG", quality=quality)
    return np.asarray(Image.open(encoded)) / 255.0


def _pixelate(pixels: Pixels, share: float, rng: Random) -> Pixels:
    image = _as_image(pixels)
    small = image.resize([max(1, int(side * share)) for side in image.size], Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.BOX)) / 255.0


def _as_image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.uint8(np.round(pixels * 255)))


def _elastic_transform(pixels: Pixels, constant: tuple[float, float, float], rng: Random) -> Pixels:
    """A random affine map by three points near the middle, then smooth random shifts of every pixel."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    side = min(pixels.shape[:2])
    size, smooth, corners = (side * part for part in constant)
    middle, reach = np.array(pixels.shape[:2]) // 2, side // 3
    points = middle + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = points + rng.uniform(-corners, corners, points.shape)
    back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), points)  # (3, 2): from a place to where it came from
    shifts = [gaussian_filter(rng.uniform(-1, 1, pixels.shape[:2]), smooth, mode="reflect", truncate=3) * size
              for _ in range(2)]  # fmt: skip
    places = np.stack([*(grid + by for grid, by in zip(np.indices(pixels.shape[:2]), shifts, strict=True)),
                       np.ones(pixels.shape[:2])], axis=-1) @ back  # fmt: skip
    channels = [
        map_coordinates(pixels[..., one], places.transpose(2, 0, 1), order=1, mode="mirror") for one in range(3)
    ]
    return np.stack(channels, axis=-1)


_WAYS: Mapping[str, Callable[[Pixels, Any, Random], Pixels]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "speckle_noise": _speckle_noise,
    "gaussian_blur": _gaussian_blur,
    "glass_blur": _glass_blur,
    "defocus_blur": _defocus_blur,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "fog": _fog,
    "snow": _snow,
    "contrast": _contrast,
    "brightness": _brightness,
    "saturate": _saturate,
    "jpeg_compression": _jpeg_compression,
    "pixelate": _pixelate,
    "elastic_transform": _elastic_transform,
}
