"""Embedding: what it writes, that it equals a plain loop, survives damage and kills, and reuses only what fits."""

from __future__ import annotations

import copy
import csv
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import activetune
from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.locks import locked
from activetune.data.loading import choose_workers
from activetune.data.opening import open_pool
from activetune.features import cache, computing, embedding
from activetune.features.artefact import Embeddings, load_embeddings, save_items, seal_embeddings
from activetune.features.embedding import EmbedOptions, embed, features_of, take
from activetune.networks.backbones import Backbone
from activetune.selection.images import pool_of
from tests.conftest import write_digits

OPTIONS = EmbedOptions(batch_size=4, workers=0, device="cpu", precision="fp32")
FILES = {"features.npy", "items.parquet", "manifest.json", "rejected.csv"}


@pytest.fixture(scope="module")
def loaded() -> Backbone:
    return activetune.load_backbone("bundled")


@pytest.fixture
def bundled(loaded: Backbone) -> Iterator[Backbone]:
    """The bundled backbone; what a test leaves behind in it does not reach the next one."""
    yield loaded
    loaded.eval()


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """20 real images in ten classes: five batches."""
    return write_digits(tmp_path / "few", 20)


def run(pool: object, backbone: Backbone, out: Path | None = None, **options: object) -> Embeddings:
    options = {"options": OPTIONS, "quiet": True, **options}
    return embed(pool, backbone=backbone, out=out, **options)  # type: ignore[arg-type]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one entry for every embedding that is really computed."""
    calls: list[object] = []
    compute = embedding.compute

    def counting(*arguments: object, **options: object) -> Embeddings | None:
        calls.append(arguments[0])
        return compute(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(embedding, "compute", counting)
    return calls


# What is written --------------------------------------------------------------------------------------------------


def test_the_artefact_has_its_files_and_no_others(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    run(few, bundled, tmp_path / "emb")
    assert names(tmp_path / "emb") == FILES


def test_features_are_float16_one_row_an_image(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    run(few, bundled, tmp_path / "emb")
    features = np.load(tmp_path / "emb" / "features.npy")
    assert features.shape == (20, bundled.num_features)
    assert features.dtype == np.float16
    assert len(np.unique(features, axis=0)) > 15


def test_items_are_ids_in_the_pools_order_with_their_labels(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    run(few, bundled, tmp_path / "emb")
    items = pq.read_table(tmp_path / "emb" / "items.parquet").to_pydict()
    paths = sorted(str(path.relative_to(few)) for path in few.rglob("*.png"))
    assert items == {"id": paths, "label": [path.split("/")[0] for path in paths]}


def test_a_pool_without_labels_has_null_labels(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    made = run(few / "3", bundled, tmp_path / "emb")
    assert made.labels is None
    assert set(pq.read_table(tmp_path / "emb" / "items.parquet").column("label").to_pylist()) == {None}


def test_the_manifest_says_what_the_features_were_made_from(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    run(few, bundled, tmp_path / "emb")
    manifest = json.loads((tmp_path / "emb" / "manifest.json").read_text())
    expected = {
        "kind": "embeddings",
        "backbone": "bundled",
        "architecture": "resnet10t",
        "weights": bundled.fingerprint,
        "pool_fingerprint": open_pool(few).fingerprint,
        "precision": "fp32",
        "dtype": "float16",
        "rejected": 0,
    }
    assert {name: manifest[name] for name in expected} == expected


def plain_loop(folder: Path, backbone: Backbone) -> np.ndarray:
    """One image at a time through the plain timm network, normalised by hand."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (backbone.settings.mean, backbone.settings.std))
    rows = []
    for path in sorted(folder.rglob("*.png"), key=lambda path: str(path.relative_to(folder))):
        pixels = torch.from_numpy(np.asarray(backbone.prepare(Image.open(path).convert("RGB")))).float()[None] / 255
        with torch.inference_mode():
            rows.append(backbone.network((pixels - mean) / std)[0].numpy())
    return np.stack(rows)


def test_features_equal_those_of_a_plain_loop(few: Path, bundled: Backbone) -> None:
    made = run(few, bundled, options=replace(OPTIONS, dtype="float32"))
    assert made.features_ND.dtype == np.float32
    np.testing.assert_allclose(made.features_ND, plain_loop(few, bundled), rtol=1e-3, atol=1e-4)


def test_float16_features_are_the_float32_ones_rounded(few: Path, bundled: Backbone) -> None:
    half = run(few, bundled)
    single = run(few, bundled, options=replace(OPTIONS, dtype="float32"))
    np.testing.assert_array_equal(half.features_ND, single.features_ND.astype(np.float16))


def test_the_batch_size_changes_nothing_that_matters(few: Path, bundled: Backbone) -> None:
    small = run(few, bundled, use_cache=False, options=replace(OPTIONS, batch_size=3))
    large = run(few, bundled, use_cache=False, options=replace(OPTIONS, batch_size=64))
    np.testing.assert_allclose(np.float32(small.features_ND), np.float32(large.features_ND), rtol=2e-3, atol=1e-3)


def test_a_worker_process_gives_the_same_bytes(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    run(few, bundled, tmp_path / "here", use_cache=False)
    run(few, bundled, tmp_path / "there", use_cache=False, options=replace(OPTIONS, workers=1))
    assert (tmp_path / "here" / "features.npy").read_bytes() == (tmp_path / "there" / "features.npy").read_bytes()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not say which cores are usable")
def test_no_more_decoding_processes_than_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert choose_workers(-1, 10_000) == 1


def test_tokens_are_n_x_t_x_d_and_average_to_the_features(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    single = replace(OPTIONS, dtype="float32")
    tokens = run(few, bundled, tmp_path / "tokens", options=replace(single, tokens=True))
    assert tokens.features_ND.shape == (20, 9, bundled.num_features)  # 96 px over a stride of 32
    pooled = run(few, bundled, options=single).features_ND
    np.testing.assert_allclose(tokens.features_ND.mean(axis=1), pooled, rtol=1e-3, atol=1e-4)


def test_without_a_folder_the_features_come_back_in_memory(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    before = names(tmp_path)
    made = run(few, bundled, use_cache=False)
    assert made.features_ND.shape[0] == 20
    assert names(tmp_path) == before


@pytest.mark.parametrize("wrong", [{"dtype": "int8"}, {"batch_size": 0}])
def test_impossible_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        EmbedOptions(**wrong)  # type: ignore[arg-type]


# Images that can't be used ----------------------------------------------------------------------------------------

BROKEN = {"0/aaa.png": b"", "4/aaa.png": b"garbage", "9/zzz.jpg": b"\xff\xd8\xff"}


def break_some(folder: Path) -> Path:
    for name, content in BROKEN.items():
        (folder / name).write_bytes(content)
    return folder


def test_unusable_images_are_listed_with_the_reason(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    made = run(break_some(few), bundled, tmp_path / "emb")
    header, *rows = read_rows(tmp_path / "emb" / "rejected.csv")
    assert header == ["id", "reason"]
    assert {item: reason.split(":")[0] for item, reason in rows} == {
        "0/aaa.png": "empty",
        "4/aaa.png": "corrupt",
        "9/zzz.jpg": "corrupt",
    }
    assert made.manifest["rejected"] == 3


def test_unusable_images_cost_nothing_else(few: Path, bundled: Backbone) -> None:
    alone = run(few, bundled)
    made = run(break_some(few), bundled)
    assert list(made.ids) == list(alone.ids)
    assert made.labels == alone.labels
    np.testing.assert_allclose(np.float32(made.features_ND), np.float32(alone.features_ND), rtol=2e-3, atol=1e-3)


def test_a_first_batch_of_unusable_images_is_survived(few: Path, bundled: Backbone) -> None:
    for number in range(OPTIONS.batch_size):
        (few / "0" / f"{number:02d}.png").write_bytes(b"")
    made = run(few, bundled)
    assert len(made) == 20
    assert np.isfinite(made.features_ND).all()


def test_a_pool_of_unusable_images_is_a_sentence(bundled: Backbone, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "bad").mkdir(exist_ok=True)
        (tmp_path / "bad" / f"{number}.png").write_bytes(b"")
    with pytest.raises(
        ActivetuneError, match=r"none of the 3 images .* can be used; the first: 0\.png: empty: 0 bytes"
    ):
        run(tmp_path / "bad", bundled, tmp_path / "emb")


def features_of_ones(value: float) -> Callable[[Backbone, torch.Tensor], torch.Tensor]:
    return lambda _, images: torch.full((len(images), 4), value)


def test_features_beyond_float16_are_a_sentence(few: Path, bundled: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backbone, "forward", features_of_ones(1e6))
    with pytest.raises(ActivetuneError, match="exceed the range of float16; give --dtype float32"):
        run(few, bundled)
    assert run(few, bundled, options=replace(OPTIONS, dtype="float32")).features_ND.max() == 1e6


def test_features_beyond_float16_are_float32_where_a_recipe_reads_them(
    few: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Backbone, "forward", lambda _, images: 1e6 * (1 + images.flatten(1)[:, :512]))
    pool = open_pool(few)
    labels = {item: f"{number % 2}" for number, item in enumerate(pool.ids)}
    given: dict[str, Any] = {"backbone": "bundled", "device": "cpu", "workers": 0, "quiet": True, "use_cache": False}
    for recipe in ("linear_probe", "pool_probe"):
        model = activetune.finetune(pool, labels=labels, recipe=recipe, out=tmp_path / recipe, **given)
        assert (list(model.classes), (tmp_path / recipe / "model.safetensors").is_file()) == (["0", "1"], True)


def test_features_that_are_not_numbers_are_a_sentence(
    few: Path, bundled: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backbone, "forward", features_of_ones(float("nan")))
    with pytest.raises(ActivetuneError, match="NaN or infinite features"):
        run(few, bundled)


# The cache --------------------------------------------------------------------------------------------------------


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("computed again")


def test_a_second_folder_is_filled_from_the_cache(
    few: Path, bundled: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(few, bundled, tmp_path / "one")
    monkeypatch.setattr(embedding, "compute", refuse)
    run(few, bundled, tmp_path / "two")
    one, two = tree(tmp_path / "one"), tree(tmp_path / "two")
    assert two.keys() == FILES
    assert all(one[name] == two[name] for name in FILES - {"manifest.json"})
    assert load_embeddings(tmp_path / "two").manifest["cache"] == "hit"


def test_the_same_folder_again_is_kept_as_it_is(
    few: Path, bundled: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(few, bundled, tmp_path / "emb")
    before = tree(tmp_path / "emb")
    monkeypatch.setattr(embedding, "compute", refuse)
    assert len(run(few, bundled, tmp_path / "emb")) == 20
    assert tree(tmp_path / "emb") == before


def test_features_in_memory_come_from_the_cache_too(
    few: Path, bundled: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(few, bundled)
    monkeypatch.setattr(embedding, "compute", refuse)
    np.testing.assert_array_equal(run(few, bundled).features_ND, first.features_ND)


def test_without_the_cache_nothing_is_used_or_kept(
    few: Path, bundled: Backbone, tmp_path: Path, computed: list[object]
) -> None:
    run(few, bundled, tmp_path / "one", use_cache=False)
    assert not (tmp_path / "cache").exists()
    run(few, bundled)
    run(few, bundled, tmp_path / "two", use_cache=False)
    assert len(computed) == 3


def test_a_changed_image_is_computed_again(few: Path, bundled: Backbone, computed: list[object]) -> None:
    before = run(few, bundled)
    Image.new("L", (9, 9), 200).save(next(few.rglob("*.png")))
    after = run(few, bundled)
    assert len(computed) == 2
    assert not np.array_equal(before.features_ND, after.features_ND)


def test_other_weights_are_computed_again(few: Path, bundled: Backbone, computed: list[object]) -> None:
    run(few, bundled)
    run(few, activetune.load_backbone("bundled", pretrained=False))
    assert len(computed) == 2


def with_settings(backbone: Backbone, **changes: object) -> Backbone:
    settings = replace(backbone.settings, **changes)  # type: ignore[arg-type]
    return Backbone(backbone.network, backbone.name, backbone.architecture, settings)


@pytest.mark.parametrize("change", [{"interpolation": "bilinear"}, {"mean": (0.5, 0.5, 0.5)}, {"size": (64, 64)}])
def test_other_image_settings_are_computed_again(
    few: Path, bundled: Backbone, computed: list[object], change: dict[str, object]
) -> None:
    run(few, bundled)
    run(few, with_settings(bundled, **change))
    assert len(computed) == 2


@pytest.mark.parametrize("change", [{"dtype": "float32"}, {"tokens": True}, {"precision": "bf16"}])
def test_other_options_that_change_the_features_are_computed_again(
    few: Path, bundled: Backbone, computed: list[object], change: dict[str, object]
) -> None:
    run(few, bundled)
    run(few, bundled, options=replace(OPTIONS, **change))  # type: ignore[arg-type]
    assert len(computed) == 2


def write_manifest_of(few: Path, column: str, prefix: str) -> Path:
    paths = sorted(str(path.relative_to(few)) for path in few.rglob("*.png"))
    lines = [f"path,{column}", *(f"{path},{prefix}{number}" for number, path in enumerate(paths))]
    (few / "list.csv").write_text("\n".join(lines) + "\n")
    return few / "list.csv"


def test_half_copied_entries_of_killed_processes_go(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    left = tmp_path / "cache" / "embeddings" / f"{cache.ADDING}an-entry"
    left.mkdir(parents=True)
    (left / "features.npy").write_bytes(b"half")
    run(few, bundled, tmp_path / "one")
    (entry,) = (tmp_path / "cache" / "embeddings").iterdir()
    assert not entry.name.startswith(cache.ADDING)


def test_labels_are_the_pools_present_ones_on_a_cache_hit(
    few: Path, bundled: Backbone, tmp_path: Path, computed: list[object]
) -> None:
    run(write_manifest_of(few, "label", "old"), bundled, tmp_path / "one")
    found = run(write_manifest_of(few, "label", "new"), bundled, tmp_path / "two")
    assert len(computed) == 1
    assert found.labels == [f"new{number}" for number in range(20)]
    assert load_embeddings(tmp_path / "two").labels == found.labels


def test_labels_are_the_pools_present_ones_in_the_same_folder(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    run(write_manifest_of(few, "label", "old"), bundled, tmp_path / "emb")
    found = run(write_manifest_of(few, "label", "new"), bundled, tmp_path / "emb")
    assert found.labels == [f"new{number}" for number in range(20)]


@pytest.mark.parametrize("kept", ["in the folder", "in the cache", "in memory"])
def test_a_pool_that_has_moved_is_named_where_it_is_now(
    kept: str, few: Path, bundled: Backbone, tmp_path: Path, computed: list[object]
) -> None:
    run(few, bundled, tmp_path / "emb")
    few.rename(tmp_path / "moved")
    out = {"in the folder": tmp_path / "emb", "in the cache": tmp_path / "other", "in memory": None}[kept]
    found = run(tmp_path / "moved", bundled, out)
    assert len(computed) == 1
    for embeddings in (found, *([] if out is None else [load_embeddings(out)])):
        assert embeddings.manifest["pool"] == embeddings.manifest["pool_path"] == str(tmp_path / "moved")
        assert len(pool_of(embeddings)) == 20


def test_other_ids_for_the_same_images_are_the_ids_returned(few: Path, bundled: Backbone) -> None:
    run(write_manifest_of(few, "id", "old"), bundled)
    found = run(write_manifest_of(few, "id", "new"), bundled)
    assert list(found.ids) == [f"new{number}" for number in range(20)]


def test_a_cache_that_can_t_be_written_costs_only_a_note(
    few: Path, bundled: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ACTIVETUNE_CACHE", str(tmp_path / "file"))
    run(few, bundled, tmp_path / "emb")
    assert names(tmp_path / "emb") == FILES
    assert "can't be written" in capsys.readouterr().err


def cut_features(entry: Path) -> None:
    (entry / "features.npy").write_bytes(b"damaged")


def lengthen_rejects(entry: Path) -> None:
    with (entry / "rejected.csv").open("a") as file:
        file.write("0/0000.png,corrupt: so they say\n")


def empty_manifest(entry: Path) -> None:
    (entry / "manifest.json").write_text("")


def no_rows(entry: Path) -> None:
    """An entry that is sound in itself, but holds no image."""
    np.save(entry / "features.npy", np.empty((0, 512), dtype=np.float16))
    save_items(entry / "items.parquet", [], None)
    (entry / "rejected.csv").write_text("id,reason\n")
    seal_embeddings(entry, {**json.loads((entry / "manifest.json").read_text()), "images": 0})


@pytest.mark.parametrize("damage", [cut_features, lengthen_rejects, empty_manifest, no_rows])
def test_a_damaged_cache_entry_is_computed_again_with_a_note(
    few: Path,
    bundled: Backbone,
    tmp_path: Path,
    computed: list[object],
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
) -> None:
    run(few, bundled)
    (entry,) = (tmp_path / "cache" / "embeddings").iterdir()
    damage(entry)
    assert len(run(few, bundled, tmp_path / "emb", quiet=False)) == 20
    assert "the cached features are damaged" in capsys.readouterr().err
    assert len(computed) == 2
    (entry,) = (tmp_path / "cache" / "embeddings").iterdir()  # repaired
    assert len(run(few, bundled, tmp_path / "other")) == 20
    assert len(computed) == 2


def test_a_cache_entry_that_was_dropped_in_part_is_made_anew(
    few: Path, bundled: Backbone, tmp_path: Path, computed: list[object]
) -> None:
    run(few, bundled)
    (entry,) = (tmp_path / "cache" / "embeddings").iterdir()
    (entry / "manifest.json").unlink()  # as a process leaves it that is killed while it drops the entry
    for _ in range(2):
        run(few, bundled)
    assert len(computed) == 2 and names(entry) == FILES


def test_a_cache_entry_that_another_run_writes_is_left_to_it(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    first = run(few, bundled)
    (entry,) = (tmp_path / "cache" / "embeddings").iterdir()  # no lock is left behind
    cache.drop(entry)
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(entry, folder=False):
            taken.set()
            done.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    assert taken.wait(60)
    try:
        np.testing.assert_array_equal(run(few, bundled, tmp_path / "emb").features_ND, first.features_ND)
        assert not entry.exists()
    finally:
        done.set()
        other.join()
    run(few, bundled, tmp_path / "again", use_cache=True)
    assert entry.exists()


def test_the_cache_takes_only_the_artefacts_own_files(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    (tmp_path / "emb").mkdir()
    (tmp_path / "emb" / "thesis.tex").write_text("years of work")
    run(few, bundled, tmp_path / "emb", overwrite=True)
    (entry,) = (tmp_path / "cache" / "embeddings").iterdir()
    assert names(entry) == FILES


def test_features_of_some_items_come_out_of_the_whole_pools(
    few: Path, bundled: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(few, bundled)
    monkeypatch.setattr(embedding, "compute", refuse)
    wanted = [whole.ids[15], whole.ids[2]]
    found = features_of(open_pool(few), wanted, backbone=bundled, options=OPTIONS, quiet=True)
    assert list(found.ids) == wanted
    np.testing.assert_array_equal(found.features_ND, whole.features_ND[[15, 2]])


def test_features_of_some_items_are_computed_for_these_alone(
    few: Path, bundled: Backbone, computed: list[object]
) -> None:
    pool = open_pool(few)
    found = features_of(pool, pool.ids[3:5], backbone=bundled, options=OPTIONS, quiet=True)
    assert list(found.ids) == list(pool.ids[3:5])
    assert [len(made) for made in computed] == [2]  # type: ignore[arg-type]


def test_taken_embeddings_keep_ids_features_and_labels_together() -> None:
    whole = Embeddings.from_numpy(np.arange(8.0).reshape(4, 2), ["a", "b", "c", "d"], ["x", "y", None, "z"])
    part = take(whole, ["d", "b"])
    assert (list(part.ids), part.labels) == (["d", "b"], ["z", "y"])
    np.testing.assert_array_equal(part.features_ND, [[6, 7], [2, 3]])


def test_taken_embeddings_have_a_fingerprint_of_their_own(few: Path, bundled: Backbone) -> None:
    whole = run(few, bundled)
    prints = {
        embeddings.fingerprint for embeddings in (whole, take(whole, whole.ids[:5]), take(whole, whole.ids[5:10]))
    }
    assert len(prints) == 3


# Folders that hold something --------------------------------------------------------------------------------------


def test_embeddings_of_another_pool_are_not_replaced_unasked(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    run(few, bundled, tmp_path / "emb")
    before = tree(tmp_path / "emb")
    with pytest.raises(UsageError, match=r"another pool, backbone or transform .*nothing was written: .*--overwrite"):
        run(few / "3", bundled, tmp_path / "emb")
    assert tree(tmp_path / "emb") == before


def test_overwrite_replaces_them(few: Path, bundled: Backbone, tmp_path: Path) -> None:
    run(few, bundled, tmp_path / "emb")
    made = run(few / "3", bundled, tmp_path / "emb", overwrite=True)
    assert len(load_embeddings(tmp_path / "emb")) == len(made) < 20


def test_a_folder_with_other_things_is_refused_before_any_work(
    few: Path, bundled: Backbone, tmp_path: Path, computed: list[object]
) -> None:
    (tmp_path / "emb").mkdir()
    (tmp_path / "emb" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is not empty"):
        run(few, bundled, tmp_path / "emb")
    assert names(tmp_path / "emb") == {"thesis.tex"}
    assert computed == []


# Runs that were cut off -------------------------------------------------------------------------------------------


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make the next embedding stop, as by Ctrl-C, when its n-th batch is to be computed; 0 lets it run."""
    forward = computing._forward

    def at(batch: int) -> None:
        left = iter(range(batch - 1))

        def stopping(*arguments: object) -> np.ndarray:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return forward(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(computing, "_forward", stopping if batch else forward)

    return at


@pytest.fixture
def whole(few: Path, bundled: Backbone, tmp_path: Path) -> bytes:
    """``features.npy`` of a run that nothing disturbed."""
    run(few, bundled, tmp_path / "undisturbed", use_cache=False)
    return (tmp_path / "undisturbed" / "features.npy").read_bytes()


def partial_of(folder: Path) -> Path:
    """The features of the one shard of an unfinished run."""
    return folder / ".unfinished" / "000000" / "features.partial"


def cut_off(pool: Path, backbone: Backbone, out: Path, interrupt: Callable[[int], None], batch: int) -> None:
    interrupt(batch)
    with pytest.raises(KeyboardInterrupt):
        run(pool, backbone, out)
    interrupt(0)
    assert not (out / "manifest.json").exists()


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_resumed_run_gives_the_same_bytes(
    few: Path, bundled: Backbone, tmp_path: Path, whole: bytes, interrupt: Callable[[int], None], batch: int
) -> None:
    cut_off(few, bundled, tmp_path / "emb", interrupt, batch)
    run(few, bundled, tmp_path / "emb", resume=True)
    assert (tmp_path / "emb" / "features.npy").read_bytes() == whole
    assert names(tmp_path / "emb") == FILES


def test_a_resumed_run_computes_only_what_is_missing(
    few: Path, bundled: Backbone, tmp_path: Path, interrupt: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(few, bundled, tmp_path / "emb", interrupt, 4)
    forward, batches = computing._forward, []

    def counting(*arguments: object) -> np.ndarray:
        batches.append(arguments)
        return forward(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(computing, "_forward", counting)
    run(few, bundled, tmp_path / "emb", resume=True)
    assert len(batches) == 2


def test_a_run_may_be_cut_off_twice(
    few: Path, bundled: Backbone, tmp_path: Path, whole: bytes, interrupt: Callable[[int], None]
) -> None:
    cut_off(few, bundled, tmp_path / "emb", interrupt, 2)
    interrupt(2)
    with pytest.raises(KeyboardInterrupt):
        run(few, bundled, tmp_path / "emb", resume=True)
    interrupt(0)
    run(few, bundled, tmp_path / "emb", resume=True)
    assert (tmp_path / "emb" / "features.npy").read_bytes() == whole


@pytest.mark.parametrize("torn", [1, 511, 5000])
def test_a_torn_write_at_the_end_is_cut_away(
    few: Path, bundled: Backbone, tmp_path: Path, whole: bytes, interrupt: Callable[[int], None], torn: int
) -> None:
    cut_off(few, bundled, tmp_path / "emb", interrupt, 3)
    with partial_of(tmp_path / "emb").open("ab") as file:
        file.write(b"\xff" * torn)
    run(few, bundled, tmp_path / "emb", resume=True)
    assert (tmp_path / "emb" / "features.npy").read_bytes() == whole


def test_rows_that_never_reached_the_disk_are_not_made_up(
    few: Path, bundled: Backbone, tmp_path: Path, interrupt: Callable[[int], None]
) -> None:
    cut_off(few, bundled, tmp_path / "emb", interrupt, 4)
    partial = partial_of(tmp_path / "emb")
    partial.write_bytes(partial.read_bytes()[:-3000])
    try:
        made = run(few, bundled, tmp_path / "emb", resume=True)
    except ActivetuneError:
        return  # refusing is an answer too
    assert np.abs(made.features_ND).sum(axis=1).min() > 0


def test_rejected_images_survive_the_resumption(
    few: Path, bundled: Backbone, tmp_path: Path, interrupt: Callable[[int], None]
) -> None:
    run(break_some(few), bundled, tmp_path / "undisturbed", use_cache=False)
    cut_off(few, bundled, tmp_path / "emb", interrupt, 3)
    run(few, bundled, tmp_path / "emb", resume=True)
    undisturbed, resumed = tree(tmp_path / "undisturbed"), tree(tmp_path / "emb")
    assert all(resumed[name] == undisturbed[name] for name in FILES - {"manifest.json"})


def test_a_resumed_run_keeps_its_batches_whatever_size_is_given(
    few: Path, bundled: Backbone, tmp_path: Path, whole: bytes, interrupt: Callable[[int], None]
) -> None:
    cut_off(few, bundled, tmp_path / "emb", interrupt, 3)
    run(few, bundled, tmp_path / "emb", resume=True, options=replace(OPTIONS, batch_size=32))
    assert (tmp_path / "emb" / "features.npy").read_bytes() == whole


def test_tokens_resume_too(few: Path, bundled: Backbone, tmp_path: Path, interrupt: Callable[[int], None]) -> None:
    options = replace(OPTIONS, tokens=True)
    run(few, bundled, tmp_path / "undisturbed", options=options)
    interrupt(3)
    with pytest.raises(KeyboardInterrupt):
        run(few, bundled, tmp_path / "emb", options=options)
    interrupt(0)
    run(few, bundled, tmp_path / "emb", options=options, resume=True)
    assert tree(tmp_path / "emb")["features.npy"] == tree(tmp_path / "undisturbed")["features.npy"]


def test_resuming_with_another_backbone_is_refused_and_loses_nothing(
    few: Path, bundled: Backbone, tmp_path: Path, interrupt: Callable[[int], None]
) -> None:
    cut_off(few, bundled, tmp_path / "emb", interrupt, 3)
    before = tree(tmp_path / "emb")
    with pytest.raises(UsageError, match="unfinished embedding of another pool, backbone or transform"):
        run(few, with_settings(bundled, crop_pct=0.5), tmp_path / "emb", resume=True)
    assert tree(tmp_path / "emb") == before


def test_an_unfinished_run_is_not_replaced_unasked(
    few: Path, bundled: Backbone, tmp_path: Path, interrupt: Callable[[int], None]
) -> None:
    cut_off(few, bundled, tmp_path / "emb", interrupt, 3)
    before = tree(tmp_path / "emb")
    with pytest.raises(UsageError, match="unfinished embedding; go on with --resume or start again with --overwrite"):
        run(few, bundled, tmp_path / "emb")
    assert tree(tmp_path / "emb") == before


def test_overwrite_starts_an_unfinished_run_again(
    few: Path, bundled: Backbone, tmp_path: Path, whole: bytes, interrupt: Callable[[int], None]
) -> None:
    cut_off(few, bundled, tmp_path / "emb", interrupt, 3)
    run(few, bundled, tmp_path / "emb", overwrite=True)
    assert (tmp_path / "emb" / "features.npy").read_bytes() == whole
    assert names(tmp_path / "emb") == FILES


def test_an_unfinished_run_is_not_loaded(
    few: Path, bundled: Backbone, tmp_path: Path, interrupt: Callable[[int], None]
) -> None:
    cut_off(few, bundled, tmp_path / "emb", interrupt, 3)
    with pytest.raises(UsageError, match=r"no manifest\.json"):
        load_embeddings(tmp_path / "emb")


def test_resume_of_a_finished_run_keeps_it(
    few: Path, bundled: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(few, bundled, tmp_path / "emb")
    before = tree(tmp_path / "emb")
    monkeypatch.setattr(embedding, "compute", refuse)
    run(few, bundled, tmp_path / "emb", resume=True)
    assert tree(tmp_path / "emb") == before


def test_a_cut_off_run_that_the_cache_finishes_leaves_nothing_behind(
    few: Path, bundled: Backbone, tmp_path: Path, interrupt: Callable[[int], None]
) -> None:
    cut_off(few, bundled, tmp_path / "emb", interrupt, 3)
    run(few, bundled, tmp_path / "other")
    run(few, bundled, tmp_path / "emb", resume=True)
    assert names(tmp_path / "emb") == FILES


def test_a_run_cut_off_while_it_is_sealed_can_be_resumed(
    few: Path, bundled: Backbone, tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(computing, "seal_embeddings", killed)
        run(few, bundled, tmp_path / "emb")
    run(few, bundled, tmp_path / "emb", resume=True)
    assert (tmp_path / "emb" / "features.npy").read_bytes() == whole


KILLED = """
import os, signal, sys
from activetune.features import computing
from activetune.cli import main

forward, left = computing._forward, iter(range(3))
computing.compute.__kwdefaults__["save_every"] = float(sys.argv[1])

def dying(*arguments):
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return forward(*arguments)

computing._forward = dying
main(sys.argv[2:])
"""


def kill_in_fourth_batch(arguments: list[str], save_every: str) -> None:
    command = [sys.executable, "-c", KILLED, save_every, *arguments]
    ended = subprocess.run(command, check=False)
    assert ended.returncode == -signal.SIGKILL


def embed_arguments(pool: Path, out: Path) -> list[str]:
    options = "--workers 0 --device cpu --precision fp32 --batch-size 4 --quiet"
    return ["embed", str(pool), "--out", str(out), *options.split()]


@pytest.mark.slow
def test_a_killed_process_is_resumed_to_the_same_bytes(few: Path, tmp_path: Path, whole: bytes) -> None:
    from activetune.cli import run as run_command

    arguments = embed_arguments(few, tmp_path / "emb")
    kill_in_fourth_batch(arguments, "0")
    assert json.loads(partial_of(tmp_path / "emb").with_name("progress.json").read_text())["rows"] == 12
    assert run_command([*arguments, "--resume"]) == 0
    assert (tmp_path / "emb" / "features.npy").read_bytes() == whole


@pytest.mark.slow
def test_a_process_killed_before_its_first_save_can_be_resumed(few: Path, tmp_path: Path, whole: bytes) -> None:
    from activetune.cli import run as run_command

    arguments = embed_arguments(few, tmp_path / "emb")
    kill_in_fourth_batch(arguments, "1e9")
    assert run_command([*arguments, "--resume"]) == 0
    assert (tmp_path / "emb" / "features.npy").read_bytes() == whole


def test_embedding_leaves_the_backbone_as_it_was(few: Path, bundled: Backbone) -> None:
    before = copy.deepcopy(bundled.network.state_dict())
    run(few, bundled, use_cache=False)
    after = bundled.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
