"""The contact sheet of a selection, and the label file that waits to be filled in."""

from __future__ import annotations

import base64
import csv
import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import activetune
from activetune import Embeddings, UsageError, embed, open_pool, select
from activetune.cli import run
from activetune.data.images import decode_image
from activetune.data.kinds import ArrayMask, Boxes, Names, Sentences
from activetune.data.labels import Labels
from activetune.features.artefact import save_embeddings
from activetune.features.embedding import EmbedOptions
from activetune.selection.artefact import Selection, save_selection

ONE = EmbedOptions(workers=0, device="cpu", precision="fp32")


def page_of(folder: Path) -> str:
    return (folder / "picks.html").read_text(encoding="utf-8")


def pictures(page: str) -> list[Image.Image]:
    found = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in found]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def embedded(digits: Path, tmp_path: Path) -> Path:
    """Pixels of the digits as features, saved as ``embed`` saves them."""
    pool = open_pool(digits)
    pixels = np.stack([np.asarray(decode_image(pool.read(row)))[..., 0].ravel() for row in range(len(pool))])
    made_from = {"pool": str(digits), "pool_path": str(digits)}
    save_embeddings(Embeddings(pool.ids, pixels.astype(np.float32), None, made_from), tmp_path / "emb")
    return tmp_path / "emb"


def test_known_answers_are_drawn_into_the_pictures(embedded: Path, digits: Path, tmp_path: Path) -> None:
    pool = open_pool(digits)
    items = list(pool.ids)[:4]
    half = np.zeros((8, 8), dtype=np.int32)
    half[:, 4:] = 1
    half[0] = -1
    answers: dict[str, Labels] = {
        "masks": Labels(items, [ArrayMask(half)] * 4, ["ground", "thing"]),
        "boxes": Labels(items, [Boxes.of([[1, 1, 6, 7]], ["thing"])] * 4, ["thing"]),
        "names": Labels(items, [Names.of(["thing"])] * 4, ["thing"]),
        "nothing": Labels(items, [Names.of([])] * 4, ["thing"]),
        "classes": Labels(items, ["thing"] * 4, ["thing"]),
        "sentences": Labels(items, [Sentences(("a thing", "a digit"))] * 4, []),
    }
    select(embedded, budget=8, method="random", out=tmp_path / "sel", candidates=list(pool.ids)[:8], quiet=True)
    plain = pictures(page_of(activetune.contact_sheet(tmp_path / "sel").parent))
    for kind, labels in answers.items():
        drawn = pictures(page_of(activetune.contact_sheet(tmp_path / "sel", labels=labels).parent))
        ranked = rows_of(tmp_path / "sel" / "selection.csv")
        for row, before, after in zip(ranked, plain, drawn, strict=True):
            same = before.size == after.size and np.array_equal(np.asarray(before), np.asarray(after))
            assert same == (row["id"] not in items), kind


def test_select_draws_the_answers_that_it_is_given(digits: Path, embedded: Path, tmp_path: Path) -> None:
    labels = tmp_path / "names.csv"
    labels.write_text("id,labels\n" + "".join(f"{item},thing\n" for item in open_pool(digits).ids), encoding="utf-8")
    words = ["select", str(embedded), "--budget", "3", "--method", "random", "--quiet", "--device", "cpu"]
    assert run([*words, "--out", str(tmp_path / "plain")]) == 0
    assert run([*words, "--labels", str(labels), "--task", "multilabel", "--out", str(tmp_path / "drawn")]) == 0
    sizes = [{image.size for image in pictures(page_of(tmp_path / name))} for name in ("plain", "drawn")]
    assert sizes[0] != sizes[1] and max(max(size) for size in sizes[1]) == 224


def made_elsewhere(count: int = 30) -> Embeddings:
    return Embeddings.from_numpy(np.random.default_rng(0).normal(size=(count, 4)))


# The page ---------------------------------------------------------------------------------------------------------


def test_select_shows_its_picks_and_leaves_a_file_for_their_labels(
    embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sel"
    assert run(["select", str(embedded), "--budget", "12", "--method", "k_means", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    told = printed.out + printed.err
    assert "mean distance of an item to its nearest pick" in told
    assert str(out / "picks.html") in told
    assert str(out / "labels.csv") in told
    picks = rows_of(out / "selection.csv")
    assert rows_of(out / "labels.csv") == [{"id": row["id"], "label": ""} for row in picks]
    page = page_of(out)
    assert len(pictures(page)) == 12
    places = [page.index(f"{rank}. {row['id']}") for rank, row in enumerate(picks, start=1)]
    assert places == sorted(places)
    assert all(row["reason"] in page for row in picks)
    for command in ("label", "finetune", "report"):  # what to do with the picks
        assert f"activetune {command} " in page


def test_the_page_needs_nothing_else_fits_a_phone_and_the_dark(embedded: Path, tmp_path: Path) -> None:
    select(embedded, budget=5, method="random", out=tmp_path / "sel", quiet=True)
    activetune.contact_sheet(tmp_path / "sel")
    page = page_of(tmp_path / "sel")
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script" not in page
    assert 'name="viewport"' in page
    assert "color-scheme: light dark" in page
    assert "overflow-wrap: anywhere" in page
    assert len(page) < 60_000


def test_a_page_is_bounded_and_says_so(embedded: Path, tmp_path: Path) -> None:
    select(embedded, budget=20, method="random", out=tmp_path / "sel", quiet=True)
    activetune.contact_sheet(tmp_path / "sel", most=7)
    page = page_of(tmp_path / "sel")
    assert len(pictures(page)) == 7
    assert "The first 7 of 20 picks" in page


def test_the_images_are_found_from_another_folder(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(digits.parent)
    embed(digits.name, out="emb", options=ONE, quiet=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    select("../emb", budget=4, method="random", out="sel", quiet=True)
    activetune.contact_sheet("sel")
    assert len(pictures(page_of(Path("sel")))) == 4


def test_a_pool_that_moved_costs_no_selection(digits: Path, embedded: Path, tmp_path: Path) -> None:
    moved = digits.rename(tmp_path / "moved")
    out = tmp_path / "sel"
    assert run(["select", str(embedded), "--budget", "4", "--method", "random", "--out", str(out), "--quiet"]) == 0
    assert "is not there" in page_of(out)
    assert not pictures(page_of(out))
    assert len(rows_of(out / "selection.csv")) == 4
    activetune.contact_sheet(out, pool=moved)
    assert len(pictures(page_of(out))) == 4


def test_images_that_went_or_broke_are_told_one_by_one(digits: Path, embedded: Path, tmp_path: Path) -> None:
    selection = select(embedded, budget=4, method="random", out=tmp_path / "sel", quiet=True)
    (digits / selection.ids[0]).unlink()
    (digits / selection.ids[1]).write_bytes(b"\x89PNG\r\n\x1a\n")
    activetune.contact_sheet(tmp_path / "sel")
    page = page_of(tmp_path / "sel")
    assert len(pictures(page)) == 2
    assert "not in the pool any more" in page
    assert "can&#x27;t be shown" in page


def test_features_made_elsewhere_have_no_images(tmp_path: Path) -> None:
    select(made_elsewhere(), budget=3, method="random", out=tmp_path / "sel", quiet=True)
    activetune.contact_sheet(tmp_path / "sel")
    assert "made elsewhere" in page_of(tmp_path / "sel")


def test_names_and_reasons_are_text_and_never_markup(tmp_path: Path) -> None:
    hostile = '<script>alert("1")</script>&.png'
    manifest = {"n": 9, "method": "<b>", "seed": 0, "figures": {"emd": 0.1, "radius": 0.2}, "pool": "<i>'; rm -rf"}
    save_selection(Selection([hostile], [1.0], ["<img onerror=x>"], manifest), tmp_path)
    activetune.contact_sheet(tmp_path)
    page = page_of(tmp_path)
    assert not re.search("<script|<img|<i>|<b>(?!1)", page)
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;.png" in page


def test_report_makes_the_page_again(embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sel"
    select(embedded, budget=3, method="random", out=out, quiet=True)
    assert run(["report", str(out)]) == 0
    assert str(out / "report.html") in capsys.readouterr().out
    assert len(pictures((out / "report.html").read_text(encoding="utf-8"))) >= 3
    assert run(["report", str(out)]) == 2
    assert run(["report", str(out), "--overwrite"]) == 0


def test_a_new_selection_has_a_new_page(embedded: Path, tmp_path: Path) -> None:
    out = tmp_path / "sel"
    typed = ["select", str(embedded), "--method", "random", "--out", str(out), "--quiet"]
    assert run([*typed, "--budget", "3"]) == 0
    before = page_of(out)
    assert run([*typed, "--budget", "3", "--resume"]) == 0
    assert page_of(out) == before
    assert run([*typed, "--budget", "6", "--overwrite"]) == 0
    assert len(pictures(page_of(out))) == 6


def test_a_large_photo_is_decoded_small_and_upright() -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (1200, 2000, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = io.BytesIO()
    photo.save(encoded, "JPEG", exif=exif)
    small = decode_image(encoded.getvalue(), about=128)
    assert small.size == (150, 250)  # an eighth, turned
    assert decode_image(encoded.getvalue()).size == (1200, 2000)


# Labels to fill in ------------------------------------------------------------------------------------------------


def test_the_filled_in_file_trains_a_model(
    digits: Path, embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    selection = select(embedded, budget=24, method="k_means", out=tmp_path / "sel", quiet=True)
    path = tmp_path / "sel" / "labels.csv"
    rows = [(item, item.split("/")[0] if number % 4 else "") for number, item in enumerate(selection.ids)]
    how: dict[str, Any] = {"recipe": "linear_probe", "device": "cpu", "workers": 0}
    with pytest.raises(UsageError, match="24 rows, none of them answered; write each item's class"):
        activetune.finetune(digits, labels=path, out=tmp_path / "none", **how)
    path.write_text("id,label\n" + "".join(f"{item},{name}\n" for item, name in rows))
    model = activetune.finetune(digits, labels=path, out=tmp_path / "model", **how)
    assert set(model.classes) == {name for _, name in rows if name}
    assert "6 of 24 listed items are not answered yet" in capsys.readouterr().err


def test_answers_are_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sel"
    first = select(made_elsewhere(), budget=5, method="random", out=out, quiet=True)
    text = "id,label\n" + "".join(f"{item},\n" for item in first.ids[1:]) + f"{first.ids[0]},cat\n"
    (out / "labels.csv").write_text(text)
    select(made_elsewhere(), budget=9, method="random", seed=1, out=out, overwrite=True)
    assert (out / "labels.csv").read_text() == text
    assert re.search(r"holds 1 answers; \d of the 9 picks are not in it", capsys.readouterr().err)


@pytest.mark.parametrize("text", ["id,label,comment\n3,,look again\n", "id;label\n3;cat\n", "\xff\xfe"])
def test_what_is_not_ours_is_kept(text: str, tmp_path: Path) -> None:
    out = tmp_path / "sel"
    select(made_elsewhere(), budget=5, method="random", out=out, quiet=True)
    (out / "labels.csv").write_bytes(text.encode("latin-1"))
    select(made_elsewhere(), budget=5, method="random", seed=1, out=out, overwrite=True, quiet=True)
    assert (out / "labels.csv").read_bytes() == text.encode("latin-1")


def test_an_unanswered_file_follows_the_picks(tmp_path: Path) -> None:
    out = tmp_path / "sel"
    for seed in (0, 1):
        found = select(made_elsewhere(), budget=5, method="random", seed=seed, out=out, overwrite=True, quiet=True)
        assert [row["id"] for row in rows_of(out / "labels.csv")] == list(found.ids)
    (out / "labels.csv").unlink()
    select(made_elsewhere(), budget=5, method="random", seed=1, out=out, resume=True, quiet=True)
    assert (out / "labels.csv").is_file()


# Images where features are asked for ------------------------------------------------------------------------------


def test_a_folder_of_images_is_to_be_embedded_first(digits: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    shutil.copy(next(digits.rglob("*.png")), flat / "a.png")
    archive = Path(shutil.make_archive(str(tmp_path / "digits"), "zip", digits))
    for pool in (digits, flat, archive):
        assert len(open_pool(pool))
        with pytest.raises(UsageError, match=f"embed first: activetune embed {pool} --out EMB"):
            select(pool, budget=5)
