"""What every pool source promises, of pools that lie behind an address; ids and labels are those of the local pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from activetune.base.errors import ReadingFault, RejectedImage, UsageError
from activetune.data.opening import open_pool
from activetune.data.pool import NO_PATIENCE
from activetune.data.sources import sources
from tests.contract import test_pool_sources as local
from tests.data.stores import in_memory

fsspec: Any = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'activetune[remote]'")
IMAGES = local.IMAGES


class Elsewhere(local.PoolSourceContract):
    """A pool that is made on this machine and copied into memory, where it is opened by its address."""

    vanished: Any = ReadingFault  # what reading raises when nothing is there any more

    def fresh(self, folder: Path, images: Mapping[str, bytes]) -> Any:
        made = local.PoolSourceContract.fresh(self, folder, images)
        return in_memory(folder, made)

    def hostile(self, folder: Path, name: str) -> Any:
        fsspec.filesystem("memory").pipe_file(str(folder.parent / "secret.png"), local.png(99))
        return self.fresh(folder, {**local.contents(), name: local.png(99)})

    def test_ids_and_labels_are_those_of_the_pool_on_this_machine(self, tmp_path: Path) -> None:
        here = open_pool(local.PoolSourceContract.fresh(self, tmp_path / "here", local.contents()))
        there = open_pool(self.fresh(tmp_path / "there", local.contents()))
        assert (list(there.ids), there.labels) == (list(here.ids), here.labels)
        assert there.fingerprint == here.fingerprint

    def test_what_goes_missing_is_a_fault_and_no_rejected_image(self, path: Any) -> None:
        pool = replace(open_pool(path), patience=NO_PATIENCE)
        fsspec.filesystem("memory").rm(path.removeprefix("memory:/").rpartition("/made")[0], recursive=True)
        with pytest.raises(self.vanished):
            pool.read(0)

    def test_half_of_it_is_a_sentence_or_fewer_images(self, path: Any) -> None:
        memory, name = fsspec.filesystem("memory"), path.removeprefix("memory:/")
        if memory.isdir(name):
            pytest.skip("a folder has no half")
        body = memory.cat_file(name)
        memory.pipe_file(name, body[: len(body) // 2])
        try:
            pool = open_pool(path)
        except UsageError as error:
            assert str(path) in str(error)
        else:
            assert len(pool) < len(IMAGES)


class TestFolder(Elsewhere, local.TestFolder):
    """One object per image: a store that has one no more says so, and is believed."""

    vanished = RejectedImage
    hostile = Elsewhere.hostile  # a store has no links


class TestImagefolder(Elsewhere, local.TestImagefolder):
    vanished = RejectedImage
    hostile = Elsewhere.hostile


class TestZip(Elsewhere, local.TestZip): ...


class TestWebDataset(Elsewhere, local.TestWebDataset): ...


class TestWebDatasetFolders(Elsewhere, local.TestWebDatasetFolders): ...


class TestWebDatasetShards(Elsewhere, local.TestWebDatasetShards): ...


class OfItsOwnStore:
    """A manifest elsewhere names no file of this machine."""

    outside = False
    vanished = RejectedImage

    def hostile(self, folder: Path, name: str) -> Any:
        """It names an image of this machine, and the same by an address."""
        secret = folder.parent / "secret.png"
        path = self.fresh(folder, local.contents())  # type: ignore[attr-defined]
        rows = ["path", "cat/1.png", str(secret), secret.as_uri(), f"s3://bucket{secret}"]
        fsspec.filesystem("memory").pipe_file(f"{folder}/list.csv", "\n".join(rows).encode())
        assert path.startswith("memory://")
        return f"memory://{str(folder).lstrip('/')}/list.csv"


class TestCsv(OfItsOwnStore, Elsewhere, local.TestCsv): ...


class TestJsonLines(OfItsOwnStore, Elsewhere, local.TestJsonLines): ...


class TestParquetManifest(OfItsOwnStore, Elsewhere, local.TestParquetManifest): ...


class NamesNoFile:
    """Rows that name a file hold no image elsewhere: such files are not read."""

    def hostile(self, folder: Path, name: str) -> Any:
        local.PoolSourceContract.fresh(self, folder, local.contents())  # type: ignore[arg-type]
        cells = [{"bytes": None, "path": name}, {"bytes": None, "path": str(folder.parent / "secret.png")}]
        pq.write_table(pa.table({"image": pa.array(cells, local.IMAGE)}), folder / "pool.parquet")
        return in_memory(folder, folder / "pool.parquet")


class TestHuggingFace(NamesNoFile, Elsewhere, local.TestHuggingFace): ...


class TestHuggingFaceShards(NamesNoFile, Elsewhere, local.TestHuggingFaceShards): ...


def test_every_source_that_opens_addresses_is_held_to_the_contract() -> None:
    held = {cls.source for cls in globals().values() if isinstance(cls, type) and hasattr(cls, "source")}
    assert held == {name for name, module in sources().items() if module.ELSEWHERE}
