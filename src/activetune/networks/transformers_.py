"""Loading a model of transformers whole: what its file lacks is told, where the library would draw it at random."""

from __future__ import annotations

from typing import Any

UNUSED = ("pooler.", "mask_token", "num_batches_tracked")  # parts of names that many files lack and nothing here reads


def whole(kind: Any, model: str, **options: Any) -> Any:
    """A model by one of the ``Auto`` classes.

    Args:
        model: a folder, or a name on the hub. options: of ``from_pretrained``.

    Raises:
        ValueError: its weights lack layers. Others are those of ``from_pretrained``.
    """
    network, about = kind.from_pretrained(model, output_loading_info=True, **options)
    missing = sorted(name for name in about["missing_keys"] if not any(part in name for part in UNUSED))
    if missing:
        raise ValueError(f"{len(missing):,} of its weights are missing, such as {missing[0]!r}")
    return network
