"""Folders that stages leave for stages, features made elsewhere, weights, journals."""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import activetune
from activetune.base.artefact import read_manifest
from activetune.base.errors import ActivetuneError
from activetune.evaluation.journal import _line, _whole
from activetune.features.artefact import Embeddings, load_embeddings, save_embeddings
from activetune.labelling.journal import JOURNAL, Entry, Journal
from activetune.labelling.label_file import LabelFile
from activetune.labelling.sheet import Sheet
from activetune.selection.artefact import Selection, load_selection, save_selection
from tests.security.fuzz.targets import Case, Target, case_of
from tests.security.fuzz.targets._pool import IDS

QUIET: dict[str, Any] = {"device": "cpu", "precision": "fp32", "workers": 0, "quiet": True}
BIG = 2**16  # bytes of a file that is worth changing


def _embeddings(folder: Path) -> list[Case]:
    features = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    save_embeddings(
        Embeddings(list(IDS), features, ["cat", "dog", None], {"pool": "x", "backbone": "bundled"}), folder / "e"
    )
    return [case_of(folder / "e")]


def _selection(folder: Path) -> list[Case]:
    manifest = {"pool": "x", "pool_path": "x", "n": 3, "method": "random", "seed": 0, "embeddings": None}
    save_selection(Selection(list(IDS), [0.0, 1.0, 2.0], ["", "a", "b"], manifest, ["cat/9.png"]), folder / "s")
    return [case_of(folder / "s")]


def _model(folder: Path) -> list[Case]:
    from tests.conftest import tiny_backbone, write_digits

    name, weights = tiny_backbone()
    pool = write_digits(folder / "digits", 20)
    activetune.finetune(pool, out=folder / "m", recipe="linear_probe", backbone=name, weights=weights, **QUIET)
    return [case_of(folder / "m")]


def _foreign(folder: Path) -> list[Case]:
    features, cases = np.arange(12, dtype=np.float32).reshape(4, 3), []
    for made in (features, features.astype(np.float16), np.asfortranarray(features), features.reshape(2, 2, 3)):
        file = io.BytesIO()
        np.save(file, made)
        cases.append({"features.npy": file.getvalue()})
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, features=features, ids=np.asarray(["a", "b", "c", "d"]), labels=np.asarray(["x", "", "y", "y"]))
        cases.append({"features.npz": file.getvalue()})
    return cases


def _read_foreign(folder: Path) -> None:
    (path,) = folder.iterdir()
    load_embeddings(path)


def _read_artefact(load: Any, kind: str, folder: Path) -> None:
    with contextlib.suppress(ActivetuneError):
        read_manifest(folder, kind)
    load(folder)


class Code:
    """What runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return (print, ("unpickled",))


def _weights(folder: Path) -> list[Case]:
    import torch

    from tests.conftest import tiny_backbone

    _, weights = tiny_backbone()
    state = {"norm.weight": torch.ones(3), "head.bias": torch.zeros(2)}
    cases: list[Case] = [{"weights.safetensors": weights.read_bytes()}]
    for content in (state, {"state_dict": state}, {"model": Code()}, [1, 2]):
        for zipped in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=zipped)
            cases.append({"weights.pth": file.getvalue()})
    return [*cases, {"weights.pth": pickle.dumps(Code())}]


def _read_weights(folder: Path) -> None:
    from activetune.networks.backbones import load_backbone

    (path,) = folder.iterdir()
    load_backbone("timm/test_vit@32", weights=path)


def _journal(folder: Path) -> list[Case]:
    folder.mkdir(parents=True)
    journal = Journal(folder / JOURNAL)
    journal.add([Entry("start", 1, {"kind": "add", "name": "cat"})])
    answer = {"kind": "answer", "id": IDS[0], "state": "labelled", "labels": ["cat"]}
    journal.add([Entry("one", number, answer) for number in range(1, 4)])
    journal.add([Entry("one", 9, {"kind": "rename", "name": "cat", "to": "dog"})])
    journal.close()
    text = f"id,label\n{IDS[0]},dog\n{IDS[1]},\n"
    return [{JOURNAL: (folder / JOURNAL).read_bytes(), "labels.csv": text.encode()}]


def _read_journal(folder: Path) -> None:
    import os
    import shutil

    place = Path(os.environ["ACTIVETUNE_CACHE"]).parent / "journal"  # SQLite writes beside what it reads
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    journal = Journal(place / JOURNAL)
    try:
        sheet = Sheet(list(IDS))
        list(sheet.replayed(journal.events(), place / JOURNAL))
        list(LabelFile(place / "labels.csv", sheet).by_hand({}))
    finally:
        journal.close()


def _predictions_journal(folder: Path) -> list[Case]:
    batches = [[[["a", "cat", 0.5]], [["b", "empty: 0 bytes"]], ["00", "00"]], [[["c", "dog", 0.5]], [], ["00"]]]
    return [{"p.lines": b"".join(map(_line, batches))}]


def _read_predictions_journal(folder: Path) -> None:
    for rows, refused, digests in _whole((folder / "p.lines").read_bytes().splitlines()):
        assert [list, list, list] == [type(rows), type(refused), type(digests)]


def targets() -> Iterator[Target]:
    """One per kind of artefact."""
    yield Target("EMB", _embeddings, partial(_read_artefact, load_embeddings, "embeddings"))
    yield Target("SEL", _selection, partial(_read_artefact, load_selection, "selection"))
    yield Target("MODEL", _model, partial(_read_artefact, activetune.load, "model"), 0.1)
    yield Target("features, .npy and .npz", _foreign, _read_foreign)
    yield Target("weights", _weights, _read_weights, 0.1)
    yield Target("journal of labels", _journal, _read_journal, 0.2)
    yield Target("journal of predictions", _predictions_journal, _read_predictions_journal, 0.3)
