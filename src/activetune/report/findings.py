"""The page of a check: what was found, with the pictures, the clearest findings of each kind first."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from PIL import Image

from activetune.base.artefact import MANIFEST
from activetune.base.errors import ActivetuneError, RejectedImage
from activetune.base.files import read_json
from activetune.data.images import decode_image
from activetune.data.opening import open_pool
from activetune.data.pool import NO_PATIENCE, Pool
from activetune.report.page import Card, Page

FINDINGS, REPORT = "findings.csv", "report.html"
SHOWN = 24  # findings of a kind
SIDE, GAP = 160, 6  # pixels of a picture's long side; between two that are compared
SMALL = 64  # pixels per side below which an image is enlarged with its pixels sharp
QUALITY = 60  # of JPEG
OF_TEST = "in_test"  # the kind whose other item lies in the test pool


def write_check_report(folder: Path) -> Path:
    """Write ``report.html`` into a folder of ``check``; pictures come from the pools, where these can be reached."""
    manifest = read_json(folder / MANIFEST)
    figures, names = manifest["figures"], manifest["names"]
    rows: Sequence[Mapping[str, Any]] = figures["rows"]
    findings = _read(folder / FINDINGS)
    total = sum(row["findings"] for row in rows)
    page = Page(
        f"{total:,} findings in {figures['images']:,} images",
        f"{names['pool']['pool']}, checked by activetune check; exclude.csv lists {figures['excluded']:,} images",
    )
    pools = {"": _opened(names["pool"], page), OF_TEST: _opened(names["test"], page) if names["test"] else None}
    page.table(("", "findings", "of images", "excluded"), map(_cells, rows))
    for row in rows:
        if row["skipped"]:
            page.paragraph(f"{row['title']}: {row['skipped']}.")
    for row in rows:
        if row["kind"] == OF_TEST and row["findings"]:
            page.warning(row["remark"])
    for row in rows:
        found = findings.get(row["kind"], [])
        if not found and not row["remark"]:
            continue
        page.heading(f"{row['title']}: {len(found):,}")
        page.paragraph(row["about"])
        if row["remark"] and row["kind"] != OF_TEST:
            page.paragraph(f"{row['remark'][0].upper()}{row['remark'][1:]}.")
        if len(found) > SHOWN:
            page.paragraph(f"The first {SHOWN} of {len(found):,}; all are in {FINDINGS}.")
        other = pools[OF_TEST] if row["kind"] == OF_TEST else pools[""]
        page.cards(_cards(found[:SHOWN], pools[""], other))
    page.heading("Next")
    page.paragraph(
        f"Select without what is excluded: activetune select EMB --exclude {quote(str(folder / 'exclude.csv'))} "
        "--budget 100 --out SEL. To keep an image, take its row out of exclude.csv; --drop says what goes there."
    )
    return page.write(folder / REPORT)


def _read(path: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of ``findings.csv`` by kind."""
    found: dict[str, list[dict[str, str]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["kind"], []).append(row)
    return found


def _opened(place: Mapping[str, Any], page: Page) -> Pool | None:
    try:
        pool = open_pool(place["pool_path"] or place["pool"], quiet=True)
    except (ActivetuneError, OSError) as error:
        page.paragraph(f"The images can't be shown: {error}.")
        return None
    return replace(pool, patience=NO_PATIENCE)  # a picture that is not at hand now is left out


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["skipped"]:
        return row["title"], "-", "-", "-"
    return row["title"], f"{row['findings']:,}", f"{100 * row['share']:.2f} %", f"{row['excluded']:,}"


def _cards(findings: Sequence[Mapping[str, str]], pool: Pool | None, others: Pool | None) -> Iterator[Card]:
    for finding in findings:
        images = [_image(pool, finding["id"])]
        if finding["other"]:
            images.append(_image(others, finding["other"]))
        shown = [image for image in images if image is not None]
        yield Card(_beside(shown) if shown else "", finding["id"], [finding["why"]])


def _image(pool: Pool | None, item: str) -> Image.Image | None:
    """An item, small; None where it can't be shown."""
    if pool is None or item not in pool.position:
        return None
    try:
        image = decode_image(pool.read(pool.position[item]), about=SIDE)
    except (RejectedImage, ActivetuneError, OSError):
        return None
    if max(image.size) <= SMALL:
        times = SIDE // max(image.size)
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    image.thumbnail((SIDE, SIDE))
    return image


def _beside(images: Sequence[Image.Image]) -> str:
    """One or two pictures side by side, as a data URI."""
    size = sum(image.width for image in images) + GAP * (len(images) - 1), max(image.height for image in images)
    sheet = Image.new("RGB", size, "white")
    left = 0
    for image in images:
        sheet.paste(image, (left, (sheet.height - image.height) // 2))
        left += image.width + GAP
    encoded = io.BytesIO()
    sheet.save(encoded, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
