"""NumPy's files: written in one step; those from elsewhere are read headers first.

Memory is taken for what a file can hold alone.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from activetune.base.errors import UsageError, first_line, refuse_beyond_memory, some
from activetune.base.files import replacing

PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # NumPy's own; others may unpack to gigabytes at once
Array = np.ndarray[Any, Any]


def write_array(path: Path, array: Array) -> None:
    """Write a ``.npy`` file in one step."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.save(file, array)


def write_archive(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write a ``.npz`` file in one step."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_own_archive(path: Path) -> dict[str, Array] | None:
    """All arrays of a file that :func:`write_archive` wrote; None where there is none, or a damaged one."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except Exception:  # zipfile, zlib and NumPy raise nearly anything on damaged bytes
        return None


def load_array(path: Path, again: str = "") -> Array:
    """The array of a ``.npy`` file, mapped into memory.

    Args:
        again: of a file of our own, how it is made again: ``embed again with --overwrite``.

    Raises:
        UsageError: no array of plain values.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a header is a Python literal: on a damaged one NumPy raises nearly anything
        if again:
            raise UsageError(f"{path} is damaged ({first_line(error)}); {again}") from None
        raise _unreadable(path, error) from error
    if not isinstance(found, np.ndarray):
        raise UsageError(f"{path} is an archive of arrays; name it .npz")
    return found


def load_archive(path: Path, names: tuple[str, ...]) -> dict[str, Array]:
    """Those arrays of a ``.npz`` file that are wanted and there.

    Raises:
        UsageError: no archive of arrays of plain values, or one that unpacks to more than the memory that is free.
    """
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if "features" in names and "features" not in members:
                raise UsageError(
                    f"{path} has no array 'features'; it holds {some(members) or 'nothing'}; save it with that name"
                )
            for name in names:
                if name in members:
                    _refuse(path, name, members[name])
                    with archive.open(members[name]) as file:
                        found[name] = _array(path, name, file, members[name].file_size)
    except UsageError:
        raise
    except Exception as error:  # as above
        raise _unreadable(path, error) from error
    return found


def _refuse(path: Path, name: str, member: zipfile.ZipInfo) -> None:
    if member.compress_type not in PACKINGS:
        raise UsageError(f"{path}: {name} is packed in a way that NumPy does not write; save it with numpy.savez")
    refuse_beyond_memory(f"{path}: {name}", member.file_size, "save the features as .npy, which is read from the disk")


def _array(path: Path, name: str, file: IO[bytes], size: int) -> Array:
    try:
        return array_in(file, size)
    except _Objects:
        raise UsageError(
            f"{path} can't be read as features: {name} are Python objects, which are never unpickled; save them as "
            + ("numbers" if name == "features" else "text, '' where one is missing")
        ) from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


class _Objects(ValueError):
    """An array of Python objects."""


def array_in(file: IO[bytes], size: int) -> Array:
    """The array of a ``.npy`` file of ``size`` bytes, whose header declares no more than it holds.

    Raises:
        ValueError: it declares more, or holds Python objects, which are never unpickled.
    """
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"version {version[0]}.{version[1]} of its format is not known")
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject:
        raise _Objects("Python objects, which are never unpickled")
    count = 1
    for side in shape:
        count *= int(side)
    if count < 0 or count * dtype.itemsize > size:
        raise ValueError(f"its header declares {shape} values of {dtype}, more than it holds")
    content = file.read(count * dtype.itemsize)
    flat = np.frombuffer(content, dtype=dtype, count=count)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _unreadable(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path} can't be read as features ({first_line(error)}); expected an N x D number array")
