"""What every format of answers promises; a new format needs a class here that writes answers in it."""

from __future__ import annotations

import base64
import io
import json
import shutil
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from activetune import ActivetuneError, Labels, Pool, UsageError, open_pool, read_annotations, save_annotations
from activetune.data.annotations import formats
from activetune.data.annotations._files import files_at
from activetune.data.kinds import ArrayMask, Boxes, Mask, Names, Sentences

HEIGHT, WIDTH = 8, 16  # so that every share of them is a float without rounding
CLASSES = {
    "detection": ["cat", "dog"],
    "multilabel": ["cat", "dog"],
    "segmentation": ["background", "cat", "dog"],
    "captioning": None,
}
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Content:
    """An image as a format is to write it: objects by name and box, which are their regions too, and sentences."""

    objects: tuple[tuple[str, Box], ...] = ()
    sentences: tuple[str, ...] = ()

    @property
    def values(self) -> np.ndarray:
        """(H, W) uint8: 0 for what is no object, 1 for a cat, 2 for a dog; smaller objects lie on top."""
        mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        for name, (left, top, right, bottom) in sorted(self.objects, key=lambda entry: -area(entry[1])):
            mask[top:bottom, left:right] = CLASSES["segmentation"].index(name)  # type: ignore[union-attr]
        return mask


def area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


CONTENT = {
    "a.png": Content((("cat", (1, 1, 6, 5)), ("dog", (5, 2, 10, 7))), ("A cat and a dog.", "They met.")),
    "b.png": Content((), ("Nothing.",)),
    "c.png": Content((("cat", (0, 0, 16, 8)),), ("A cat.",)),
}
STRANGER = {"zz.png": Content((("dog", (2, 2, 4, 4)),), ("Somewhere else.",))}


def answer(content: Content, task: str) -> Any:
    names = [name for name, _ in content.objects]
    if task == "multilabel":
        return Names.of(names)
    if task == "captioning":
        return Sentences(content.sentences)
    if task == "segmentation":
        return ArrayMask(content.values.astype(np.int32))
    return Boxes.of([list(box) for _, box in content.objects], names)


def plain(value: Any) -> Any:
    """An answer as plain values, which are equal where answers are."""
    if isinstance(value, Mask):
        return value.size, value.pixels().tolist()
    if isinstance(value, Boxes):
        return value.xyxy_K4.dtype, sorted(
            zip(value.xyxy_K4.tolist(), value.names, value.crowd_K.tolist(), strict=True)
        )
    return value


def by_id(labels: Labels) -> dict[str, Any]:
    return {item: plain(found) for item, found in zip(labels.ids, labels.answers, strict=True)}


def expected(task: str, items: tuple[str, ...] = tuple(CONTENT)) -> dict[str, Any]:
    return {item: plain(answer(CONTENT[item], task)) for item in items}


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def write_images(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, name in enumerate((*CONTENT, "unlisted.png")):
        Image.new("RGB", (WIDTH, HEIGHT), (number * 20, 0, 0)).save(folder / name)
    return folder


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of a format runs once for each task that the format holds answers of."""
    if "task" in metafunc.fixturenames and metafunc.cls is not None:
        metafunc.parametrize("task", formats()[metafunc.cls.format].TASKS)


class FormatContract(ABC):
    """Tests of a format that holds answers of some tasks."""

    format: ClassVar[str]

    @abstractmethod
    def make(self, folder: Path, task: str, content: Mapping[str, Content]) -> Path:
        """Write answers into an empty folder; returns what a user would give."""

    @abstractmethod
    def damage(self, path: Path, task: str) -> bool:
        """Damage what says something of ``c.png``; False: that can't be done in this format."""

    @pytest.fixture
    def pool(self, tmp_path: Path) -> Pool:
        return open_pool(write_images(tmp_path / "pool" / "images"), quiet=True)

    def fresh(self, folder: Path, task: str, content: Mapping[str, Content]) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return self.make(folder, task, content)

    def read(self, path: Path, pool: Pool, task: str) -> Labels:
        return read_annotations(path, pool, task, classes=CLASSES[task])

    def test_answers_come_as_they_were_written(self, tmp_path: Path, pool: Pool, task: str) -> None:
        labels = self.read(self.fresh(tmp_path / "made", task, CONTENT), pool, task)
        assert by_id(labels) == expected(task)
        assert list(labels.classes) == (CLASSES[task] or [])

    def test_it_is_recognised_by_this_format_alone(self, tmp_path: Path, task: str) -> None:
        files = files_at(self.fresh(tmp_path / "made", task, CONTENT))
        known = [name for name, module in formats().items() if task in module.TASKS and module.find(files, task)]
        assert known == [self.format]

    def test_nothing_is_said_of_good_files(
        self, tmp_path: Path, pool: Pool, task: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.read(self.fresh(tmp_path / "made", task, CONTENT), pool, task)
        assert capsys.readouterr() == ("", "")

    def test_the_form_on_disk_gives_the_same_back(self, tmp_path: Path, pool: Pool, task: str) -> None:
        labels = self.read(self.fresh(tmp_path / "made", task, CONTENT), pool, task)
        saved = save_annotations(labels, tmp_path / "kept" / "annotations.parquet", task=task, pool=pool)
        again = read_annotations(saved, pool, task)
        assert by_id(again) == by_id(labels)
        assert (list(again.ids), list(again.classes)) == (list(labels.ids), list(labels.classes))

    def test_an_image_without_an_object_is_answered_and_one_that_is_not_listed_is_not(
        self, tmp_path: Path, pool: Pool, task: str
    ) -> None:
        labels = self.read(self.fresh(tmp_path / "made", task, CONTENT), pool, task)
        assert "b.png" in labels.ids
        assert "unlisted.png" not in labels.ids

    def test_names_that_the_pool_does_not_have_are_counted_and_left_out(
        self, tmp_path: Path, pool: Pool, task: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = self.fresh(tmp_path / "made", task, {**STRANGER, **CONTENT})
        assert by_id(self.read(path, pool, task)) == expected(task)
        told = capsys.readouterr().err
        assert "names without an image in the pool, left out: 1 (the first: " in told
        assert "zz" in told and str(path) in told

    def test_of_names_alone_that_the_pool_does_not_have_nothing_can_be_read(
        self, tmp_path: Path, pool: Pool, task: str
    ) -> None:
        path = self.fresh(tmp_path / "made", task, STRANGER)
        with pytest.raises(UsageError, match=r"none of its 1 names .*zz.* the pool"):
            self.read(path, pool, task)

    def test_what_is_damaged_is_told_and_the_rest_is_kept(
        self, tmp_path: Path, pool: Pool, task: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = self.fresh(tmp_path / "made", task, CONTENT)
        if not self.damage(path, task):
            pytest.skip(f"a damaged row of {self.format} can't be written for {task}")
        found = by_id(self.read(path, pool, task))
        assert {item: found[item] for item in ("a.png", "b.png")} == expected(task, ("a.png", "b.png"))
        assert found.get("c.png") != expected(task)["c.png"]
        told = capsys.readouterr().err
        assert ": 1 (the first: " in told and "left out" in told

    def test_half_of_it_is_a_sentence_or_fewer_answers(self, tmp_path: Path, pool: Pool, task: str) -> None:
        path = self.fresh(tmp_path / "made", task, CONTENT)
        for file in [path] if path.is_file() else sorted(entry for entry in path.rglob("*") if entry.is_file()):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        try:
            found = by_id(self.read(path, pool, task))
        except UsageError as error:
            assert str(path) in str(error) or path.name in str(error)
        else:
            assert found != expected(task)

    @pytest.mark.parametrize("seed", range(6))
    def test_random_damage_is_a_sentence_or_other_answers(
        self, tmp_path: Path, pool: Pool, task: str, seed: int
    ) -> None:
        path, rng = self.fresh(tmp_path / "made", task, CONTENT), np.random.default_rng(seed)
        files = [path] if path.is_file() else sorted(entry for entry in path.rglob("*") if entry.is_file())
        for file in files:
            content = np.frombuffer(file.read_bytes() + b"\n", dtype=np.uint8).copy()
            content[rng.integers(0, len(content), 1 + seed)] = rng.integers(0, 256, 1 + seed, dtype=np.uint8)
            file.write_bytes(content.tobytes())
        try:
            labels = self.read(path, pool, task)
            for found in labels.answers:
                plain(found)
        except ActivetuneError as error:
            assert len(str(error).splitlines()) == 1

    def test_classes_that_are_not_given_are_left_out(
        self, tmp_path: Path, pool: Pool, task: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if task == "captioning":
            pytest.skip("sentences have no classes")
        path = self.fresh(tmp_path / "made", task, CONTENT)
        if task == "segmentation" and self.format in ("masks", "normal", "huggingface", "table"):
            pytest.skip("what a value of a mask stands for is told in a list: see test_annotations.py")
        labels = read_annotations(path, pool, task, classes=["dog"])
        assert labels.classes == ["dog"]
        found = dict(zip(labels.ids, labels.answers, strict=True))
        drawn = task == "segmentation" and self.format in ("fiftyone", "voc")
        if task == "segmentation":
            assert set(np.unique(found["a.png"].pixels())) == {-1, 0}
        else:
            assert {item: set(value.names) for item, value in found.items()} == {
                "a.png": {"dog"},
                "b.png": set(),
                "c.png": set(),
            }
        first = "their pixels are void: 2 (the first: 'background')" if drawn else "left out: 2 (the first: 'cat')"
        assert f"not among the given ones, {first}" in capsys.readouterr().err


class TestCoco(FormatContract):
    format = "coco"

    def make(self, folder: Path, task: str, content: Mapping[str, Content]) -> Path:
        images, annotations = [], []
        for number, (name, entry) in enumerate(content.items(), start=7):
            images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
            if task == "captioning":
                annotations += [{"image_id": number, "caption": text} for text in entry.sentences]
                continue
            for label, (left, top, right, bottom) in entry.objects:
                corners = [left, top, right, top, right, bottom, left, bottom]
                annotations.append(
                    {
                        "image_id": number,
                        "category_id": 3 if label == "dog" else 1,
                        "bbox": [left, top, right - left, bottom - top],
                        "segmentation": [corners],
                        "iscrowd": 0,
                    }
                )
        written: dict[str, Any] = {"images": images, "annotations": annotations}
        if task != "captioning":
            written["categories"] = [{"id": 3, "name": "dog"}, {"id": 1, "name": "cat"}]
        (folder / "answers.json").write_text(json.dumps(written))
        return folder / "answers.json"

    def damage(self, path: Path, task: str) -> bool:
        written = json.loads(path.read_text())
        del written["images"][2]["file_name"]
        written["annotations"].pop()
        path.write_text(json.dumps(written))
        return True


class TestVoc(FormatContract):
    format = "voc"

    def make(self, folder: Path, task: str, content: Mapping[str, Content]) -> Path:
        if task == "segmentation":
            (folder / "SegmentationClass").mkdir()
            (folder / "labelmap.txt").write_text("background:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n")
            for name, entry in content.items():
                picture = Image.fromarray(entry.values)
                picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
                picture.save(folder / "SegmentationClass" / f"{Path(name).stem}.png")
            return folder
        (folder / "Annotations").mkdir()
        for name, entry in content.items():
            objects = ""
            for label, (left, top, right, bottom) in entry.objects:
                box = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
                objects += f"<object><name>{label}</name><bndbox>{box}</bndbox></object>"
            size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
            text = f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"
            (folder / "Annotations" / f"{Path(name).stem}.xml").write_text(text)
        return folder

    def damage(self, path: Path, task: str) -> bool:
        broken = "SegmentationClass/c.png" if task == "segmentation" else "Annotations/c.xml"
        (path / broken).write_text("<annotation><object></annotation>")
        return True


class TestYolo(FormatContract):
    format = "yolo"

    def make(self, folder: Path, task: str, content: Mapping[str, Content]) -> Path:
        (folder / "labels").mkdir()
        (folder / "data.yaml").write_text("train: images/train\nnames:\n  0: cat\n  1: dog\n")
        for name, entry in content.items():
            lines = []
            for label, (left, top, right, bottom) in entry.objects:
                x0, y0, x1, y1 = left / WIDTH, top / HEIGHT, right / WIDTH, bottom / HEIGHT
                box = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
                polygon = (x0, y0, x1, y0, x1, y1, x0, y1)
                numbers = polygon if task == "segmentation" else box
                lines.append(" ".join(map(str, (int(label == "dog"), *numbers))))
            (folder / "labels" / f"{Path(name).stem}.txt").write_text("\n".join(lines))
        return folder

    def damage(self, path: Path, task: str) -> bool:
        (path / "labels" / "c.txt").write_text("0 0.5 much 1 1\n")
        return True


class TestMasks(FormatContract):
    format = "masks"

    def make(self, folder: Path, task: str, content: Mapping[str, Content]) -> Path:
        (folder / "masks").mkdir()
        for name, entry in content.items():
            (folder / "masks" / name).write_bytes(png(entry.values))
        (folder / "masks" / "classes.txt").write_text("background\ncat\ndog\n")
        return folder / "masks"

    def damage(self, path: Path, task: str) -> bool:
        (path / "c.png").write_bytes(b"no picture")
        return True


class TestTable(FormatContract):
    """JSON lines, which can hold the answers of all tasks."""

    format = "table"

    def row(self, folder: Path, name: str, entry: Content, task: str) -> dict[str, Any]:
        if task == "captioning":
            return {"id": name, "caption": list(entry.sentences)}
        if task == "multilabel":
            return {"id": name, "labels": sorted({label for label, _ in entry.objects})}
        if task == "segmentation":
            (folder / "seg").mkdir(exist_ok=True)
            (folder / "seg" / name).write_bytes(png(entry.values))
            return {"id": name, "mask_file_name": f"seg/{name}"}
        boxes = [[left, top, right - left, bottom - top] for _, (left, top, right, bottom) in entry.objects]
        return {"id": name, "objects": {"bbox": boxes, "categories": [label for label, _ in entry.objects]}}

    def make(self, folder: Path, task: str, content: Mapping[str, Content]) -> Path:
        rows = [json.dumps(self.row(folder, name, entry, task)) for name, entry in content.items()]
        (folder / "answers.jsonl").write_text("\n".join(rows))
        return folder / "answers.jsonl"

    def damage(self, path: Path, task: str) -> bool:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        column = next(name for name in rows[2] if name != "id")
        rows[2][column] = {"captioning": 5, "multilabel": {"x": 1}, "segmentation": "seg/no.png"}.get(task, "x")
        path.write_text("\n".join(map(json.dumps, rows)))
        return True


class TestBoxTable(FormatContract):
    """As TensorFlow's examples and Roboflow write it."""

    format = "box_table"

    def make(self, folder: Path, task: str, content: Mapping[str, Content]) -> Path:
        lines = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
        for name, entry in content.items():
            for label, box in entry.objects:
                lines.append(",".join(map(str, (name, WIDTH, HEIGHT, label, *box))))
            if not entry.objects:
                lines.append(f"{name},{WIDTH},{HEIGHT},,,,,")
        (folder / "_annotations.csv").write_text("\n".join(lines) + "\n")
        return folder / "_annotations.csv"

    def damage(self, path: Path, task: str) -> bool:
        wrong = f"c.png,{WIDTH},{HEIGHT},,0,0,16,8"
        path.write_text(path.read_text().replace(f"c.png,{WIDTH},{HEIGHT},cat,0,0,16,8", wrong))
        return True


class TestHuggingFace(FormatContract):
    format = "huggingface"
    columns: ClassVar[dict[str, tuple[str, pa.DataType]]] = {
        "captioning": ("captions", pa.list_(pa.string())),
        "multilabel": ("labels", pa.list_(pa.int64())),
        "segmentation": ("mask", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "detection": (
            "objects",
            pa.struct([("bbox", pa.list_(pa.list_(pa.float32()))), ("category", pa.list_(pa.int64()))]),
        ),
    }

    def cell(self, entry: Content, task: str) -> Any:
        numbers = [int(label == "dog") for label, _ in entry.objects]
        if task == "captioning":
            return list(entry.sentences)
        if task == "multilabel":
            return numbers
        if task == "segmentation":
            return {"bytes": png(entry.values), "path": None}
        boxes = [[left, top, right - left, bottom - top] for _, (left, top, right, bottom) in entry.objects]
        return {"bbox": boxes, "category": numbers}

    def write(self, path: Path, task: str, names: list[str], cells: list[Any]) -> Path:
        image = png(np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
        images = pa.array([{"bytes": image, "path": name} for name in names], self.columns["segmentation"][1])
        label = {"names": ["cat", "dog"], "_type": "ClassLabel"}
        features = {
            "labels": {"feature": label, "_type": "Sequence"},
            "objects": {"feature": {"category": label, "bbox": {"_type": "Sequence"}}, "_type": "Sequence"},
        }
        column, kind = self.columns[task]
        schema = pa.schema([("image", images.type), (column, kind)])
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        pq.write_table(
            pa.table([images, pa.array(cells, kind)], schema=schema.with_metadata(metadata)), path, row_group_size=2
        )
        return path

    def make(self, folder: Path, task: str, content: Mapping[str, Content]) -> Path:
        cells = [self.cell(entry, task) for entry in content.values()]
        return self.write(folder / "train.parquet", task, list(content), cells)

    def damage(self, path: Path, task: str) -> bool:
        if task == "captioning":
            return False  # a list of texts can hold nothing else
        cells = [self.cell(entry, task) for entry in CONTENT.values()]
        wrong = {"multilabel": [99], "segmentation": {"bytes": b"x", "path": None}}
        cells[2] = wrong.get(task, {"bbox": [[1.0, 2.0, 3.0]], "category": [0]})
        self.write(path, task, list(CONTENT), cells)
        return True


class TestNormal(FormatContract):
    format = "normal"

    def make(self, folder: Path, task: str, content: Mapping[str, Content]) -> Path:
        answers = [answer(entry, task) for entry in content.values()]
        labels = Labels(list(content), answers, CLASSES[task] or [])
        return save_annotations(labels, folder / "annotations.parquet", task=task)

    def damage(self, path: Path, task: str) -> bool:
        table = pq.read_table(path)
        column = {"segmentation": "mask", "detection": "x_left"}.get(task, "id")
        cells = table.column(column).to_pylist()
        cells[-1] = {"mask": b"x", "x_left": float("nan"), "id": None}[column]
        index = table.schema.get_field_index(column)
        changed = table.set_column(index, table.schema.field(index), pa.array(cells, table.schema.field(index).type))
        pq.write_table(changed, path)
        return True


class TestCvat(FormatContract):
    format = "cvat"

    def make(self, folder: Path, task: str, content: Mapping[str, Content]) -> Path:
        labels = "".join(f"<label><name>{name}</name></label>" for name in ("cat", "dog"))
        images = ""
        for number, (name, entry) in enumerate(content.items()):
            shapes = ""
            for label, (left, top, right, bottom) in entry.objects:
                sides = f'xtl="{left}.00" ytl="{top}.00" xbr="{right}.00" ybr="{bottom}.00"'
                points = f'points="{left},{top};{right},{top};{right},{bottom};{left},{bottom}"'
                form = {"multilabel": "<tag", "detection": f"<box {sides}"}.get(task, f"<polygon {points}")
                shapes += f'{form} label="{label}" source="manual"/>'
            images += f'<image id="{number}" name="{name}" width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'
        meta = f"<version>1.1</version><meta><task><labels>{labels}</labels></task></meta>"
        (folder / "annotations.xml").write_text(f"<annotations>{meta}{images}</annotations>")
        return folder / "annotations.xml"

    def damage(self, path: Path, task: str) -> bool:
        path.write_text(path.read_text().replace('name="c.png" ', ""))
        return True


class TestLabelStudio(FormatContract):
    format = "label_studio"

    def result(self, label: str, box: Box, task: str) -> dict[str, Any]:
        left, top, right, bottom = (100 * side / full for side, full in zip(box, (WIDTH, HEIGHT) * 2, strict=True))
        about = {"original_width": WIDTH, "original_height": HEIGHT, "from_name": "x", "to_name": "image"}
        if task == "multilabel":
            return {**about, "type": "choices", "value": {"choices": [label]}}
        if task == "segmentation":
            points = [[left, top], [right, top], [right, bottom], [left, bottom]]
            return {**about, "type": "polygonlabels", "value": {"points": points, "polygonlabels": [label]}}
        value = {"x": left, "y": top, "width": right - left, "height": bottom - top, "rectanglelabels": [label]}
        return {**about, "type": "rectanglelabels", "value": value}

    def make(self, folder: Path, task: str, content: Mapping[str, Content]) -> Path:
        tasks = []
        for number, (name, entry) in enumerate(content.items(), start=1):
            results = [self.result(label, box, task) for label, box in entry.objects]
            if task == "captioning":
                results = [{"type": "textarea", "value": {"text": list(entry.sentences)}}]
            wrong = [{"type": "choices", "value": {"choices": ["eel"]}}]
            annotations = [{"result": wrong, "was_cancelled": True}, {"result": results, "was_cancelled": False}]
            address = f"/data/upload/1/0123abcd-{name}"
            tasks.append({"id": number, "data": {"image": address}, "annotations": annotations, "predictions": []})
        (folder / "export.json").write_text(json.dumps(tasks))
        return folder / "export.json"

    def damage(self, path: Path, task: str) -> bool:
        tasks = json.loads(path.read_text())
        tasks[2]["data"] = {}
        path.write_text(json.dumps(tasks))
        return True


def packed(values: np.ndarray, **options: Any) -> str:
    """An array as FiftyOne keeps it in JSON."""
    buffer = io.BytesIO()
    np.save(buffer, values, **options)
    return base64.b64encode(zlib.compress(buffer.getvalue())).decode()


class TestFiftyone(FormatContract):
    format = "fiftyone"

    def make(self, folder: Path, task: str, content: Mapping[str, Content]) -> Path:
        samples = []
        for name, entry in content.items():
            labels: list[dict[str, Any]] = []
            for label, (left, top, right, bottom) in entry.objects:
                box = [left / WIDTH, top / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT]
                labels.append({"_cls": "Detection", "label": label, "bounding_box": box})
            found: dict[str, Any] = {"_cls": "Detections", "detections": labels}
            if task == "multilabel":
                classes = [{"_cls": "Classification", "label": one["label"]} for one in labels]
                found = {"_cls": "Classifications", "classifications": classes}
            if task == "segmentation":
                found = {"_cls": "Segmentation", "mask": packed(entry.values)}
            samples.append({"filepath": f"data/{name}", "tags": [], "ground_truth": found})
        (folder / "samples.json").write_text(json.dumps({"samples": samples}))
        about = {"default_classes": ["cat", "dog"], "default_mask_targets": {"1": "cat", "2": "dog"}}
        (folder / "metadata.json").write_text(json.dumps(about))
        return folder

    def damage(self, path: Path, task: str) -> bool:
        content = json.loads((path / "samples.json").read_text())
        del content["samples"][2]["filepath"]
        (path / "samples.json").write_text(json.dumps(content))
        return True


class TestImagefolder(FormatContract):
    """With ``metadata.jsonl``; class folders are tested with what ``export`` writes."""

    format = "imagefolder"

    def make(self, folder: Path, task: str, content: Mapping[str, Content]) -> Path:
        rows = []
        for name, entry in content.items():
            row = TestTable().row(folder, name, entry, task)
            rows.append(json.dumps({**row, "file_name": f"images/{name}"}))
        (folder / "metadata.jsonl").write_text("\n".join(rows))
        about = {"kind": "export", "format": 1, "written_as": "imagefolder", "task": task, "classes": []}
        (folder / "manifest.json").write_text(json.dumps(about))
        return folder

    def damage(self, path: Path, task: str) -> bool:
        return TestTable().damage(path / "metadata.jsonl", task)


def test_every_format_is_held_to_the_contract() -> None:
    held = {cls.format for cls in FormatContract.__subclasses__()}
    assert held == set(formats())
