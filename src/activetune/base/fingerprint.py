"""Content digests: how an artefact says what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.settings import Settings, recorded


def digest(*parts: str) -> str:
    """A 32-digit BLAKE2b digest of strings; ``("ab", "c")`` and ``("a", "bc")`` differ."""
    return digest_stream(parts)


def digest_stream(parts: Iterable[str]) -> str:
    """:func:`digest` of many strings, one at a time."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogateescape")
        state.update(len(encoded).to_bytes(8, "little"))
        state.update(encoded)
    return state.hexdigest()


def digest_array(array: np.ndarray) -> str:
    """Digest of an array's type, shape and values; reads a memory map in pieces."""
    state = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    rows = max(1, 2**24 // max(1, array[:1].nbytes)) if array.ndim else 1
    for start in range(0, len(array) if array.ndim else 0, rows):
        state.update(np.ascontiguousarray(array[start : start + rows]).data)
    return state.hexdigest()


def digest_bytes(content: bytes) -> str:
    """Digest of bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def digest_file(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest_json(value: Mapping[str, Any]) -> str:
    """Digest of a JSON-like mapping, whatever the order of its keys."""
    return digest(json.dumps(value, sort_keys=True, default=str))


def as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping as JSON would give it back; a function stands by its name, so that another process writes the same."""
    found: dict[str, Any] = json.loads(json.dumps(value, default=_name_of))
    return found


def record_of(options: Settings) -> dict[str, Any]:
    """Settings as manifests and keys of finished work hold them; see :func:`activetune.base.settings.recorded`."""
    return as_json(recorded(options))


def _name_of(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else str(value)
