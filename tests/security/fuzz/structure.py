"""Changes of what a format is made of: values of a JSON tree, members of an archive, chunks of a picture, headers.

Bytes changed at random mostly break a checksum or a bracket; these changes get behind that door.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.security.fuzz.mutation import NAMES, Change, changed, number, odd

DEEP = 100_000


def restructured(name: str, content: bytes, draw: random.Random) -> bytes:
    """The content with a change of its structure, by the kind of file; bytes are changed where it has none."""
    kind = _kind(name, content)
    if kind is None:
        return changed(content, draw)
    try:
        return kind(content, draw)
    except Exception:  # a seed that was broken by an earlier change
        return changed(content, draw)


def _kind(name: str, content: bytes) -> Change | None:
    for start, change in STARTS.items():
        if content.startswith(start):
            return change
    for suffix, change in SUFFIXES.items():
        if name.endswith(suffix):
            return change
    return None


# Trees ------------------------------------------------------------------------------------------------------------


def _json(content: bytes, draw: random.Random) -> bytes:
    if draw.random() < 0.01:
        opened, closed = draw.choice((("[", "]"), ('{"a":', "}")))
        return (opened * DEEP + "1" + closed * draw.choice((0, DEEP))).encode()
    return _dumped(tree(json.loads(content), draw))


def _json_lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    at = draw.randrange(len(lines))
    with contextlib.suppress(ValueError):
        lines[at] = _dumped(tree(json.loads(lines[at]), draw))
    return b"\n".join(lines)


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def tree(value: Any, draw: random.Random) -> Any:
    """A tree of lists and dicts with one to three nodes changed."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        value = _node(value, draw)
    return value


def _node(value: Any, draw: random.Random) -> Any:
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        kind = draw.random()
        if kind < 0.6:
            return {**value, key: _node(value[key], draw)}
        if kind < 0.75:
            return {name: inner for name, inner in value.items() if name != key}
        if kind < 0.85:
            return {**value, draw.choice(NAMES): value[key]}
        return {**value, key: odd(draw)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        at = draw.randrange(len(value))
        kind = draw.random()
        if kind < 0.7:
            return [*value[:at], _node(value[at], draw), *value[at + 1 :]]
        if kind < 0.8:
            return [*value[:at], *value[at + 1 :]]
        return [*value[:at], value[at], odd(draw), *value[at:]]
    if isinstance(value, str) and draw.random() < 0.5:
        return value + draw.choice(NAMES)
    if isinstance(value, int | float) and draw.random() < 0.5:
        return draw.choice((-value, value * 10**9, value + 0.5, str(value), number(draw)))
    return odd(draw)


def _csv(content: bytes, draw: random.Random) -> bytes:
    rows = list(csv.reader(io.StringIO(content.decode("utf-8"))))
    row = draw.choice(rows)
    kind = draw.random()
    if kind < 0.7 and row:
        value = odd(draw)
        row[draw.randrange(len(row))] = "" if value is None else str(value)
    elif kind < 0.8:
        rows.append(list(draw.choice(rows)))
    elif kind < 0.9:
        row.append(str(odd(draw)))
    else:
        for one in rows:
            del one[:1]
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue().encode("utf-8", "surrogatepass")


# Archives ---------------------------------------------------------------------------------------------------------


def _zip(content: bytes, draw: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = draw.randrange(len(members))
    name, inner = members[at]
    packing = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    mode = 0
    kind = draw.random()
    if kind < 0.5:
        members[at] = name, restructured(name, inner, draw)
    elif kind < 0.7:
        members[at] = draw.choice(NAMES) or "x", inner
    elif kind < 0.8:
        members.append((name, inner[::-1]))
    elif kind < 0.9:
        members[at], mode = (
            (name, b"/etc/passwd"),
            draw.choice((0o120777, 0o010644, 0o020644)) << 16,
        )  # link, pipe, device
    else:
        members[at] = name, bytes(draw.choice((2**16, 2**24)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for number_, (name, inner) in enumerate(members):
            info = zipfile.ZipInfo(name.replace("\ud800", "?") or "x")
            info.compress_type, info.external_attr = packing, mode if number_ == at else 0
            archive.writestr(info, inner)
    packed = file.getvalue()
    return changed(packed, draw) if draw.random() < 0.1 else packed


def _tar(content: bytes, draw: random.Random) -> bytes:
    members: list[tuple[tarfile.TarInfo, bytes]] = []
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for info in archive:
            file = archive.extractfile(info)
            members.append((info, b"" if file is None else file.read()))
    info, _ = draw.choice(members)
    kind = draw.random()
    written = io.BytesIO()
    with tarfile.open(
        fileobj=written, mode="w", format=draw.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
    ) as archive:
        for one, own in members:
            if one is info and kind < 0.5:
                own = restructured(one.name, own, draw)
                one.size = len(own)
            elif one is info and kind < 0.7:
                one.name = draw.choice(NAMES).replace("\0", "") or "x"
            elif one is info and kind < 0.9:
                one.type = draw.choice(
                    (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"S", b"x", b"L")
                )
                one.linkname, one.size, own = "/etc/passwd", 0, b""
            with contextlib.suppress(ValueError, UnicodeError):
                archive.addfile(one, io.BytesIO(own))
    packed = written.getvalue()
    return _tar_size(packed, draw) if kind >= 0.9 else packed


def _tar_size(packed: bytes, draw: random.Random) -> bytes:
    """The first member declares another size, and the header's sum is right."""
    size = draw.choice(
        (b"77777777777\0", b"00000000000\0", b"\x80" + bytes(3) + b"\x7f" * 8, b"-0000000001\0", b"\xff" * 12)
    )
    head = packed[:124] + size + packed[136:148] + b" " * 8 + packed[156:512]
    total = f"{sum(head):06o}\0 ".encode()
    return head[:148] + total + head[156:] + packed[512:]


# Pictures and arrays ----------------------------------------------------------------------------------------------


def _png(content: bytes, draw: random.Random) -> bytes:
    chunks, at = [], 8
    while at + 8 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        chunks.append([content[at + 4 : at + 8], content[at + 8 : at + 8 + size]])
        at += 12 + size
    chosen = draw.randrange(len(chunks))
    kind = draw.random()
    if kind < 0.3 and chunks[0][0] == b"IHDR":
        sizes = [number(draw) % 2**32, draw.choice((1, 8, 2**16, 2**31 - 1))]
        chunks[0][1] = struct.pack(">II", *sizes) + bytes(
            [draw.choice((1, 8, 16, 99)), draw.randrange(8), 0, 0, draw.randrange(3)]
        )
    elif kind < 0.6:
        chunks[chosen][1] = changed(chunks[chosen][1], draw)
    elif kind < 0.7:
        chunks.insert(chosen, list(draw.choice(chunks)))
    elif kind < 0.8:
        del chunks[chosen]
    else:
        made = zlib.compress(bytes(draw.choice((10, 2**20, 2**24))), 9)
        new = draw.choice((b"IDAT", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"tRNS"))
        chunks.insert(max(1, chosen), [new, b"x\0\0" + made if new != b"IDAT" else made])
    parts = [
        struct.pack(">I", len(inner)) + kind + inner + struct.pack(">I", zlib.crc32(kind + inner))
        for kind, inner in chunks
    ]
    return content[:8] + b"".join(parts)


def _npy(content: bytes, draw: random.Random) -> bytes:
    size = int.from_bytes(content[8:10], "little")
    data = content[10 + size :]
    shape = draw.choice(
        ("(4, 3)", "()", "(-1,)", "(0, 3)", f"({2**62}, 4)", "(3037000500, 3037000500)", "(4.0, 3)", "('a',)", "4")
    )
    kinds = (
        "<f4",
        "<f2",
        "|O",
        ">f8",
        "<U3",
        "<M8[s]",
        "|V8",
        "<f16",
        "|b1",
        "<i8",
        "[('a', '<f4')]",
        "x" * 5000,
        "<f99",
        "<c16",
    )
    header = f"{{'descr': {draw.choice(kinds)!r}, 'fortran_order': {draw.choice((True, False))}, 'shape': {shape}, }}"
    if draw.random() < 0.2:
        header = draw.choice(("__import__('os').system('x')", "(" * 1000, "{}", "{'descr': '<f4'}", "9" * 5000))
    packed = header.encode() + b"\n"
    version = draw.choice((1, 1, 1, 2, 3, 9))
    length = len(packed).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + packed + data


def _safetensors(content: bytes, draw: random.Random) -> bytes:
    size = int.from_bytes(content[:8], "little")
    header = _dumped(tree(json.loads(content[8 : 8 + size]), draw))
    declared = len(header) if draw.random() < 0.8 else number(draw) % 2**64
    return declared.to_bytes(8, "little") + header + content[8 + size :]


def _parquet(content: bytes, draw: random.Random) -> bytes:
    table = pq.read_table(io.BytesIO(content))
    at = draw.randrange(table.num_columns)
    name, column = table.column_names[at], table.column(at)
    kind = draw.random()
    if kind < 0.3:
        made = pa.array([_plain(odd(draw)) for _ in range(len(table))], pa.string())
        table = table.set_column(at, name, made)
    elif kind < 0.5:
        made = draw.choice(ARRAYS)(len(table))
        table = table.set_column(at, name, made)
    elif kind < 0.6:
        table = table.append_column(name, column)
    elif kind < 0.7:
        table = table.rename_columns(
            [draw.choice(NAMES).replace("\ud800", "") if one == name else one for one in table.column_names]
        )
    elif kind < 0.8:
        table = table.remove_column(at)
    elif kind < 0.9:
        metadata = {key: restructured(".json", value, draw) for key, value in (table.schema.metadata or {}).items()}
        table = table.replace_schema_metadata(metadata or {b"huggingface": b'{"info": {"features": []}}'})
    else:
        table = pa.concat_tables([table, table.slice(0, draw.randrange(3))])
    file = io.BytesIO()
    pq.write_table(table, file, compression=draw.choice(("none", "snappy", "gzip", "zstd")))
    packed = file.getvalue()
    return changed(packed, draw) if draw.random() < 0.3 else packed


def _plain(value: object) -> str | None:
    return None if value is None else str(value).encode("utf-8", "replace").decode()


ARRAYS: tuple[Callable[[int], Any], ...] = (
    lambda rows: pa.nulls(rows),
    lambda rows: pa.array([float("nan")] * rows),
    lambda rows: pa.array([float("nan")] * rows, pa.float16()),
    lambda rows: pa.array([b"\xff\0"] * rows),
    lambda rows: pa.array([["a", None]] * rows),
    lambda rows: pa.array([{"bytes": b"x", "path": "../x"}] * rows),
    lambda rows: pa.array([{"path": 3}] * rows),
    lambda rows: pa.array([2**63 - 1] * rows, pa.timestamp("s")),
    lambda rows: pa.array([2**62] * rows, pa.duration("s")),
    lambda rows: pa.DictionaryArray.from_arrays(pa.array([0] * rows), pa.array(["a"])),
    lambda rows: pa.array([[("a", 1)]] * rows, pa.map_(pa.string(), pa.int64())),
    lambda rows: pa.array([2**64 - 1] * rows, pa.uint64()),
)
STARTS: dict[bytes, Change] = {b"PK\x03\x04": _zip, b"\x89PNG": _png, b"\x93NUMPY": _npy, b"PAR1": _parquet}
SUFFIXES: dict[str, Change] = {
    **{
        ".json": _json,
        ".jsonl": _json_lines,
        ".csv": _csv,
        ".tar": _tar,
        ".safetensors": _safetensors,
        ".lines": _json_lines,
    },
}
