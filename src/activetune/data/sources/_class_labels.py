"""Class names in the metadata that Hugging Face's ``datasets`` writes into a Parquet schema."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa


def class_label_names(schema: pa.Schema, column: str, field: str = "") -> tuple[list[str] | None, str]:
    """The names of a column's ``ClassLabel``, None where it has none; and what is wrong where they can't be read.

    They stand in the metadata's key ``huggingface``: ``{"info": {"features": {column: {"names": [...]}}}}``. Lists of
    labels stand in a list or in a ``feature`` around them, and so do structs.

    Args:
        field: of the structs that the column holds, one or a list of them; the column's own cells by default.
    """
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return None, ""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        return None, f"no JSON: {str(error)[:80]}" if str(error) else "no JSON"
    for key in ("info", "features", column, *([field] if field else []), "names"):
        found = _inner(found)
        if not isinstance(found, dict):
            return None, f"no object that could hold {key!r}"
        if found.get(key) is None:
            return None, ""
        found = found[key]
    if not isinstance(found, list) or not all(isinstance(name, str | int) for name in found):
        return None, f"the names of {column!r} are no list of texts"
    return [str(name) for name in found] or None, ""


def _inner(feature: Any) -> Any:
    """What a list of something is a list of; everything else as it is."""
    for _ in range(8):  # metadata may be nested as deep as somebody likes
        if isinstance(feature, list) and len(feature) == 1:
            feature = feature[0]
        elif isinstance(feature, dict) and "_type" in feature and isinstance(feature.get("feature"), dict | list):
            feature = feature["feature"]
    return feature
