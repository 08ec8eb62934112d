"""A fault of reading is no property of an image: it is waited for, or ends the run, and nothing is made of it."""

from __future__ import annotations

import errno
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import activetune
from activetune import evaluate, finetune, open_pool, predict
from activetune.base.errors import ActivetuneError, ReadingFault, RejectedImage
from activetune.data.identity import Place
from activetune.data.loading import batch_loader, image_loader, read_usable, rejected_items
from activetune.data.pool import Patience, Pool, check_complete
from activetune.data.reading import read_image_file
from activetune.features.artefact import load_embeddings, seal_embeddings
from activetune.features.embedding import EmbedOptions, embed
from activetune.networks.backbones import Backbone
from tests.conftest import tiny_backbone, write_digits

OPTIONS = EmbedOptions(batch_size=4, workers=0, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return activetune.load_backbone(*tiny_backbone())


@pytest.fixture
def few(tmp_path: Path) -> Path:
    return write_digits(tmp_path / "few", 24)


class Moving:
    """A folder's source; the folder is moved away when an item is read, and back at the n-th wait after it."""

    def __init__(self, folder: Path, at: int, back_after: int | None):
        self.folder, self.at, self.back_after = folder, at, back_after
        self.whole = open_pool(folder)
        self.waits: list[float] = []
        self.parallel = False

    def read(self, index: int) -> bytes:
        if index == self.at and not self.waits:
            self.folder.rename(self.away)
        return self.whole.source.read(index)

    def place(self, index: int) -> Place | None:
        return self.whole.source.place(index)

    @property
    def away(self) -> Path:
        return self.folder.with_name("away")

    def back(self) -> None:
        self.away.rename(self.folder)

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) == self.back_after:
            self.back()

    def pool(self) -> Pool:
        return replace(self.whole, source=self, patience=Patience(sleep=self.wait))


# A folder that is gone for a moment -------------------------------------------------------------------------------


def test_a_folder_that_vanishes_for_a_moment_costs_no_image(few: Path, tiny: Backbone, tmp_path: Path) -> None:
    source = Moving(few, at=10, back_after=3)
    made = embed(source.pool(), backbone=tiny, out=tmp_path / "emb", options=OPTIONS, quiet=True)
    assert source.waits == [0.1, 0.2, 0.5]
    assert (len(made), made.manifest["rejected"]) == (24, 0)
    undisturbed = embed(few, backbone=tiny, options=OPTIONS, use_cache=False, quiet=True)
    np.testing.assert_array_equal(made.features_ND, undisturbed.features_ND)


def test_a_folder_that_stays_away_ends_the_run_and_seals_nothing(few: Path, tiny: Backbone, tmp_path: Path) -> None:
    source = Moving(few, at=10, back_after=None)
    with pytest.raises(ReadingFault, match=r"can't be read \(No such file .* tried 9 times within 26 s.*--resume"):
        embed(source.pool(), backbone=tiny, out=tmp_path / "emb", options=OPTIONS, quiet=True)
    assert not any((tmp_path / "emb" / name).exists() for name in ("manifest.json", "features.npy", "rejected.csv"))
    assert not (tmp_path / "cache" / "embeddings").exists()
    source.back()
    made = embed(few, backbone=tiny, out=tmp_path / "emb", options=OPTIONS, resume=True, quiet=True)
    assert (len(made), made.manifest["rejected"]) == (24, 0)


def test_the_fault_of_a_decoding_process_is_the_same_sentence(few: Path) -> None:
    pool = replace(open_pool(few), source=ForAll(), patience=Patience(waits=()))
    with pytest.raises(ReadingFault) as caught:
        list(image_loader(pool, no_pixels, batch_size=4, workers=1))
    assert str(caught.value).startswith(f"{pool.ids[0]} of {few} can't be read (Input/output error)")
    assert "Traceback" not in str(caught.value)


class ForAll:
    """Nothing can be read from here."""

    parallel = False

    def read(self, index: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    def place(self, index: int) -> None:
        return None


def no_pixels(_: object) -> torch.Tensor:
    return torch.empty(3, 0, 0, dtype=torch.uint8)


def test_whoever_reads_a_pool_waits(few: Path) -> None:
    readers: list[Callable[[Pool], object]] = [
        lambda pool: rejected_items(pool, workers=0),
        lambda pool: pool.fingerprint,
        lambda pool: [pool.read(index) for index in range(len(pool))],
    ]
    for read in readers:
        source = Moving(few, at=3, back_after=2)
        found = read(source.pool())
        assert source.waits == [0.1, 0.2]
        assert found is not None
        assert not isinstance(found, dict) or found == {}


def probe(pool: Pool | Path, out: Path) -> activetune.Model:
    backbone, weights = tiny_backbone()
    given = {"backbone": backbone, "weights": weights, "settings": {"strengths": [1.0]}}
    return finetune(pool, out=out, recipe="linear_probe", workers=0, quiet=True, **given)


@pytest.mark.slow
def test_training_scoring_and_predicting_survive_a_moment(few: Path, tmp_path: Path) -> None:
    model = probe(Moving(few, at=5, back_after=1).pool(), tmp_path / "model")
    assert model.config is not None
    scores = evaluate(model, Moving(few, at=7, back_after=1).pool(), workers=0, quiet=True)
    assert scores.n == 24
    assert len(predict(model, Moving(few, at=7, back_after=1).pool(), workers=0, quiet=True)) == 24


@pytest.mark.slow
def test_predicting_goes_on_after_a_fault(few: Path, tmp_path: Path) -> None:
    model = probe(few, tmp_path / "model")
    many = write_digits(tmp_path / "many", 80)
    source = Moving(many, at=70, back_after=None)
    with pytest.raises(ReadingFault):
        predict(model, source.pool(), out=tmp_path / "p.csv", workers=0, quiet=True)
    assert not (tmp_path / "p.csv").exists()
    source.back()
    assert len(predict(model, many, out=tmp_path / "p.csv", resume=True, workers=0, quiet=True)) == 80
    with pytest.raises(ReadingFault):
        evaluate(model, Moving(many, at=70, back_after=None).pool(), out=tmp_path / "s.json", workers=0, quiet=True)
    assert not (tmp_path / "s.json").exists()


# What is a property, and what is not ------------------------------------------------------------------------------


def test_a_file_that_was_missing_at_the_start_is_rejected(few: Path, tiny: Backbone, tmp_path: Path) -> None:
    lines = ["path", "0/0000.png", "1/gone.png", "1/0001.png"]
    (few / "list.csv").write_text("\n".join(lines) + "\n")
    made = embed(few / "list.csv", backbone=tiny, out=tmp_path / "emb", options=OPTIONS, quiet=True)
    assert list(made.ids) == ["0/0000.png", "1/0001.png"]
    assert "1/gone.png,unreadable: No such file or directory" in (tmp_path / "emb" / "rejected.csv").read_text()


def test_a_file_that_goes_missing_later_is_not(few: Path) -> None:
    pool = replace(open_pool(few), patience=Patience(waits=()))
    (few / pool.ids[2]).unlink()
    with pytest.raises(ReadingFault, match="best replaced by an empty one, which is listed as rejected"):
        pool.read(2)
    (few / pool.ids[2]).write_bytes(b"")  # the way out that the sentence names
    assert rejected_items(pool, workers=0) == {pool.ids[2]: "empty: 0 bytes"}


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.ENOENT, errno.EMFILE])
def test_every_error_of_the_system_is_waited_for(few: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    answers: Iterator[OSError] = iter([OSError(number, "not now"), OSError(number, "not now")])
    waits: list[float] = []

    def unwilling(path: str) -> bytes:
        if (error := next(answers, None)) is not None:
            raise error
        return read_image_file(path)

    monkeypatch.setattr("activetune.data.sources._files.read_image_file", unwilling)
    pool = replace(open_pool(few), patience=Patience(sleep=waits.append))
    assert pool.read(0) == (few / pool.ids[0]).read_bytes()
    assert waits == [0.1, 0.2]


def stale(_: str) -> bytes:
    raise OSError(errno.ESTALE, "Stale file handle")


def test_a_zip_is_opened_again_after_a_fault(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "few.zip", "w") as archive:
        for path in sorted(few.rglob("*.png")):
            archive.write(path, str(path.relative_to(few)))
    pool = open_pool(tmp_path / "few.zip")
    pool.read(0)
    opened, waits = pool.source._open[1], list[float]()  # type: ignore[attr-defined]
    monkeypatch.setattr(opened, "open", stale)
    assert replace(pool, patience=Patience(sleep=waits.append)).read(1) == (few / pool.ids[1]).read_bytes()
    assert waits == [0.1]


def test_damage_is_not_waited_for(few: Path) -> None:
    class Damaged(ForAll):
        def read(self, index: int) -> bytes:
            raise RejectedImage("unreadable in the zip: Bad CRC-32")

    waits: list[float] = []
    pool = replace(open_pool(few), source=Damaged(), patience=Patience(sleep=waits.append))
    with pytest.raises(RejectedImage):
        pool.read(0)
    assert waits == []


def test_an_image_that_is_damaged_during_training_is_named(few: Path) -> None:
    pool = open_pool(few)
    assert read_usable(pool, 2).size == (8, 8)
    (few / pool.ids[2]).write_bytes(b"\x89PNG")
    with pytest.raises(ActivetuneError, match=f"{pool.ids[2]} of .* can't be decoded .*was changed meanwhile"):
        read_usable(pool, 2)


def test_a_picture_that_is_not_at_hand_is_not_waited_for(few: Path, tiny: Backbone, tmp_path: Path) -> None:
    embeddings = embed(few, backbone=tiny, options=OPTIONS, quiet=True)
    activetune.select(embeddings, budget=3, method="random", out=tmp_path / "sel", quiet=True)
    source = Moving(few, at=-1, back_after=None)
    pool = source.pool()
    few.rename(source.away)
    page = activetune.contact_sheet(tmp_path / "sel", pool=pool).read_text()
    assert "can&#x27;t be shown" in page or "can't be shown" in page
    assert source.waits == []


# Before anything is sealed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("used", "rejected"), [(23, 0), (24, 1), (0, 0)])
def test_an_image_that_is_neither_used_nor_rejected_is_an_error(used: int, rejected: int) -> None:
    with pytest.raises(ActivetuneError, match=f"{used} images and {rejected} rejected ones of 24; nothing was sealed"):
        check_complete(24, used, rejected, "it")


def test_embeddings_that_lack_an_image_are_not_sealed(few: Path, tiny: Backbone, tmp_path: Path) -> None:
    embed(few, backbone=tiny, out=tmp_path / "emb", options=OPTIONS, quiet=True)
    manifest = dict(load_embeddings(tmp_path / "emb").manifest)
    with pytest.raises(ActivetuneError, match="nothing was sealed"):
        seal_embeddings(tmp_path / "emb", {**manifest, "images": 25})


def test_a_loader_that_leaves_images_out_is_noticed_by_every_stage(
    few: Path, tiny: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = probe(few, tmp_path / "model")
    monkeypatch.setattr("activetune.features.sharing.batch_loader", without_the_last(batch_loader))
    monkeypatch.setattr("activetune.evaluation.model.image_loader", without_the_last(image_loader))
    for stage in (
        lambda: embed(few, backbone=tiny, out=tmp_path / "emb", options=OPTIONS, use_cache=False, quiet=True),
        lambda: evaluate(model, few, out=tmp_path / "s.json", workers=0, quiet=True),
        lambda: predict(model, few, out=tmp_path / "p.csv", workers=0, quiet=True),
    ):
        with pytest.raises(ActivetuneError, match="nothing was sealed"):
            stage()
    assert not any((tmp_path / name).exists() for name in ("emb/manifest.json", "s.json", "p.csv"))


def without_the_last(loader: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """A loader that leaves the last image out."""

    def load(*arguments: object, **options: object) -> Iterator[object]:
        batches = list(loader(*arguments, **options))
        yield from batches[:-1]
        last = batches[-1]
        yield replace(last, images=last.images[:-1], positions=last.positions[:-1], digests=last.digests[:-1])

    return load
