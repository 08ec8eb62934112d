"""Small files that unpack, declare or nest without measure: refused within bounded memory, as far as they go on."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import resource
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from activetune import ActivetuneError, UsageError, open_pool
from activetune.base.errors import RejectedImage
from activetune.base.tables import read_table
from activetune.data.annotations import read_annotations
from activetune.data.images import MAX_PIXELS, decode_image
from activetune.data.labels import read_labels
from activetune.features.artefact import load_embeddings

MOST = 2 * 2**30  # bytes of memory beyond what the process has


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """More memory is not given."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MOST, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def pool(tmp_path: Path) -> Any:
    (tmp_path / "pool").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pool" / "1.png")
    return open_pool(tmp_path / "pool", quiet=True)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of these chunks."""
    parts = [
        struct.pack(">I", len(inner)) + kind + inner + struct.pack(">I", zlib.crc32(kind + inner))
        for kind, inner in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def zeros(megabytes: int) -> bytes:
    """So many zeros, deflated."""
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(megabytes)), packer.flush()])


def head(width: int, height: int) -> tuple[bytes, bytes]:
    """The first chunk of a PNG."""
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)


@pytest.mark.parametrize(
    "encoded",
    [
        lambda: png(head(2**31 - 1, 2**31 - 1), (b"IDAT", zeros(1)), (b"IEND", b"")),
        lambda: png(head(9_460, 9_460), (b"IDAT", zeros(1)), (b"IEND", b"")),
        lambda: png(head(8, 8), (b"iTXt", b"x\0\1\0\0\0" + zeros(16)), (b"IDAT", zeros(1)), (b"IEND", b"")),
        lambda: png(head(8, 8), (b"iCCP", b"x\0\0" + zeros(16)), (b"IDAT", zlib.compress(bytes(200))), (b"IEND", b"")),
        lambda: b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x08",
        lambda: b"P6 999999999 999999999 255\n",
        lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0),
        lambda: b"qoif" + struct.pack(">IIBB", 2**31, 2**31, 4, 0),
    ],
    ids=["declared", "just too large", "text", "profile", "gif", "ppm", "bmp", "qoi"],
)
def test_pictures(encoded: Callable[[], bytes]) -> None:
    try:
        image = decode_image(encoded())
    except RejectedImage as error:
        assert len(str(error)) < 300
    else:
        assert image.width * image.height <= MAX_PIXELS


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_s_member(packing: int, tmp_path: Path) -> None:
    """4 MB of zeros whose header says 100 bytes."""
    with (
        zipfile.ZipFile(tmp_path / "pool.zip", "w", packing) as archive,
        archive.open("1.png", "w", force_zip64=True) as file,
    ):
        for _ in range(16):
            file.write(bytes(2**20))
    content = (tmp_path / "pool.zip").read_bytes().replace(struct.pack("<Q", 2**22), struct.pack("<Q", 100))
    content = content.replace(struct.pack("<I", 2**22), struct.pack("<I", 100))
    (tmp_path / "pool.zip").write_bytes(content)
    pool = open_pool(tmp_path / "pool.zip", quiet=True)
    with pytest.raises(RejectedImage):
        decode_image(pool.read(0))


@pytest.mark.parametrize("name", ["pool.tar", "pool.zip", "pool.parquet", "labels.csv", "a.npy", "a.npz"])
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
def test_what_is_packed_as_a_whole_is_not_unpacked(name: str, pack: Any, pool: Any, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pack(bytes(2**22)))
    with pytest.raises(ActivetuneError):
        if name.startswith("pool"):
            open_pool(tmp_path / name, quiet=True)
        elif name.startswith("labels"):
            read_labels(tmp_path / name, pool)
        else:
            load_embeddings(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["../1.png", "/tmp/1.png", "a/../../1.png", "..\\1.png", "C:\\1.png", "a\0/../../1.png"]
)
def test_archives_write_nothing_and_reach_nothing_outside(name: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    (tmp_path / "pools").mkdir()
    with zipfile.ZipFile(tmp_path / "pools" / "p.zip", "w") as archive:
        archive.writestr("good.png", file.getvalue())
        archive.writestr(zipfile.ZipInfo(name), file.getvalue())
    with tarfile.open(tmp_path / "pools" / "p.tar", "w") as tar:
        for one in ("good.png", name.replace("\0", "")):
            info = tarfile.TarInfo(one)
            info.size = len(file.getvalue())
            tar.addfile(info, io.BytesIO(file.getvalue()))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info = tarfile.TarInfo("link.png")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    before = sorted(tmp_path.rglob("*"))
    for suffix in ("zip", "tar"):
        pool = open_pool(tmp_path / "pools" / f"p.{suffix}", quiet=True)
        assert pool.ids[-1] == "good.png" and not any(".." in item or item.startswith("/") for item in pool.ids)
        assert sum(pool.left_out.values()) >= (1 if len(pool) == 1 else 0)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_zip_whose_member_is_a_link(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        info = zipfile.ZipInfo("1.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UsageError, match="holds no image"):
        open_pool(tmp_path / "p.zip", quiet=True)


def test_a_picture_that_is_an_archive_too(tmp_path: Path) -> None:
    """A polyglot: what counts is the door that it comes in by, and neither reads what the other would."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../inner.png", b"x")
        archive.writestr("<script>.html", "<script>alert(1)</script>")
    both = file.getvalue() + packed.getvalue()
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "both.png").write_bytes(both)
    pool = open_pool(tmp_path / "pool", quiet=True)
    assert pool.ids == ["both.png"] and decode_image(pool.read(0)).size == (8, 8)
    (tmp_path / "both.zip").write_bytes(both)
    with pytest.raises(UsageError, match="holds no image"):
        open_pool(tmp_path / "both.zip", quiet=True)


def test_a_table_of_more_rows_than_the_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"id": pa.nulls(2**20), "label": pa.nulls(2**20)}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 10_000
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**26))
    with pytest.raises(UsageError, match=r"1,048,576 rows and unpacks to .* of memory are free"):
        read_table(tmp_path / "t.parquet")


def test_a_field_of_ten_megabytes_and_zeros(pool: Any, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("id,label\n1.png," + "x" * 10**7 + "\n")
    with pytest.raises(UsageError, match="more than 4,194,304 characters") as error:
        read_labels(tmp_path / "l.csv", pool)
    assert len(str(error.value)) < 500
    (tmp_path / "l.csv").write_bytes(b"id,label\n1.png\0,cat\n")
    with pytest.raises(UsageError, match="holds a zero character"):
        read_labels(tmp_path / "l.csv", pool)


LAUGHS = (
    "<!DOCTYPE a [<!ENTITY a 'ha'>"
    + "".join(f"<!ENTITY a{n} '{f'&a{n - 1 or str()};' * 10}'>" for n in range(1, 10))
    + "]>"
)
OTHERS = "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("declared", [LAUGHS, OTHERS], ids=["laughs", "other files"])
@pytest.mark.parametrize("root", ["annotation", "annotations"])
def test_xml_that_declares_entities(declared: str, encoding: str, root: str, pool: Any, tmp_path: Path) -> None:
    (tmp_path / "xml").mkdir()
    image = "<image id='0' name='1.png'/><object><name>&a9;</name></object>"
    text = f"{declared}<{root}><filename>1.png</filename>{image}</{root}>"
    (tmp_path / "xml" / "1.xml").write_bytes(text.encode(encoding))
    with pytest.raises(UsageError):
        read_annotations(tmp_path / "xml", pool, "detection", quiet=True)


def test_yaml_that_refers_to_itself(pool: Any, tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "1.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    for names in ("names: *a9", "names: [*a9]", "names: &n [*n]", "names: !!python/object/apply:os.system ['false']"):
        (tmp_path / "data.yaml").write_text("\n".join([*lines, names]))
        with pytest.raises(UsageError) as error:
            read_annotations(tmp_path, pool, "detection", quiet=True)
        assert len(str(error.value)) < 3_100


@pytest.mark.parametrize("shape", [(2**62, 4), (2**40, 4), (10**9, 10**9), (-1, 4)])
def test_arrays_that_declare_more_than_they_hold(shape: tuple[int, int], tmp_path: Path) -> None:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64)
    (tmp_path / "f.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        archive.writestr("features.npy", content)
    for name in ("f.npy", "f.npz"):
        with pytest.raises(UsageError, match="can't be read as features"):
            load_embeddings(tmp_path / name)
