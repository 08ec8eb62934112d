"""Where an exported model goes: a file with two beside it, or a folder; what lies there and is not ours stays.

``bird.onnx.report.json`` names the files and their digests, which tells ours from others. It is written before them,
the file that holds the network last: where that is there, all is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activetune.base.artefact import contents
from activetune.base.errors import ActivetuneError, UsageError, some
from activetune.base.files import read_json, replacing, write_json
from activetune.base.fingerprint import digest_file
from activetune.base.locks import lock_of
from activetune.handover.description import KIND
from activetune.handover.targets import Target

NETWORKS = (".onnx", ".pt2", ".safetensors")  # suffixes of files that hold one


@dataclass(frozen=True)
class Place:
    """The files of one export.

    Attributes:
        names: of each file that the target makes, the path here; the one that holds the network last.
        report: what the checks have found. alone: whether these files together are a folder, as on a hub.
    """

    names: Mapping[str, Path]
    report: Path
    alone: bool = False

    @classmethod
    def of(cls, out: Path, target: Target) -> Place:
        """The place that ``--out`` names: a folder, or where the target allows it the file itself.

        Raises:
            UsageError: a name with another suffix, or a file where a folder is asked for.
        """
        suffix = Path(target.file).suffix
        if not target.named and out.suffix.lower() in NETWORKS and not out.is_dir():
            raise UsageError(f"{out} is a file's name, and this export is a folder; give --out a name without a dot")
        if out.is_dir() or not (out.suffix and target.named):
            if out.exists() and not out.is_dir():
                raise UsageError(f"{out} is a file; --out must name a folder here")
            report = out / f"{target.file}.report.json"
            return cls({name: out / name for name in target.files}, report, alone=not target.named)
        if out.suffix.lower() != suffix:
            raise UsageError(f"{out} can't hold this model; give a name that ends in {suffix}, or one without a dot")
        names = {name: out.with_name(out.name + name.removeprefix(target.file)) for name in target.files}
        return cls(names, out.with_name(f"{out.name}.report.json"))

    @property
    def main(self) -> Path:
        """The file that holds the network."""
        return list(self.names.values())[-1]

    def finished(self, key: str) -> dict[str, Any] | None:
        """The report of an export with this key that is there, finished and unchanged."""
        report = self._report()
        listed = report.get("files", {})
        whole = report.get("key") == key and all(listed.get(path.name) == _digest(path) for path in self._paths)
        return report if whole else None

    def prepare(self, *, overwrite: bool) -> None:
        """Refuse a place that holds something, before any work is done for it.

        Raises:
            UsageError: a file that is there was not written by an export; or ``overwrite`` is off, and there is an
                export, or anything in a folder that an export has to itself.
            ActivetuneError: nothing can be written there.
        """
        listed = self._report().get("files", {})
        present = [path for path in (*self._paths, self.report) if path.exists()]
        others = [path for path in present if path != self.report and listed.get(path.name) != _digest(path)]
        if self.report.exists() and not listed:
            others.append(self.report)
        if others:
            raise UsageError(
                f"{some(map(str, others))} would be replaced, and this command did not write it as it is; nothing was "
                "written: choose another --out"
            )
        if not overwrite and self.main.exists():
            raise UsageError(
                f"{self.main} exists already; nothing was written: choose another --out, or give --overwrite"
            )
        own = {path.name for path in (*self._paths, self.report, lock_of(self.main, folder=False))}
        if self.alone and not overwrite and (strangers := sorted({*contents(self.main.parent)} - own)):
            raise UsageError(
                f"the output folder {self.main.parent} holds {some(strangers)}; nothing was written: choose another "
                "--out, or give --overwrite, which keeps these"
            )
        self.main.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(self.main.parent, os.W_OK):
            raise ActivetuneError(f"{self.main.parent} is read-only; choose another --out")

    def fill(self, made: Path, report: Mapping[str, Any]) -> dict[str, Any]:
        """Put the files of a folder here, in place of those of an earlier export; returns the report with the files."""
        for path in reversed(self._paths):
            path.unlink(missing_ok=True)
        digests = {path.name: digest_file(made / name) for name, path in self.names.items()}
        content = {**report, "files": digests}
        write_json(self.report, content)
        for name, path in self.names.items():
            with replacing(path) as partial:
                shutil.copyfile(made / name, partial)
        return content

    @property
    def _paths(self) -> list[Path]:
        return list(self.names.values())

    def _report(self) -> dict[str, Any]:
        """The report of an earlier export here; empty where there is none."""
        try:
            found = read_json(self.report) if self.report.is_file() else {}
        except (ActivetuneError, UnicodeDecodeError):
            return {}
        ours = found.get("kind") == KIND and isinstance(found.get("files"), dict)
        return found if ours else {}


def _digest(path: Path) -> str | None:
    return digest_file(path) if path.is_file() else None
