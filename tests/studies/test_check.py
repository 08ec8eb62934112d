"""What is wrong with a pool is found, and what is only unusual in the pool as a whole is not."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import activetune
from activetune.base.config import field_defaults
from activetune.base.errors import UsageError
from activetune.base.tables import read_table
from activetune.cli import run
from activetune.studies.check import content
from activetune.studies.check.checks.blurred import blur
from activetune.studies.check.finding import Check, checks
from activetune.studies.check.given import Given
from activetune.studies.check.picture import Picture
from tests.conftest import write_digits
from tests.studies.planted import FAULTS, plant, tiles

COLUMNS = ["id", "kind", "value", "threshold", "other", "exclude", "why"]


def checked(pool: Path, out: Path, **options: Any) -> activetune.Checked:
    return activetune.check(pool, out=out, **{"workers": 0, "quiet": True, **options})


def found(out: Path, kind: str) -> dict[str, dict[str, str]]:
    """The findings of a kind by id."""
    columns = read_table(out / "findings.csv")
    assert list(columns) == COLUMNS
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return {row["id"]: row for row in rows if row["kind"] == kind}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, str]]:
    """A pool with faults, its check, and which image has which."""
    place = tmp_path_factory.mktemp("planted")
    faults = plant(place / "pool")
    checked(place / "pool", place / "out", use_cache=False)
    return place / "pool", place / "out", faults


# Planted faults ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*FAULTS, "unreadable"])
def test_a_planted_fault_is_found_and_told_with_its_threshold(planted: Any, kind: str) -> None:
    _, out, faults = planted
    finding = found(out, kind)[faults[kind]]
    assert finding["why"]
    if finding["value"]:
        assert finding["threshold"]


def test_good_images_have_no_finding(planted: Any) -> None:
    _, out, _ = planted
    assert [item for item in read_table(out / "findings.csv")["id"] if item.startswith("good")] == []


def test_of_duplicates_one_stays(planted: Any) -> None:
    _, out, faults = planted
    assert found(out, "exact_duplicate")[faults["exact_duplicate"]]["other"] == "good_09.png"
    assert found(out, "near_duplicate")[faults["near_duplicate"]]["other"] == "good_14.png"
    assert not {"good_09.png", "good_14.png"} & set(read_table(out / "exclude.csv")["id"])


def test_the_page_shows_every_kind_that_was_found(planted: Any) -> None:
    _, out, _ = planted
    page = (out / "report.html").read_text()
    assert page.count("data:image/jpeg") >= len(FAULTS)
    for title in ("Exact duplicates", "Blurred images", "Blank images", "Unreadable images"):
        assert f"{title}: 1" in page or f"{title}: 2" in page
    assert "http://" not in page and "https://" not in page


def test_the_report_is_made_again_without_the_pool(planted: Any, tmp_path: Path) -> None:
    pool, _, _ = planted
    shutil.copytree(pool, tmp_path / "pool")
    checked(tmp_path / "pool", tmp_path / "out")
    shutil.rmtree(tmp_path / "pool")
    assert run(["report", str(tmp_path / "out"), "--overwrite"]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "can&#x27;t be shown" in page and "data:image" not in page


def test_select_leaves_out_what_exclude_lists(planted: Any, tmp_path: Path) -> None:
    pool, out, _ = planted
    ids = sorted(path.name for path in pool.iterdir() if path.suffix == ".png")
    features = activetune.Embeddings.from_numpy(np.random.default_rng(0).normal(size=(len(ids), 4)), ids)
    excluded = set(read_table(out / "exclude.csv")["id"])
    picks = activetune.select(features, budget=len(ids) - len(excluded), method="random", exclude=out / "exclude.csv")
    assert excluded and set(picks.ids) == set(ids) - excluded


# The pool's own way -----------------------------------------------------------------------------------------------


def test_digits_on_black_are_neither_dark_nor_blank_nor_grey(digits: Path, tmp_path: Path) -> None:
    summary = {row["kind"]: row for row in checked(digits, tmp_path / "out").summary}
    assert summary["grey"]["remark"].startswith("120 of 120 images are grey")
    assert [
        kind
        for kind in ("dark", "bright", "blurred", "blank", "grey", "odd_size", "odd_aspect")
        if summary[kind]["findings"]
    ] == []


def test_a_dark_pool_is_dark_on_purpose(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    for number, tile in enumerate(tiles()[:10]):
        tile.point(lambda value: value // 8).save(tmp_path / "pool" / f"{number}.png")
    dark = next(row for row in checked(tmp_path / "pool", tmp_path / "out").summary if row["kind"] == "dark")
    assert dark["findings"] == 0 and "10 of 10 images are dark" in dark["remark"]


def test_frames_of_a_video_are_told_as_such_and_one_per_scene_stays(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    for scene, tile in enumerate(tiles()[:2]):
        for frame in range(5):
            tile.point(lambda value, frame=frame: min(255, value + frame)).save(
                tmp_path / "pool" / f"clip_{5 * scene + frame:03d}.png"
            )
    near = next(row for row in checked(tmp_path / "pool", tmp_path / "out").summary if row["kind"] == "near_duplicate")
    assert near["findings"] == 8 and near["remark"].startswith("8 follow what they are like")
    assert set(found(tmp_path / "out", "near_duplicate")).isdisjoint({"clip_000.png", "clip_005.png"})


# The test set, labels, features -----------------------------------------------------------------------------------


def test_test_images_are_found_in_the_pool_in_every_disguise(tmp_path: Path) -> None:
    pool, test = tmp_path / "pool", tmp_path / "test"
    pool.mkdir(), test.mkdir()
    good = tiles()
    for number, tile in enumerate(good[:12]):
        tile.save(pool / f"{number}.png")
    for number, tile in enumerate(good[12:20]):
        tile.save(test / f"own_{number}.png")
    good[3].save(test / "same.bmp")
    good[5].save(test / "compressed.jpg", quality=40)
    ImageOps.mirror(good[7]).save(test / "mirrored.png")
    (test / "damaged.png").write_bytes(b"none")
    summary = {row["kind"]: row for row in checked(pool, tmp_path / "out", test=test).summary}
    others = {item: row["other"] for item, row in found(tmp_path / "out", "in_test").items()}
    assert others == {"3.png": "same.bmp", "5.png": "compressed.jpg", "7.png": "mirrored.png"}
    remark = summary["in_test"]["remark"]
    assert remark.startswith("3 of 11 test images (27.27 %) lie in the pool, 1 of them pixel")
    assert remark.endswith("1 of 12 test images can't be read, and were not looked for")
    assert set(read_table(tmp_path / "out" / "exclude.csv")["id"]) == set(others)


def test_class_names_and_rare_classes(tmp_path: Path) -> None:
    for number, (name, tile) in enumerate(zip(["rabbit"] * 4 + ["rabit"] * 2 + ["owl"], tiles(), strict=False)):
        (tmp_path / "pool" / name).mkdir(parents=True, exist_ok=True)
        tile.save(tmp_path / "pool" / name / f"{number}.png")
    checked(tmp_path / "pool", tmp_path / "out")
    assert list(found(tmp_path / "out", "rare_class")) == ["owl/6.png"]
    near = found(tmp_path / "out", "near_classes")
    assert list(near) == ["rabit/4.png"] and "'rabit' (2 images) is nearly 'rabbit' (4)" in near["rabit/4.png"]["why"]


def test_copies_with_different_labels_are_told(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pool" / name).mkdir(parents=True)
        tiles()[0].save(tmp_path / "pool" / name / "1.png")
    checked(tmp_path / "pool", tmp_path / "out")
    why = found(tmp_path / "out", "exact_duplicate")["dog/1.png"]["why"]
    assert why == "the same file as cat/1.png; their labels differ: 'dog' and 'cat'"


def test_features_find_what_looks_different(tmp_path: Path) -> None:
    pool, test = tmp_path / "pool", tmp_path / "test"
    pool.mkdir(), test.mkdir()
    for number, tile in enumerate(tiles()[:6]):
        tile.save((pool if number < 4 else test) / f"{number}.png")
    features = np.eye(4)[[0, 1, 2, 1]] + 0.01  # 1 and 3 are alike
    options = {
        "embeddings": activetune.Embeddings.from_numpy(features, [f"{number}.png" for number in range(4)]),
        "test": test,
        "test_embeddings": activetune.Embeddings.from_numpy(np.eye(4)[[0, 3]], ["4.png", "5.png"]),
    }
    checked(pool, tmp_path / "out", **options)
    assert {item: row["other"] for item, row in found(tmp_path / "out", "near_duplicate").items()} == {"3.png": "1.png"}
    assert {item: row["other"] for item, row in found(tmp_path / "out", "in_test").items()} == {"0.png": "4.png"}


# Choices and refusals ---------------------------------------------------------------------------------------------


def test_checks_settings_and_drop_are_chosen_on_the_command_line(planted: Any, tmp_path: Path, capsys: Any) -> None:
    pool, _, faults = planted
    out = tmp_path / "out"
    line = ["check", str(pool), "--out", str(out), "--workers", "0", "--quiet"]
    assert run([*line, "--checks", "dark,grey", "--drop", "dark", "--set", "dark.below=0.05"]) == 0
    assert set(read_table(out / "findings.csv")["kind"]) == {"grey"}  # it is dark at 0.11
    assert read_table(out / "exclude.csv") == {"id": [], "kind": [], "other": [], "why": []}
    assert "0 of 35 images" in capsys.readouterr().out
    assert run([*line, "--checks", "dark,grey", "--drop", "dark", "--overwrite"]) == 0
    assert read_table(out / "exclude.csv")["id"] == [faults["dark"]]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"checks": ["darkness"]}, "unknown check 'darkness'"),
        ({"checks": ["dark", "dark"]}, "checks must be distinct; repeated: 'dark'"),
        ({"settings": {"dark.under": 0.1}}, "check dark has no setting 'under'; did you mean"),
        ({"settings": {"below": 0.1}}, "names no check"),
        ({"settings": {"dark.below": 3}}, "below can't be 3.0; allowed: 0 to 1"),
        ({"checks": ["dark"], "settings": {"grey.below": 0.1}}, "is of a check that is not made"),
        ({"drop": ["unreadable"]}, "drop can't hold 'unreadable'"),
        ({"device": "cuda"}, "works on the processor alone"),
        ({"seed": 1}, "draws nothing at random"),
        ({"weights": "w.pth"}, "without the backbone"),
        ({"backbone": "bundled", "embeddings": "emb"}, "give one of the two"),
        ({"test_embeddings": "emb"}, "give --test and --embeddings, too"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_read(
    digits: Path, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError) as refused:
        checked(digits, tmp_path / "out", **options)
    assert sentence in str(refused.value)
    assert not (tmp_path / "out" / "findings.csv").exists()


def test_embeddings_of_other_images_are_refused(digits: Path, tmp_path: Path) -> None:
    foreign = activetune.Embeddings.from_numpy(np.eye(3), ["a", "b", "c"])
    with pytest.raises(UsageError, match="none of the embeddings is of an image of"):
        checked(digits, tmp_path / "out", embeddings=foreign)
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_run_that_was_cut_off_goes_on_and_a_finished_one_is_kept(tmp_path: Path, monkeypatch: Any) -> None:
    pool = write_digits(tmp_path / "pool", 150)
    checked(pool, tmp_path / "whole", use_cache=False)
    read: list[int] = []
    original = activetune.Pool.read

    def failing(self: activetune.Pool, index: int) -> bytes:
        read.append(index)
        if len(read) == 100:
            raise KeyboardInterrupt
        return original(self, index)

    monkeypatch.setattr(activetune.Pool, "read", failing)
    with pytest.raises(KeyboardInterrupt):
        checked(pool, tmp_path / "cut", use_cache=False)
    with pytest.raises(UsageError, match="unfinished run"):
        checked(pool, tmp_path / "cut", use_cache=False)
    read[:] = [-1] * 200
    checked(pool, tmp_path / "cut", resume=True, use_cache=False)
    for name in ("findings.csv", "exclude.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    before = (tmp_path / "cut" / "manifest.json").read_bytes()
    checked(pool, tmp_path / "cut", resume=True, use_cache=False)
    assert (tmp_path / "cut" / "manifest.json").read_bytes() == before
    picture = next(iter(pool.rglob("*.png")))
    picture.write_bytes(picture.read_bytes()[:-1] + b"x")
    with pytest.raises(UsageError, match="images were changed since"):
        checked(pool, tmp_path / "cut", resume=True, use_cache=False)


def test_features_of_images_of_another_size_are_others(tmp_path: Path) -> None:
    pool, options = write_digits(tmp_path / "pool", 3), {"use_cache": False, "quiet": True}
    sides = [activetune.load_backbone(name) for name in ("bundled@32", "bundled@40", "bundled@32")]
    one, other, again = (Given.of(pool, None, None, side, **options).record() for side in sides)
    assert one == again != other


def test_the_documents_table_has_every_check_with_its_settings_and_defaults() -> None:
    lines = (Path(__file__).parents[2] / "docs" / "check.md").read_text(encoding="utf-8").splitlines()
    told = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    like_near_duplicate = {"in_test": ("bits", "likeness", "mirrored", "cosine")}
    for kind, cls in checks().items():
        for name, default in field_defaults(cls).items():
            if name != "common":
                assert f"`{name}`" in told[kind]
                assert name in like_near_duplicate.get(kind, ()) or f"`{name}` = {default}" in told[kind]
        dropped = "`in_test`, `exact_duplicate`, `near_duplicate` and `blank`"
        assert cls.drops == (f"`{kind}`" in dropped)
    assert any(dropped in line for line in lines) and any("`common` = 0.2" in line for line in lines)


# Contract and properties ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(checks()))
def test_every_check_keeps_the_contract(kind: str, tmp_path: Path) -> None:
    cls = checks()[kind]
    assert issubclass(cls, Check) and cls.title and cls.needs in ("", "labels", "test")
    (tmp_path / "pool").mkdir()
    tiles()[0].save(tmp_path / "pool" / "only.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.png").write_bytes(b"no image")
    if cls.needs:
        with pytest.raises(UsageError, match=f"give (that with )?--{cls.needs} "):
            checked(tmp_path / "pool", tmp_path / "none", checks=[kind])
        return
    for name, findings in (("pool", 0), ("broken", int(kind == "unreadable"))):
        summary = checked(tmp_path / name, tmp_path / f"{name}_{kind}", checks=[kind]).summary
        assert [(row["kind"], row["findings"]) for row in summary] == [(kind, findings)]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=30), st.integers(0, 10), st.integers(0, 62), st.data())
def test_looking_up_by_parts_finds_what_comparing_all_pairs_does(
    codes: list[int], radius: int, bit: int, data: Any
) -> None:
    tiny = np.asarray(tiles()[0].resize((content.TINY, content.TINY)))
    looks = content.Looks(radius, 0.9, mirrored=False)
    for position, code in enumerate(codes):
        looks.add(position, code, tiny)
    flipped = data.draw(st.lists(st.integers(0, 62), max_size=12, unique=True))
    asked = codes[bit % len(codes)] ^ sum(1 << place for place in flipped)
    fewest = min((code ^ asked).bit_count() for code in codes)
    match = looks.nearest(asked, tiny)
    assert (match is not None) == (fewest <= radius)


@pytest.mark.parametrize("number", range(0, 24, 6))
def test_the_hash_of_a_mirror_image_is_known_without_it(number: int) -> None:
    tile = tiles()[number]
    code, mirrored = (content.perceptual_hash(Picture(image)) for image in (tile, ImageOps.mirror(tile)))
    assert (code ^ content._mirror() ^ mirrored).bit_count() <= 1


def test_the_pixel_digest_tells_sizes_and_pixels_apart_and_formats_not() -> None:
    tile = tiles()[0]
    encoded = io.BytesIO()
    tile.save(encoded, "BMP")
    digest = content.pixel_digest(Picture(tile)).tobytes()
    assert content.pixel_digest(Picture(Image.open(encoded))).tobytes() == digest
    other = tile.copy()
    other.putpixel((5, 5), (1, 2, 3))
    wide, tall = (Image.new("RGB", size) for size in ((8, 2), (2, 8)))
    assert len({content.pixel_digest(Picture(image)).tobytes() for image in (tile, other, wide, tall)}) == 4


@pytest.mark.parametrize("number", range(0, 24, 4))
def test_more_blur_is_measured_as_more(number: int) -> None:
    from PIL import ImageFilter

    values = [blur(Picture(tiles()[number].filter(ImageFilter.GaussianBlur(radius)))) for radius in (0, 1, 2, 4)]
    assert values == sorted(values) and values[-1] > values[0] + 0.2
