"""The picks of a selection written out as image files."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import activetune
from activetune import (
    ActivetuneError,
    Embeddings,
    Selection,
    UsageError,
    load_selection,
    open_pool,
    save_images,
    select,
)
from activetune.base.tables import read_table
from activetune.cli import run
from activetune.data.labels import labels_of


def picture(shade: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 5), (shade, 0, 0)).save(file, kind)
    return file.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number, name in enumerate(("cat/1.png", "cat/2.JPG", "dog/1.png", "dog/odd", "eel/ü 3.webp")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        kind = {"JPG": "JPEG", "webp": "WEBP"}.get(name.rpartition(".")[2], "PNG")
        (folder / name).write_bytes(picture(40 * number, kind))
    return folder


def picks_of(ids: list[str]) -> Selection:
    return Selection(ids, [1.0] * len(ids), ["" for _ in ids], {})


def test_image_files_are_copied_byte_by_byte_under_names_of_their_own(photos: Path, tmp_path: Path) -> None:
    pool = open_pool(photos)
    order = [3, 0, 4, 2, 1]
    written = save_images(picks_of([pool.ids[row] for row in order]), out=tmp_path / "out", pool=pool)
    assert [path.read_bytes() for path in written] == [pool.read(row) for row in order]
    assert len({path.name.lower() for path in written}) == 5
    assert all(path.parent == tmp_path / "out" / "images" for path in written)
    assert sorted(path.suffix for path in written) == [".JPG", ".png", ".png", ".png", ".webp"]
    again = open_pool(tmp_path / "out" / "images.csv")
    assert list(again.ids) == [pool.ids[row] for row in order]
    assert list(again.labels or ()) == ["dog", "cat", "eel", "dog", "cat"]
    assert [again.read(row) for row in range(5)] == [pool.read(row) for row in order]


def test_no_id_leads_out_of_the_folder(photos: Path, tmp_path: Path) -> None:
    ids = ["../../evil.png", "/tmp/evil.png", "a/../b.png", "..", "a\\b.png", "con:1.png", "x" * 300 + ".png"]
    with (photos / "list.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "id"], *(["cat/1.png", item] for item in ids)])
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    written = save_images(picks_of(ids), out=tmp_path / "out", pool=photos / "list.csv")
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert set(written) <= made
    assert all(path.is_relative_to(tmp_path / "out") for path in made)
    assert len(set(written)) == len(ids)
    assert list(open_pool(tmp_path / "out" / "images.csv").ids) == ids


def test_nothing_is_overwritten_unless_it_is_asked_for_and_then_only_what_is_its_own(
    photos: Path, tmp_path: Path
) -> None:
    pool, out = open_pool(photos), tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        save_images(picks_of(["cat/1.png"]), out=out, pool=pool)
    save_images(picks_of(["cat/1.png"]), out=out, pool=pool, overwrite=True)
    with pytest.raises(UsageError, match="not empty"):
        save_images(picks_of(["dog/1.png"]), out=out, pool=pool)
    written = save_images(picks_of(["dog/1.png"]), out=out, pool=pool, overwrite=True)
    assert list((out / "images").iterdir()) == written
    assert (out / "mine.txt").read_text() == "x"
    times = [path.stat().st_mtime_ns for path in written]
    assert save_images(picks_of(["dog/1.png"]), out=out, pool=pool, resume=True) == written
    assert [path.stat().st_mtime_ns for path in written] == times
    with pytest.raises(UsageError, match="not empty"):
        save_images(picks_of(["cat/2.JPG"]), out=out, pool=pool, resume=True)


def test_a_folder_of_another_kind_is_left_alone(photos: Path, tmp_path: Path) -> None:
    features = Embeddings.from_numpy(np.eye(5), list(open_pool(photos).ids))
    select(features, budget=2, method="random", out=tmp_path / "sel")
    with pytest.raises(UsageError, match="holds 'selection', where 'images' is expected"):
        save_images(tmp_path / "sel", out=tmp_path / "sel", pool=photos, overwrite=True)
    assert len(load_selection(tmp_path / "sel")) == 2


def test_what_is_missing_is_a_sentence(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1 of 2 items are not in .*: 'fox/1.png'"):
        save_images(picks_of(["cat/1.png", "fox/1.png"]), out=tmp_path / "out", pool=photos)
    with pytest.raises(UsageError, match="the features were made elsewhere"):
        save_images(picks_of(["cat/1.png"]), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    pool = open_pool(photos)
    (photos / "cat" / "1.png").write_bytes(b"")
    with pytest.raises(ActivetuneError, match=r"cat/1.png of .* can't be decoded \(empty"):
        save_images(picks_of(["cat/2.JPG", "cat/1.png"]), out=tmp_path / "out", pool=pool)
    written = save_images(picks_of(["cat/2.JPG"]), out=tmp_path / "out", pool=pool)  # what was cut off is replaced
    assert list((tmp_path / "out" / "images").iterdir()) == written


def test_the_audit_lies_beside_the_picks_and_is_in_their_pool(photos: Path, tmp_path: Path) -> None:
    pool, out = open_pool(photos), tmp_path / "out"
    ids = list(pool.ids)
    chosen = replace(picks_of(ids[:2]), audit=ids[2:4])
    written = save_images(chosen, out=out, pool=pool)
    assert [path.parent.name for path in written] == ["images", "images", "audit", "audit"]
    assert [path.read_bytes() for path in written] == [pool.read(row) for row in range(4)]
    assert read_table(out / "images.csv")["rank"] == ["1", "2", "", ""]
    assert list(open_pool(out / "images.csv").ids) == chosen.to_label
    assert len(labels_of(dict.fromkeys(chosen.to_label, "cat"), open_pool(out / "images.csv"))) == 4
    assert save_images(chosen, out=out, pool=pool, resume=True) == written
    with pytest.raises(UsageError, match="not empty"):
        save_images(replace(picks_of(ids[:3]), audit=ids[3:4]), out=out, pool=pool, resume=True)
    save_images(picks_of(ids[:1]), out=out, pool=pool, overwrite=True)
    assert not (out / "audit").exists()
    with pytest.raises(UsageError, match=r"1 of 3 items are not in .*: 'fox/1.png'"):
        save_images(replace(chosen, audit=["fox/1.png"]), out=tmp_path / "other", pool=pool)


def test_select_writes_them_on_the_command_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    activetune.embed(photos, out=tmp_path / "emb", use_cache=False, quiet=True)
    line = ["select", str(tmp_path / "emb"), "--budget", "2", "--method", "every_nth", "--out", str(tmp_path / "sel")]
    assert run([*line, "--images", str(tmp_path / "picked")]) == 0
    assert f"{tmp_path / 'picked' / 'images.csv'}: 2 images" in capsys.readouterr().out
    picks = load_selection(tmp_path / "sel").ids
    assert list(open_pool(tmp_path / "picked" / "images.csv").ids) == list(picks)
    for folder in ("picked", "picked/images"):
        with pytest.raises(
            UsageError, match=r"give the pool .*picked/images\.csv, which has the images under these ids"
        ):
            labels_of({picks[0]: "cat"}, open_pool(tmp_path / folder))
    assert run([*line[:-1], str(tmp_path / "sel2"), "--audit", "2", "--images", str(tmp_path / "both")]) == 0
    assert f"{tmp_path / 'both' / 'images.csv'}: 4 images, 2 of them random" in capsys.readouterr().out
    assert run([*line, "--resume", "--images", str(tmp_path / "sel")]) == 2  # the selection's own folder
    assert "give the picks' images a folder of their own" in capsys.readouterr().err
