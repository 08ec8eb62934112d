"""A pool is its images' bytes: wherever they lie, whatever their times are, and however little of them is read."""

from __future__ import annotations

import os
import shutil
import sqlite3
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import activetune
from activetune import evaluate, finetune, open_pool, predict
from activetune.base.errors import RejectedImage, UsageError
from activetune.data.digest_memory import DigestMemory
from activetune.data.identity import Contents, Place, content_digest
from activetune.data.pool import Patience, Pool
from activetune.features import embedding
from activetune.features.embedding import EmbedOptions, embed
from activetune.networks.backbones import Backbone
from tests.conftest import write_digits

OPTIONS = EmbedOptions(batch_size=4, workers=0, device="cpu", precision="fp32")
PROBE: dict[str, Any] = {"recipe": "linear_probe", "settings": {"strengths": [100.0]}, "workers": 0, "quiet": True}
AGES_AGO = 10**18  # nanoseconds after 1970


@pytest.fixture(scope="module")
def bundled() -> Backbone:
    return activetune.load_backbone("bundled")


def write_twins(folder: Path) -> tuple[Path, Path]:
    """Two folders with equal names, sizes and times: dark and light squares, and the same with the classes swapped."""
    for name, dark, light in (("a", 20, 230), ("b", 230, 20)):
        for number in range(12):
            path = folder / name / ("dark" if number % 2 else "light") / f"{number:02d}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (24, 24), (dark if number % 2 else light) + number // 2).save(path)
            os.utime(path, ns=(AGES_AGO, AGES_AGO))
    return folder / "a", folder / "b"


def names_sizes_and_times(folder: Path) -> list[tuple[str, int, int]]:
    return sorted(
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*.bmp")
    )


# Equal names, sizes and times -------------------------------------------------------------------------------------


def test_a_model_is_scored_on_the_pool_that_is_given(tmp_path: Path) -> None:
    a, b = write_twins(tmp_path)
    assert names_sizes_and_times(a) == names_sizes_and_times(b)
    model = finetune(a, out=tmp_path / "model", **PROBE)
    assert evaluate(model, a, out=tmp_path / "scores.json", workers=0, quiet=True).top1 == 1.0
    assert evaluate(model, b, workers=0, quiet=True).top1 == 0.0
    with pytest.raises(UsageError, match="nothing was written"):  # not taken for those of the other pool
        evaluate(model, b, out=tmp_path / "scores.json", resume=True, workers=0, quiet=True)


def test_features_of_a_twin_are_not_taken_for_the_pools_own(bundled: Backbone, tmp_path: Path) -> None:
    a, b = write_twins(tmp_path)
    features = [embed(pool, backbone=bundled, options=OPTIONS, quiet=True).features_ND for pool in (a, b, a)]
    assert not np.array_equal(features[0], features[1])
    np.testing.assert_array_equal(features[0], features[2])
    embed(a, backbone=bundled, out=tmp_path / "emb", options=OPTIONS, quiet=True)
    with pytest.raises(UsageError, match="another pool"):
        embed(b, backbone=bundled, out=tmp_path / "emb", options=OPTIONS, quiet=True)


def test_twins_can_be_pool_and_test_set(tmp_path: Path) -> None:
    a, b = write_twins(tmp_path)
    done = activetune.simulate(a, test=b, methods="random", budgets=6, seeds=1, out=tmp_path / "s", workers=0)
    assert [row["top1"] for row in done.rows] == [0.0]
    with pytest.raises(UsageError, match="the pool itself"):
        activetune.simulate(a, test=a, methods="random", budgets=6, seeds=1, out=tmp_path / "t", workers=0)


def test_a_finished_model_of_a_twin_is_not_kept(tmp_path: Path) -> None:
    a, b = write_twins(tmp_path)
    finetune(a, out=tmp_path / "model", **PROBE)
    with pytest.raises(UsageError, match="not empty"):
        finetune(b, out=tmp_path / "model", resume=True, **PROBE)


def test_predictions_that_a_twin_began_are_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = write_twins(tmp_path)
    model = finetune(a, out=tmp_path / "model", **PROBE)
    out = tmp_path / "p.csv"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("activetune.evaluation.predict.check_complete", interrupted)
        predict(model, a, out=out, workers=0, quiet=True)
    with pytest.raises(UsageError, match="another model, pool or precision"):
        predict(model, b, out=out, resume=True, workers=0, quiet=True)
    with monkeypatch.context() as patched:
        patched.setattr("activetune.evaluation.model._outputs", interrupted)  # all batches are done
        found = predict(model, a, out=out, resume=True, workers=0, quiet=True)
    assert {name for item, name, _ in found if item.startswith("dark")} == {"dark"}


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


# The same pool ----------------------------------------------------------------------------------------------------


def as_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, str(path.relative_to(folder)))
    return folder.with_suffix(".zip")


def as_parquet(folder: Path) -> Path:
    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    cells = [{"bytes": (folder / path).read_bytes(), "path": path} for path in paths]
    pq.write_table(pa.table({"image": cells}), folder.with_suffix(".parquet"))
    return folder.with_suffix(".parquet")


def copied(folder: Path) -> Path:
    return shutil.copytree(folder, folder.with_name("copied"), copy_function=shutil.copyfile)


@pytest.mark.parametrize("elsewhere", [copied, as_zip, as_parquet])
def test_the_same_images_elsewhere_hit_the_cache(
    bundled: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: object
) -> None:
    few = write_digits(tmp_path / "few", 12)
    first = embed(few, backbone=bundled, options=OPTIONS, quiet=True)
    other = elsewhere(few)  # type: ignore[operator]
    assert open_pool(other).fingerprint == open_pool(few).fingerprint
    if other.is_dir():  # a zip's size is another than its files', so it is read to the end before it is recognised
        monkeypatch.setattr(embedding, "compute", interrupted)
        found = embed(other, backbone=bundled, options=OPTIONS, quiet=True)
        np.testing.assert_array_equal(found.features_ND, first.features_ND)


def test_a_damaged_member_or_a_missing_file_is_part_of_what_a_pool_is(tmp_path: Path) -> None:
    few = write_digits(tmp_path / "few", 6)
    (tmp_path / "list.csv").write_text("path\nfew/0/0000.png\nfew/gone.png\n")
    before = open_pool(tmp_path / "list.csv").fingerprint
    shutil.copy(few / "1" / "0001.png", few / "gone.png")
    assert open_pool(tmp_path / "list.csv").fingerprint != before


# The memory of digests --------------------------------------------------------------------------------------------


class Counted:
    """A source of images in memory that counts how often it is read."""

    def __init__(self, images: list[bytes], changed_ns: int = AGES_AGO):
        self.images, self.changed_ns, self.reads, self.parallel = images, changed_ns, 0, False

    def read(self, index: int) -> bytes:
        self.reads += 1
        return self.images[index]

    def place(self, index: int) -> Place:
        state = f"state of {len(self.images[index])} bytes"
        return Place(f"/somewhere/{index}", len(self.images[index]), state, self.changed_ns)


def pool_of(source: Counted) -> Pool:
    return Pool("counted", [f"{index}.png" for index in range(len(source.images))], None, source)


@pytest.fixture
def memory(tmp_path: Path) -> DigestMemory:
    return DigestMemory(tmp_path / "digests.sqlite")


def test_an_unchanged_file_is_not_read_again(memory: DigestMemory) -> None:
    source = Counted([b"a", b"bc", b"def"])
    first = Contents(pool_of(source), memory=memory).fingerprint
    assert source.reads == 3
    again = Contents(pool_of(source), memory=memory)
    assert again.complete
    assert again.fingerprint == first
    assert source.reads == 3


def test_a_changed_file_alone_is_read_again(memory: DigestMemory) -> None:
    source = Counted([b"a", b"bc", b"def"])
    first = Contents(pool_of(source), memory=memory).fingerprint
    source.images[1] = b"longer"
    assert Contents(pool_of(source), memory=memory).fingerprint != first
    assert source.reads == 4


def test_a_file_that_was_just_written_is_not_remembered(memory: DigestMemory) -> None:
    source = Counted([b"a"], changed_ns=2**62)
    for _ in range(2):
        assert Contents(pool_of(source), memory=memory).fingerprint
    assert source.reads == 2


def test_what_the_reader_of_the_images_notes_is_remembered_too(memory: DigestMemory) -> None:
    source = Counted([b"a", b"bc"])
    contents = Contents(pool_of(source), memory=memory)
    contents.note([0, 1], [content_digest(image) for image in source.images])
    contents.save()
    assert Contents(pool_of(source), memory=memory).fingerprint == contents.fingerprint
    assert source.reads == 0


def test_without_the_memory_nothing_is_written(tmp_path: Path) -> None:
    assert Contents(pool_of(Counted([b"a"])), remember=False).fingerprint
    assert not (tmp_path / "cache").exists()


def garbage(path: Path) -> None:
    path.write_bytes(b"no database " * 500)


def another_table(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE digests (something INTEGER)")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [garbage, another_table, a_folder])
def test_a_memory_that_can_t_be_used_costs_time_alone(memory: DigestMemory, spoil: object) -> None:
    source = Counted([b"a", b"bc"])
    first = Contents(pool_of(source), memory=memory).fingerprint
    spoil(memory.path)  # type: ignore[operator]
    assert Contents(pool_of(source), memory=memory).fingerprint == first
    assert source.reads == 4
    assert Contents(pool_of(source), memory=memory).fingerprint == first


def test_a_memory_that_another_process_writes_to_is_used_when_it_is_free(memory: DigestMemory) -> None:
    source = Counted([b"a"])
    assert Contents(pool_of(source), memory=memory).fingerprint
    with sqlite3.connect(memory.path) as connection:
        connection.execute("BEGIN IMMEDIATE")  # others may still read
        assert Contents(pool_of(source), memory=memory).complete


def test_a_real_folder_that_was_left_alone_is_recognised_without_reading(
    bundled: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = write_digits(tmp_path / "few", 6)
    monkeypatch.setattr("activetune.data.identity.SETTLED_NS", -(10**12))  # as if it had been written long ago
    embed(few, backbone=bundled, options=OPTIONS, quiet=True)
    monkeypatch.setattr(Path, "read_bytes", interrupted)
    assert len(embed(few, backbone=bundled, options=OPTIONS, quiet=True)) == 6


# Runs that go on --------------------------------------------------------------------------------------------------


def test_an_embedding_is_not_gone_on_with_when_its_first_images_have_changed(bundled: Backbone, tmp_path: Path) -> None:
    a, b = write_twins(tmp_path)
    broken = replace(open_pool(a), source=Breaking(open_pool(a), 9), patience=Patience(waits=()))
    with pytest.raises(KeyboardInterrupt):
        embed(broken, backbone=bundled, out=tmp_path / "emb", options=OPTIONS, quiet=True)
    with pytest.raises(UsageError, match=r"changed since; start again with --overwrite"):
        embed(b, backbone=bundled, out=tmp_path / "emb", options=OPTIONS, resume=True, quiet=True)
    made = embed(a, backbone=bundled, out=tmp_path / "emb", options=OPTIONS, resume=True, quiet=True)
    assert made.manifest["pool_fingerprint"] == open_pool(a).fingerprint


class Breaking:
    """A pool's source that is interrupted at an item."""

    def __init__(self, pool: Pool, at: int):
        self.pool, self.at, self.parallel = pool, at, False

    def read(self, index: int) -> bytes:
        if index == self.at:
            raise KeyboardInterrupt
        return self.pool.read(index)

    def place(self, index: int) -> Place | None:
        return self.pool.place(index)


def test_embeddings_of_an_earlier_version_are_taken_for_no_pool(bundled: Backbone, tmp_path: Path) -> None:
    few = write_digits(tmp_path / "few", 6)
    embed(few, backbone=bundled, out=tmp_path / "emb", options=OPTIONS, quiet=True)
    manifest = activetune.base.files.read_json(tmp_path / "emb" / "manifest.json")
    for name in ("run", "images", "rejected_list"):
        del manifest[name]
    manifest["pool_fingerprint"] = "3d" * 16
    activetune.base.files.write_json(tmp_path / "emb" / "manifest.json", manifest)
    with pytest.raises(UsageError, match="by an earlier version, which told pools apart by names, sizes and times"):
        embed(few, backbone=bundled, out=tmp_path / "emb", options=OPTIONS, quiet=True)
    assert len(activetune.select(tmp_path / "emb", budget=3, method="random", quiet=True)) == 3


def test_what_cannot_be_read_has_a_digest_by_its_reason(tmp_path: Path) -> None:
    class Refusing(Counted):
        def read(self, index: int) -> bytes:
            raise RejectedImage(["unreadable: one", "unreadable: two"][index])

    contents = Contents(pool_of(Refusing([b"", b""])), remember=False)
    contents.read()
    assert contents.digests_N[0].tobytes() != contents.digests_N[1].tobytes()
