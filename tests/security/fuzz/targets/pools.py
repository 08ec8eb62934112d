"""Pools from every source."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from activetune.data.opening import open_pool
from activetune.data.sources import sources
from tests.security.fuzz.targets import Case, Target, case_of
from tests.security.fuzz.targets._pool import IDS, look_through, picture, write_pool

METADATA = "file_name,label,caption,labels\ncat/1.png,cat,a cat,a;b\ndog/2.png,dog,a dog,\n"
Maker = Callable[[Path], list[Case]]


def _folder(folder: Path) -> list[Case]:
    case = case_of(write_pool(folder))
    lines = "".join(
        json.dumps({"file_name": item, "objects": {"bbox": [[1, 2, 3, 4]], "categories": ["a"]}}) + "\n" for item in IDS
    )
    coco = {
        "images": [{"id": 1, "file_name": "cat/1.png"}],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}],
    }
    return [
        {**case, "metadata.csv": METADATA.encode()},
        {**case, "metadata.jsonl": lines.encode()},
        {**case, "coco.json": json.dumps(coco).encode(), "masks/cat/1.png": picture(mode="L")},
    ]


def _zip(folder: Path) -> list[Case]:
    case = case_of(write_pool(folder))
    cases = []
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", packing) as archive:
            for name, content in {**case, "metadata.csv": METADATA.encode()}.items():
                archive.writestr(name, content)
        cases.append({"pool.zip": file.getvalue()})
    return cases


def _webdataset(folder: Path) -> list[Case]:
    cases = []
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=form) as archive:
            about = json.dumps({"label": "cat", "labels": ["a"], "caption": "x"}).encode()
            members = {
                "a/1.png": picture(),
                "a/1.cls": b"cat",
                "a/1.json": about,
                "b/2.jpg": picture("JPEG"),
                "b/2.txt": b"two",
            }
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        cases.append({"pool.tar": file.getvalue()})
    return cases


def _table(folder: Path) -> list[Case]:
    case = {f"images/{name}": content for name, content in case_of(write_pool(folder)).items()}
    rows = [(f"images/{item}", item.partition("/")[0]) for item in IDS]
    columns = {"path": [path for path, _ in rows], "label": [name for _, name in rows], "caption": ["a", None, "b, c"]}
    text = "path,label,caption\n" + "".join(f'"{path}",{label},x\n' for path, label in rows)
    lines = "".join(
        json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in zip(*columns.values(), strict=True)
    )
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return [
        {**case, "pool.csv": text.encode()},
        {**case, "pool.tsv": text.replace(",", "\t").encode()},
        {**case, "pool.jsonl": lines.encode()},
        {**case, "pool.parquet": file.getvalue()},
    ]


def _huggingface(folder: Path) -> list[Case]:
    about = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    images = [{"bytes": picture(), "path": f"{number}.png"} for number in range(3)]
    objects = [{"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": [0]}] * 3
    table = pa.table(
        {
            "image": images,
            "label": [0, 1, None],
            "caption": ["a", "b", "c"],
            "objects": objects,
            "labels": [[0], [], [1]],
        }
    )
    cases = []
    for group in (1, 10):
        file = io.BytesIO()
        pq.write_table(
            table.replace_schema_metadata({b"huggingface": json.dumps(about).encode()}), file, row_group_size=group
        )
        cases += [
            {"pool.parquet": file.getvalue()},
            {"data/train-0.parquet": file.getvalue(), "data/test-0.parquet": file.getvalue()},
        ]
    return cases


def _video(folder: Path) -> list[Case]:
    from tests.data.videos import plain, write_video

    cases = []
    for suffix, codec in ((".mp4", "mpeg4"), (".mkv", "ffv1"), (".avi", "mpeg4")):
        path = write_video(folder / f"pool{suffix}", plain(8), codec=codec)
        cases.append({path.name: path.read_bytes()})
    return cases


SEEDS: dict[str, tuple[Maker, float]] = {
    "folder": (_folder, 0.3),
    "zip": (_zip, 0.5),
    "webdataset": (_webdataset, 0.5),
    "table": (_table, 0.3),
    "huggingface": (_huggingface, 0.3),
    "video": (_video, 0.2),
}


def read(folder: Path) -> None:
    """Open what lies there and look through it."""
    entries = sorted(folder.iterdir())
    single = next((entry for entry in entries if entry.name.startswith("pool.") and entry.is_file()), None)
    look_through(open_pool(single or folder, quiet=True))


def targets() -> Iterator[Target]:
    """One per source."""
    for name in sources():
        make, short = SEEDS[name]
        yield Target(f"pool, {name}", make, read, short, fixed="images/" if name == "table" else "")
