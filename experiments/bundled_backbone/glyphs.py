"""Rendered characters: the second kind of image that the bundled backbone learns from.

A network that has seen only photographs separates handwriting poorly. Letters and digits are drawn from the fonts
that ship with matplotlib, digits also from pen strokes written down below (open and closed fours, sevens with and
without a bar, ...), then bent, thickened and reduced to a few pixels. No image of any handwriting data set is used.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from scipy.interpolate import splev, splprep

SIZE = 64
DIGITS = "0123456789"
LETTERS = "ACEFGHJKMNPRTUVWXYabdefhkmnrt"  # those that are not taken for a digit or for each other
CLASSES = DIGITS + LETTERS
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSansMono"),
    *("STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "cmr10", "cmss10", "cmtt10", "cmb10"),
)

# Pen strokes in a unit box, x to the right and y down; each digit has variants, each variant one or more strokes.
STROKES: dict[str, list[list[list[tuple[float, float]]]]] = {
    "0": [[[(0.5, 0), (0.1, 0.25), (0.1, 0.75), (0.5, 1), (0.9, 0.75), (0.9, 0.25), (0.5, 0)]]],
    "1": [
        [[(0.5, 0), (0.5, 0.35), (0.5, 0.7), (0.5, 1)]],
        [[(0.2, 0.3), (0.4, 0.15), (0.55, 0)], [(0.55, 0), (0.55, 0.5), (0.55, 1)]],
        [[(0.2, 0.3), (0.4, 0.15), (0.55, 0)], [(0.55, 0), (0.55, 0.5), (0.55, 1)], [(0.2, 1), (0.5, 1), (0.9, 1)]],
    ],
    "2": [
        [[(0.1, 0.25), (0.45, 0), (0.85, 0.2), (0.7, 0.55), (0.35, 0.8), (0.1, 1)], [(0.1, 1), (0.5, 1), (0.95, 1)]],
        [[(0.15, 0.2), (0.5, 0), (0.85, 0.25), (0.55, 0.65), (0.2, 0.95), (0.3, 0.8), (0.6, 0.95), (0.95, 0.95)]],
    ],
    "3": [
        [[(0.15, 0.1), (0.5, 0), (0.85, 0.22), (0.45, 0.47)], [(0.45, 0.47), (0.9, 0.7), (0.5, 1), (0.1, 0.9)]],
        [[(0.1, 0), (0.5, 0), (0.9, 0)], [(0.9, 0), (0.65, 0.25), (0.45, 0.42)],
         [(0.45, 0.42), (0.9, 0.7), (0.5, 1), (0.1, 0.9)]],
    ],
    "4": [
        [[(0.45, 0), (0.25, 0.35), (0.05, 0.65)], [(0.05, 0.65), (0.5, 0.65), (0.95, 0.65)],
         [(0.65, 0.3), (0.65, 0.65), (0.65, 1)]],
        [[(0.15, 0), (0.1, 0.3), (0.15, 0.5)], [(0.15, 0.5), (0.5, 0.5), (0.85, 0.5)],
         [(0.85, 0), (0.8, 0.5), (0.75, 1)]],
        [[(0.65, 0), (0.35, 0.3), (0.05, 0.65)], [(0.05, 0.65), (0.5, 0.65), (0.95, 0.65)],
         [(0.65, 0), (0.65, 0.5), (0.65, 1)]],
    ],
    "5": [
        [[(0.9, 0), (0.5, 0), (0.2, 0)], [(0.2, 0), (0.17, 0.2), (0.15, 0.42)],
         [(0.15, 0.42), (0.55, 0.35), (0.9, 0.65), (0.55, 1), (0.1, 0.92)]],
    ],
    "6": [
        [[(0.7, 0), (0.3, 0.3), (0.1, 0.7), (0.45, 1), (0.85, 0.8), (0.6, 0.52), (0.15, 0.7)]],
        [[(0.3, 0), (0.12, 0.4), (0.15, 0.8), (0.5, 1), (0.85, 0.8), (0.55, 0.55), (0.15, 0.75)]],
    ],
    "7": [
        [[(0.1, 0), (0.5, 0), (0.9, 0)], [(0.9, 0), (0.6, 0.5), (0.4, 1)]],
        [[(0.1, 0), (0.5, 0), (0.9, 0)], [(0.9, 0), (0.6, 0.5), (0.4, 1)], [(0.25, 0.5), (0.55, 0.5), (0.9, 0.5)]],
        [[(0.1, 0.15), (0.1, 0.05), (0.5, 0.02), (0.9, 0)], [(0.9, 0), (0.6, 0.5), (0.45, 1)]],
    ],
    "8": [
        [[(0.8, 0.1), (0.45, 0), (0.15, 0.2), (0.5, 0.48), (0.85, 0.75), (0.5, 1), (0.15, 0.75), (0.5, 0.48),
          (0.85, 0.2), (0.7, 0.05)]],
        [[(0.5, 0), (0.2, 0.2), (0.5, 0.45), (0.8, 0.2), (0.5, 0)],
         [(0.5, 0.45), (0.12, 0.75), (0.5, 1), (0.88, 0.75), (0.5, 0.45)]],
    ],
    "9": [
        [[(0.85, 0.2), (0.5, 0), (0.12, 0.25), (0.45, 0.5), (0.85, 0.25)], [(0.85, 0.2), (0.8, 0.6), (0.7, 1)]],
        [[(0.85, 0.2), (0.5, 0), (0.12, 0.25), (0.45, 0.5), (0.85, 0.25)],
         [(0.85, 0.2), (0.85, 0.65), (0.55, 1), (0.15, 0.92)]],
    ],
}  # fmt: skip


def _fit(glyph: Image.Image) -> np.ndarray:
    """Crop to the ink and scale its height to the canvas with a margin of 6 pixels, as a (SIZE, SIZE) uint8 array."""
    ink = glyph.crop(glyph.getbbox())
    inner = SIZE - 12
    scale = min(inner / ink.height, inner / ink.width)
    ink = ink.resize((max(4, round(ink.width * scale)), max(4, round(ink.height * scale))), Image.Resampling.BICUBIC)
    canvas = Image.new("L", (SIZE, SIZE))
    canvas.paste(ink, ((SIZE - ink.width) // 2, (SIZE - ink.height) // 2))
    return np.asarray(canvas)


def _from_font(font: Path, character: str, stroke: int) -> np.ndarray:
    canvas = Image.new("L", (160, 160))
    face = ImageFont.truetype(str(font), 90)
    ImageDraw.Draw(canvas).text((30, 20), character, fill=255, font=face, stroke_width=stroke)
    return _fit(canvas)


def _from_strokes(strokes: list[list[tuple[float, float]]], rng: np.random.Generator) -> np.ndarray:
    """Draw one digit with jittered control points, slant and pen width."""
    canvas = Image.new("L", (200, 200))
    draw = ImageDraw.Draw(canvas)
    pen = int(rng.integers(8, 22))
    width, slant = rng.uniform(0.45, 0.95), rng.normal(0, 0.15)
    for stroke in strokes:
        points = np.asarray(stroke) + rng.normal(0, 0.045, (len(stroke), 2))
        knots, _ = splprep(points.T, k=min(3, len(points) - 1), s=0)
        x, y = splev(np.linspace(0, 1, 40), knots)
        x = 100 + 110 * ((np.asarray(x) - 0.5) * width + (0.5 - np.asarray(y)) * slant)
        y = 45 + 110 * np.asarray(y)
        draw.line(list(zip(x, y, strict=True)), fill=255, width=pen, joint="curve")
        for end in (0, -1):
            draw.ellipse([x[end] - pen / 2, y[end] - pen / 2, x[end] + pen / 2, y[end] + pen / 2], fill=255)
    return _fit(canvas)


def render(strokes_a_digit: int = 1_500, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return clean glyphs (N, 1, 64, 64) uint8, white on black, and their class indices (N,)."""
    rng = np.random.default_rng(seed)
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    glyphs, labels = [], []
    for label, character in enumerate(CLASSES):
        for font in FONTS:
            for stroke in (0, 2, 5):
                glyphs.append(_from_font(folder / f"{font}.ttf", character, stroke))
                labels.append(label)
        for _ in range(strokes_a_digit if character in STROKES else 0):
            variants = STROKES[character]
            glyphs.append(_from_strokes(variants[rng.integers(len(variants))], rng))
            labels.append(label)
    return torch.from_numpy(np.stack(glyphs))[:, None], torch.tensor(labels)


def distort(glyphs: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """Bend, move, coarsen and tint clean glyphs: uint8 (B, 1, 64, 64) to float (B, 3, size, size) in [0, 1]."""
    batch = len(glyphs)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(batch, generator=generator) * (high - low) + low

    angle, shear = uniform(-0.22, 0.22), uniform(-0.25, 0.25)
    scale_x, scale_y = uniform(0.85, 1.5), uniform(0.82, 1.15)
    matrix = torch.zeros(batch, 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = scale_x * angle.cos(), -angle.sin() + shear
    matrix[:, 1, 0], matrix[:, 1, 1] = angle.sin(), scale_y * angle.cos()
    matrix[:, 0, 2], matrix[:, 1, 2] = uniform(-0.12, 0.12), uniform(-0.08, 0.08)
    grid = F.affine_grid(matrix, [batch, 1, 32, 32], align_corners=False)
    bend = torch.randn(batch, 2, 4, 4, generator=generator) * 0.07
    grid = grid + F.interpolate(bend, 32, mode="bicubic", align_corners=False).permute(0, 2, 3, 1)
    ink = F.grid_sample(glyphs.float() / 255, grid, align_corners=False)
    ink = (ink > uniform(0.3, 0.7)[:, None, None, None]).float()

    coarse = torch.empty(batch, 1, size, size)
    resolution = torch.randint(0, 4, (batch,), generator=generator)
    for index, pixels in enumerate((8, 8, 16, 32)):
        chosen = resolution == index
        small = F.avg_pool2d(ink[chosen], 32 // pixels)
        coarse[chosen] = F.interpolate(small, size, mode="bicubic", align_corners=False).clamp(0, 1)
    gain = uniform(0.7, 1.0)[:, None, None, None]
    pictures = (coarse * gain).expand(-1, 3, -1, -1).clone()
    tinted = torch.rand(batch, generator=generator) < 0.3
    paper = torch.rand(int(tinted.sum()), 3, 1, 1, generator=generator)
    pen = torch.rand(int(tinted.sum()), 3, 1, 1, generator=generator)
    pictures[tinted] = paper + (pen - paper) * pictures[tinted]
    return pictures
