"""No command replaces what it did not write, whatever ``--overwrite`` says; pictures do not become images of a pool."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import activetune
from activetune import UsageError, evaluate, open_pool, predict, save_annotations
from activetune.base.fingerprint import digest_bytes
from activetune.data.kinds import Names
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from tests.conftest import tiny_backbone, write_digits
from tests.contract.test_tasks import ANSWERS

pytestmark = pytest.mark.slow

ON: dict[str, Any] = {"device": "cpu", "precision": "fp32", "workers": 0, "quiet": True}


class Models:
    """A pool, and models of one class per image, of masks and of boxes."""

    def __init__(self, folder: Path) -> None:
        self.pool = open_pool(write_digits(folder / "digits", 12))
        self.folder = folder
        for task in ("classification", "segmentation", "detection"):
            name, weights = tiny_backbone()
            activetune.finetune(
                self.pool,
                task=task,
                labels=None if task == "classification" else ANSWERS[task](self.pool, folder),
                out=folder / task,
                recipe="linear_probe",
                settings={} if task == "classification" else {"head_steps": 2},
                backbone=name,
                weights=weights,
                **ON,
            )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTIVETUNE_CACHE", str(folder / "cache"))
        return Models(folder)


def content(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def copied(pool: Pool, folder: Path) -> Pool:
    shutil.copytree(pool.name, folder)
    return open_pool(folder, quiet=True)


# Folders of pictures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("place", ["images", "beside"])
def test_masks_never_replace_other_files(models: Models, tmp_path: Path, place: str, overwrite: bool) -> None:
    pool = copied(models.pool, tmp_path / "images")
    shutil.copytree(tmp_path / "images", tmp_path / "beside")  # masks someone drew, called as the images are
    before = content(tmp_path)
    with pytest.raises(UsageError, match="nothing was written"):
        predict(models.folder / "segmentation", pool, out=tmp_path / place, overwrite=overwrite, **ON)
    assert content(tmp_path) == before


def test_masks_of_an_earlier_run_are_replaced_when_asked_to(models: Models, tmp_path: Path) -> None:
    out, model = tmp_path / "masks", models.folder / "segmentation"
    predict(model, models.pool, out=out, **ON)
    first = content(out)
    with pytest.raises(UsageError, match="exists already"):
        predict(model, models.pool, out=out, **ON)
    assert content(out) == first
    predict(model, models.pool, out=out, overwrite=True, **ON)
    assert content(out) == first
    fewer = models.pool.subset(models.pool.ids[:3])
    predict(model, fewer, out=out, overwrite=True, **ON)
    assert len(list(out.rglob("*.png"))) == 3  # those of images that are no longer there have gone


def test_a_file_that_came_in_between_is_no_mask_of_an_earlier_run(models: Models, tmp_path: Path) -> None:
    out, model = tmp_path / "masks", models.folder / "segmentation"
    predict(model, models.pool.subset(models.pool.ids[:3]), out=out, **ON)
    drawn = out / models.pool.ids[7]
    drawn.parent.mkdir(exist_ok=True)
    drawn.write_bytes(b"mine")
    with pytest.raises(UsageError, match="would be replaced, and this command did not write them"):
        predict(model, models.pool, out=out, overwrite=True, **ON)
    assert drawn.read_bytes() == b"mine"


def test_a_list_of_masks_is_not_believed_beyond_its_folder(models: Models, tmp_path: Path) -> None:
    out, model = tmp_path / "masks", models.folder / "segmentation"
    predict(model, models.pool.subset(models.pool.ids[:3]), out=out, **ON)
    outside, changed = tmp_path / "mine.png", out / models.pool.ids[0]
    outside.write_bytes(b"mine")
    changed.write_bytes(b"drawn over")
    digest = digest_bytes(b"mine")
    with (out / "masks.csv").open("a", encoding="utf-8") as file:
        file.write(f"x,../mine.png,{digest}\ny,{outside},{digest}\n")
    predict(model, models.pool.subset(models.pool.ids[3:5]), out=out, overwrite=True, **ON)
    assert outside.read_bytes() == b"mine" and changed.read_bytes() == b"drawn over"
    assert not (out / models.pool.ids[1]).exists()


def test_drawn_pictures_lie_in_a_folder_of_their_own(models: Models, tmp_path: Path) -> None:
    pool, model = copied(models.pool, tmp_path / "images"), models.folder / "classification"
    shutil.copytree(tmp_path / "images", tmp_path / "other")
    before = content(tmp_path)
    for draw, told in (("images", "lies in the pool"), ("images/0/new", "lies in the pool"), ("other", "is not empty")):
        with pytest.raises(UsageError, match=told):
            predict(model, pool, out=tmp_path / "p.csv", draw=tmp_path / draw, overwrite=True, **ON)
        assert content(tmp_path) == before
    predict(model, pool, out=tmp_path / "p.csv", draw=tmp_path / "drawn", **ON)
    drawn = content(tmp_path / "drawn")
    assert len(drawn) == len(pool) + 1 and "pictures.csv" in drawn
    predict(model, pool, out=tmp_path / "p.csv", draw=tmp_path / "drawn", resume=True, **ON)
    assert content(tmp_path / "drawn") == drawn


def test_a_run_that_is_refused_lists_no_pictures_and_takes_no_others_for_its_own(
    models: Models, tmp_path: Path
) -> None:
    model, drawn, masks = models.folder / "classification", tmp_path / "drawn", tmp_path / "masks"
    (tmp_path / "p.csv").write_text("mine", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(UsageError, match="nothing was written"):
            predict(model, models.pool, out=tmp_path / "p.csv", draw=drawn, overwrite=True, **ON)
        assert not drawn.exists()
    for draw, told in ((masks, "--draw names the output"), (tmp_path / "p.csv", "--draw names a file")):
        with pytest.raises(UsageError, match=told):
            predict(models.folder / "segmentation", models.pool, out=masks, draw=draw, **ON)
    assert list(content(tmp_path)) == ["p.csv"]


def test_exported_picks_do_not_land_in_the_pool(models: Models, tmp_path: Path) -> None:
    pool = copied(models.pool, tmp_path / "images")
    selection = activetune.select(activetune.embed(pool, **ON), budget=2, method="random", device="cpu", quiet=True)
    before = content(tmp_path / "images")
    with pytest.raises(UsageError, match="lies in the pool"):
        activetune.save_images(selection, out=tmp_path / "images" / "picks", pool=pool, quiet=True)
    assert content(tmp_path / "images") == before


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_file_of_another_kind_is_never_replaced(models: Models, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,label\n1.png,cat\n", encoding="utf-8")
    (tmp_path / "coco.json").write_text(json.dumps({"images": [], "annotations": []}), encoding="utf-8")
    (tmp_path / "list.json").write_text("[1, 2]", encoding="utf-8")
    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    before = content(tmp_path)
    classes, boxes = models.folder / "classification", models.folder / "detection"
    labels = Labels(["1.png"], [Names.of(["cat"])], ["cat"])

    def annotate() -> Any:
        return save_annotations(labels, tmp_path / "table.parquet", task="multilabel", overwrite=True)

    for write in (
        lambda: predict(classes, models.pool, out=tmp_path / "labels.csv", overwrite=True, **ON),
        lambda: predict(classes, models.pool, out=tmp_path / "table.parquet", overwrite=True, **ON),
        lambda: predict(boxes, models.pool, out=tmp_path / "coco.json", overwrite=True, **ON),
        lambda: predict(boxes, models.pool, out=tmp_path / "list.json", overwrite=True, **ON),
        lambda: evaluate(classes, models.pool, out=tmp_path / "coco.json", overwrite=True, **ON),
        lambda: activetune.caption(models.pool, out=tmp_path / "labels.csv", overwrite=True, device="cpu", quiet=True),
        annotate,
    ):
        with pytest.raises(UsageError, match="is a file that this command did not write; nothing was written"):
            write()
        assert content(tmp_path) == before


def test_a_models_own_files_are_no_scores(models: Models, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(models.folder / "classification", model)
    before = content(model)
    for name in ("config.json", "manifest.json", "history.csv"):
        with pytest.raises(UsageError, match="did not write"):
            evaluate(model, models.pool, out=model / name, overwrite=True, **ON)
    assert content(model) == before
    evaluate(model, models.pool, out=model / "scores.json", **ON)
    evaluate(model, models.pool, out=model / "scores.json", overwrite=True, **ON)
    assert content(model).keys() - before.keys() == {"scores.json"}


def test_what_a_command_wrote_is_replaced(models: Models, tmp_path: Path) -> None:
    boxes, labels = models.folder / "detection", Labels(["1.png"], [Names.of(["cat"])], ["cat"])
    for _ in range(2):
        predict(models.folder / "classification", models.pool, out=tmp_path / "p.csv", overwrite=True, **ON)
        predict(models.folder / "classification", models.pool, out=tmp_path / "p.parquet", overwrite=True, **ON)
        predict(boxes, models.pool, out=tmp_path / "p.json", overwrite=True, **ON)
        activetune.caption(models.pool, out=tmp_path / "c.csv", overwrite=True, device="cpu", quiet=True)
        save_annotations(labels, tmp_path / "a.parquet", task="multilabel", overwrite=True)
    assert {"p.csv", "p.parquet", "p.json", "c.csv", "a.parquet"} <= {path.name for path in tmp_path.iterdir()}


def test_a_run_that_replaces_another_ones_predictions_and_is_cut_off_leaves_no_finished_ones(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from activetune.evaluation import predict as module

    out = tmp_path / "masks"
    predict(models.folder / "segmentation", models.pool, out=out, **ON)

    def killed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    name, weights = tiny_backbone()
    labels = ANSWERS["segmentation"](models.pool, tmp_path)
    given: dict[str, Any] = {"recipe": "linear_probe", "settings": {"head_steps": 9}, "backbone": name}
    other = tmp_path / "other"
    activetune.finetune(
        models.pool, task="segmentation", labels=labels, out=other, weights=weights, seed=5, **given, **ON
    )
    with monkeypatch.context() as patch:
        patch.setattr(module, "predicted", killed)
        with pytest.raises(KeyboardInterrupt):
            predict(other, models.pool, out=out, overwrite=True, **ON)
    with pytest.raises(UsageError, match="pool or precision"):
        predict(other, models.pool, out=out, resume=True, **{**ON, "precision": "bf16"})
    with pytest.raises(UsageError, match="was begun with another model, pool or precision"):
        predict(models.folder / "segmentation", models.pool, out=out, resume=True, **ON)
    predict(other, models.pool, out=out, resume=True, **ON)
    assert predict(other, models.pool, out=out, resume=True, **ON)
