"""Writing answers in a format: one file, or a folder whose ``manifest.json`` joins its names and the ids again."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from activetune.base.artefact import MANIFEST, cut_off, holds, prepare_folder, write_manifest
from activetune.base.errors import UsageError, some, unknown_name
from activetune.base.files import prepare_file, read_json, replacing, sweep_all, write_bytes, write_unless_there
from activetune.data.annotations._export import KIND
from activetune.data.annotations._files import files_at
from activetune.data.annotations._sheet import Sheet, folders_of, stem_of
from activetune.data.opening import refuse_in_pool


def called_formats(modules: Mapping[str, ModuleType]) -> dict[str, ModuleType]:
    """The formats by all names that they go by."""
    return {name: module for own, module in modules.items() for name in (own, *getattr(module, "ALSO", ()))}


def format_called(name: str, modules: Mapping[str, ModuleType], *, written: bool = False) -> ModuleType:
    """A format by its name.

    Raises:
        UsageError: there is none, or it is read alone.
    """
    known = called_formats(modules)
    writable = {called: module for called, module in known.items() if hasattr(module, "WRITES")}
    if written and name in known.keys() - writable.keys():
        raise UsageError(
            f"{name} can't be exported to: {how_written(known[name])}; give one of {', '.join(sorted(writable))}"
        )
    if name not in known:
        raise unknown_name("format", name, writable if written else known)
    return known[name]


def how_written(module: ModuleType) -> str:
    """What writes a format that ``export`` does not: a command in ``MADE_BY``, or nothing."""
    return f"it is written by '{module.MADE_BY}'" if hasattr(module, "MADE_BY") else "it is read only"


def write_sheet(
    sheet: Sheet, module: ModuleType, name: str, out: Path, *, overwrite: bool = False, resume: bool = False
) -> Path:
    """Write images and their answers in a format.

    Args:
        name: the format's own. out: a file, where the format is one file and the suffix fits; else a folder.
        overwrite: replace an earlier export. resume: keep one of the same images and answers.

    Returns:
        The file or folder.

    Raises:
        UsageError: the format has no place for such answers, or the output is no place for it.
    """
    if sheet.task not in module.WRITES:
        raise UsageError(
            f"{name} can't hold answers of {sheet.task}, it holds those of {', '.join(module.WRITES)}; "
            "see 'activetune list formats'"
        )
    if getattr(module, "OFFERS_CLASSES", False) and not (sheet.answers or sheet.shown_classes()):
        raise UsageError(f"{name} needs the classes that a person chooses from; give them with --classes a,b,c")
    single = getattr(module, "FILE", None)
    if sheet.link and single is not None:
        raise UsageError(f"{name} is written without a folder of images, so there is nothing to link; leave --link out")
    if single is not None and out.suffix:
        return _write_file(sheet, module, name, out, overwrite, resume)
    refuse_in_pool(out, sheet.pool, "--out")
    this = sheet.fingerprint
    if resume and not overwrite and out.is_dir() and holds(out, KIND, {"written_as": name, "made_from": this}):
        return out
    parts = [single, *_companion_names(module)] if single else _parts(sheet, module)
    prepare_folder(out, KIND, [*parts, *_earlier_parts(out, parts)], overwrite=overwrite)
    sweep_all(out)
    places: Mapping[str, str] = {}
    if single is None:
        places = module.write(sheet, out)
    else:
        with replacing(out / single) as partial:
            module.write(sheet, partial)
        _write_companions(sheet, module, out, "")
    write_manifest(out, KIND, {**_about(sheet, name, places), "made_from": this})
    return out


def _about(sheet: Sheet, name: str, places: Mapping[str, str]) -> dict[str, Any]:
    """What the manifest says beside its kind."""
    stems = {stem_of(place): item for item, place in places.items()}
    folders = folders_of(sheet.classes) if sheet.task == "classification" and places else {}
    return {
        "written_as": name,
        "task": sheet.task,
        "n": len(places) or len(sheet.ids),
        "classes": list(sheet.classes),
        "folders": folders,
        "items": stems,
    }


def _parts(sheet: Sheet, module: ModuleType) -> list[str]:
    """The files and folders that a format owns in its folder."""
    from activetune.data.annotations._class_folders import WAITING

    return (
        [*module.PARTS, WAITING, *folders_of(sheet.classes).values()]
        if sheet.task == "classification"
        else [*module.PARTS]
    )


def _earlier_parts(out: Path, parts: Sequence[str]) -> list[str]:
    """The class folders of an earlier export, of classes too that nothing has now.

    Raises:
        UsageError: the folder holds something of these names, and no export has written there.
    """
    if not out.is_dir() or cut_off(out):
        return []
    made = read_json(out / MANIFEST) if (out / MANIFEST).is_file() else {}
    if made.get("kind") == KIND:
        listed = made.get("folders", {})
        folders = list(listed.values()) if isinstance(listed, dict) else [listed]
        for name in folders:  # they are removed: a manifest that others wrote must not name what lies elsewhere
            if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
                raise UsageError(
                    f"{out / MANIFEST} is damaged: {name!r} is no folder of an export; nothing was written: choose "
                    "another --out"
                )
        return folders
    others = [name for name in parts if (out / name).exists()]
    if others:
        raise UsageError(
            f"{out} holds {some(others)}, which no export has written; nothing was written: choose another --out"
        )
    return []


def _write_file(sheet: Sheet, module: ModuleType, name: str, out: Path, overwrite: bool, resume: bool) -> Path:
    """Write one file, and what belongs beside it under its name."""
    wanted = posixpath.splitext(module.FILE)[1]
    if out.suffix.lower() != wanted:
        raise UsageError(
            f"{out}: {name} is written as {wanted}, or into a folder; give a name that ends so, or in none"
        )

    def own(path: Path) -> bool:
        files = files_at(path)
        owned = getattr(module, "owns", None)  # where a format is told by its suffix alone
        found = any(module.find(files, task) for task in module.TASKS)
        return bool(path.stat().st_size) and found and (owned is None or owned(path))

    prepare_file(out, own=own, overwrite=overwrite or resume)
    if not overwrite:
        _refuse_companions(sheet, module, out)
    if write_unless_there(out, lambda partial: module.write(sheet, partial), overwrite=overwrite):
        _write_companions(sheet, module, out.parent, f"{out.stem}.")
    return out


def _refuse_companions(sheet: Sheet, module: ModuleType, out: Path) -> None:
    """Refuse to replace what lies beside a file under the names of its companions, where it says something else."""
    made = module.companions(sheet) if hasattr(module, "companions") else {}
    places = {out.parent / f"{out.stem}.{name}": content for name, content in made.items()}
    others = [path.name for path, content in places.items() if path.exists() and path.read_bytes() != content]
    if others:
        raise UsageError(
            f"{some(others)} beside {out} would be replaced; nothing was written: choose another --out, or give "
            "--overwrite"
        )


def _companion_names(module: ModuleType) -> tuple[str, ...]:
    return tuple(getattr(module, "BESIDE", ()))


def _write_companions(sheet: Sheet, module: ModuleType, folder: Path, front: str) -> None:
    """Write what belongs beside a format's file: under its own name in a folder, else behind that of the file."""
    if hasattr(module, "companions"):
        for name, content in module.companions(sheet).items():
            write_bytes(folder / f"{front}{name}", content)
