"""Probe, then full finetuning from the probe's head (LP-FT, see ``_from_probe.py``): FACT without its third phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from activetune.recipes._from_probe import FromProbe
from activetune.recipes.full import PAPER


@dataclass(frozen=True)
class ProbeThenFull(FromProbe):
    """The linear probe's head on the pretrained backbone, then everything is trained."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": PAPER}
    phase: ClassVar[str] = "full"
