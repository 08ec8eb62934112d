"""Reports: panels by what they need, every kind of folder, sizes, hostile names, and the page in a real browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import activetune
from activetune import Embeddings, UsageError, next_round, write_report
from activetune.base.artefact import write_manifest
from activetune.base.run import Run
from activetune.base.tables import read_table
from activetune.cli import run
from activetune.data.kinds import ArrayMask, Boxes, Detections, Names, Sentences
from activetune.data.opening import open_pool
from activetune.features.artefact import save_embeddings
from activetune.report import maps, pictures
from activetune.report.charts import Axis, Line, line_chart, round_ticks
from activetune.report.page import Page
from activetune.report.panels import Panel, panels
from activetune.report.panels.coverage import mean_distances
from activetune.report.panels.next_steps import NextSteps
from activetune.report.subject import KINDS, USED, Subject
from activetune.selection.artefact import Selection, load_selection, save_selection
from activetune.tasks import make_task, tasks
from tests.conftest import write_digits
from tests.report.test_report_page import pages_of

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = '<img src=x onerror="alert(1)">&</script>.png'
ON_CPU: dict[str, Any] = {"device": "cpu", "workers": 0, "quiet": True}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool, its features, a selection and a model, made by the commands that people type."""
    place = tmp_path_factory.mktemp("made")
    write_digits(place / "pool", 90)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTIVETUNE_CACHE", str(place / "cache"))
        patch.chdir(place)
        common = ["--quiet", "--device", "cpu", "--workers", "0"]
        assert run(["embed", "pool", "--out", "emb", *common]) == 0
        assert run(["select", "emb", "--budget", "30", "--method", "k_center", "--out", "sel", "--quiet"]) == 0
        labels = "id,label\n" + "".join(f"{item},{item[0]}\n" for item in open_pool("pool").ids[::6])
        (place / "labels.csv").write_text(labels)
        line = "finetune pool --labels labels.csv --recipe linear_probe --set strengths=10 --out model"
        assert run([*line.split(), *common]) == 0
    return place


def page_of(folder: Path, **options: Any) -> str:
    """The page of a folder, made anew."""
    return write_report(folder, overwrite=True, **{"quiet": True, **options}).read_text(encoding="utf-8")


def headings(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


# The contract of panels -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: type(panel).__name__)
def test_a_panel_names_kinds_and_artefacts_that_there_are(panel: Panel, tmp_path: Path) -> None:
    assert panel.kinds and set(panel.kinds) <= set(KINDS)
    assert all(hasattr(Subject, name) for name in panel.needs)
    other = Subject(tmp_path, {"kind": "something else"}, activetune.report.Run())  # type: ignore[attr-defined]
    assert not panel.stands(other)


@pytest.mark.parametrize("kind", KINDS)
def test_panels_of_a_kind_have_places_of_their_own(kind: str) -> None:
    orders = [panel.order for panel in panels() if kind in panel.kinds]
    assert orders == sorted(set(orders)) and len(orders) >= 3
    assert set(USED) == set(KINDS)


# Every kind of folder ---------------------------------------------------------------------------------------------


def test_a_selection_shows_command_picks_map_coverage_and_balance(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    page = page_of(Path("sel"))
    assert "activetune select emb --budget 30 --method k_center --out sel" in page
    wanted = ["What was asked", "Picked images", "Where the picks lie", "How many labels are enough?", "Class balance"]
    assert headings(page)[:5] == wanted
    assert page.count("nearest not picked") == 30
    assert 'data-choose="view"' in page and "of the fall in mean distance" in page
    assert page.count("6 more pictures") == 1  # 24 of 30 stand open


def test_features_alone_have_a_map_and_classes(made: Path) -> None:
    page = page_of(made / "emb", layouts=("pca", "tsne"))
    assert headings(page) == ["What was asked", "Map of the pool", "Class balance", "Cost", "Next"]
    assert "PCA</option>" in page and "t-SNE</option>" in page


def test_the_balance_of_several_classes_per_image_counts_each_class(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "sel", tmp_path / "sel")
    ids = load_selection(made / "sel").ids
    rows = [f'{ids[0]},cat;dog,"[""cat"", ""dog""]",', f'{ids[1]},dog,"[""dog""]",', f"{ids[2]},,,skipped"]
    (tmp_path / "sel/labels.csv").write_text("\n".join(["id,label,labels,state", *rows, ""]))
    page = page_of(tmp_path / "sel")
    table = page[page.index("<h2>Class balance</h2>") :]
    assert "An item may have several classes; % is of the items." in table
    assert "cat;dog" not in table[: table.index("</table>")]


def test_a_model_shows_its_mistakes_where_there_is_a_pool(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVETUNE_CACHE", str(made / "cache"))
    bare = page_of(made / "model")
    assert "Not evaluated yet" in bare and "Mistakes" not in headings(bare)
    activetune.evaluate(made / "model", made / "pool", out=made / "model/scores.json", **ON_CPU)
    scored = page_of(made / "model")
    assert {"Scores", "Per class", "Confusion"} <= set(headings(scored)) and "<template" not in scored
    page = page_of(made / "model", pool=made / "pool", **ON_CPU)
    assert {"Confusion", "Mistakes", "Calibration", "Map of the pool", "Class balance"} <= set(headings(page))
    scores = json.loads((made / "model/scores.json").read_text())
    assert f"<b>{100 * scores['top1']:.1f} %</b>" in page
    wrong = round(scores["n"] * (1 - scores["top1"]))
    assert f"{wrong:,} of {scores['n']:,} answers are wrong" in page
    matrix = np.asarray(scores["confusion"]["matrix"])
    assert page.count("<template data-cell=") == np.count_nonzero(matrix)


@pytest.mark.parametrize("task", tasks())
def test_the_next_step_of_a_model_names_an_output_that_its_task_takes(task: str, tmp_path: Path) -> None:
    page = Page("title", "lead")
    NextSteps().draw(Subject(tmp_path, {"kind": "model", "task": task}, Run()), page)
    (out,) = re.findall(r"--out (ANSWERS\S*) --draw", page.write(tmp_path / "page.html").read_text())
    assert make_task(task).form(()).file(Path(out))


def test_a_model_is_mapped_by_the_embeddings_of_a_larger_pool(made: Path, tmp_path: Path) -> None:
    rows = (made / "labels.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join(rows[:11]) + "\n")
    given: dict[str, Any] = {"pool": made / "pool", "labels": tmp_path / "few.csv", **ON_CPU}
    page = page_of(made / "model", embeddings=made / "emb", **given)
    assert "Map of the pool" in headings(page) and " of 10 answers " in page
    with pytest.raises(UsageError, match="none of the images that the model has answered is in these embeddings"):
        page_of(made / "model", embeddings=Embeddings.from_numpy(np.eye(4)), **given)


def test_a_list_of_label_errors_is_shown_with_its_pictures(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made / "emb", tmp_path / "emb"))
    item = open_pool(made / "pool").ids[3]
    (folder / "label_errors.csv").write_text(f"id,label,suggestion,score\n{item},3,8,0.91234\n")
    page = page_of(folder, pool=made / "pool")
    assert "Likely label errors" in headings(page)
    assert "suggestion: 8" in page and "score: 0.912" in page


def write_visft(folder: Path) -> Path:
    """A made-up folder of ``visft``."""
    scores = {"frozen": {"miou": 0.2, "n": 9}, "joint": {"miou": 0.25, "n": 9}}
    figures = {"in_domain": {"masks": scores}, "weight_drift": 0.1, "feature_cosine": {"pooled": 0.9}, "seconds": 3.5}
    figures["stage1"] = {"masks": {"seconds": 2.0, "peak_memory_mb": 640}}
    tasks = [{"task": "segmentation", "name": "masks"}]
    folder.mkdir(exist_ok=True)
    write_manifest(folder, "visft", {"backbone": "b", "tasks": tasks, "seed": 0, "figures": figures})
    rows = "".join(f"joint,{epoch},{1 / epoch},{2 / epoch},{epoch / 9}\n" for epoch in range(1, 5))
    (folder / "history.csv").write_text(f"phase,epoch,train_loss,val_loss,val_miou\n{rows}")
    return folder


def test_visft_shows_each_task_before_and_after(tmp_path: Path) -> None:
    page = page_of(write_visft(tmp_path))
    assert "<td>stage 1, masks</td><td>2 s</td><td>640 MB</td>" in page
    assert "training" in page and ">held out<" in page and "mean IoU on held-out items" in page
    assert "<td>20.00 %</td><td>25.00 %</td><td>+5.00</td>" in page
    assert {"Before and after", "Training", "Cost"} <= set(headings(page))


def test_what_changes_nothing_or_does_not_belong_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown layout 'tsn'"):
        page_of(made / "sel", layouts=("tsn",))
    with pytest.raises(UsageError, match="layouts must be distinct; repeated: 'pca'"):
        page_of(made / "sel", layouts=("pca", "pca"))
    with pytest.raises(UsageError, match="nowhere does not exist or is empty; expected a finished folder of"):
        page_of(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="without a pool a model's report reads no labels"):
        page_of(made / "model", labels=made / "labels.csv")
    with pytest.raises(UsageError, match=r"--device .* can't be given here; leave it out"):
        page_of(made / "sel", device="cuda")
    other = Embeddings.from_numpy(np.eye(4))
    with pytest.raises(UsageError, match="was not selected from these embeddings"):
        page_of(made / "sel", embeddings=other)
    with pytest.raises(UsageError, match="expected a finished folder of: embeddings"):
        write_report(tmp_path, quiet=True)
    page = page_of(made / "sel")
    (tmp_path / "others").mkdir()
    shutil.copy(next((made / "pool").rglob("*.png")), tmp_path / "others" / "another.png")
    for kind in ("sel", "emb"):
        with pytest.raises(UsageError, match=r"ids are not in the pool .*others"):
            page_of(made / kind, pool=tmp_path / "others")
    assert (made / "sel" / "report.html").read_text(encoding="utf-8") == page
    with pytest.raises(UsageError, match="exists already; give --overwrite"):
        write_report(made / "sel", quiet=True)


def test_a_selection_made_anew_loses_its_old_report(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "sel"
    for budget, extra in ((3, {}), (4, {"overwrite": True})):
        activetune.select(made / "emb", budget=budget, method="random", out=out, quiet=True, **extra)
        assert not (out / "report.html").exists()
        write_report(out, quiet=True)


# Parts ------------------------------------------------------------------------------------------------------------


def test_principal_components_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    features = np.random.default_rng(0).normal(size=(60, 9)).astype(np.float32)
    ours = maps.pca_places(features)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    theirs = PCA(2).fit_transform(units)
    assert np.allclose(np.abs(ours), np.abs(theirs), atol=1e-4)
    assert maps.pca_places(features[:2]).shape == (2, 2)


def test_places_keep_their_shape_in_sixteen_bits() -> None:
    places = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 5.0]])
    element = maps.map_element({"PCA": places}, ["a", "b", "c"], [maps.Colouring.by_class("label", ["x", None, "y"])])
    data = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', element)[0])
    x, y = (np.frombuffer(base64.b64decode(data["layouts"][0][axis]), "<u2") for axis in "xy")
    assert abs((int(x[1]) - int(x[0])) - 2 * (int(y[2]) - int(y[0]))) <= 2
    assert data["colourings"][0]["names"] == ["x", "y", "not known"] and data["colourings"][0]["counts"] == [1, 1, 1]


def test_a_colouring_by_numbers_has_shades_of_as_many_items() -> None:
    one = maps.Colouring.by_number("n", np.arange(120, dtype=float), "{:.0f}".format)
    assert np.bincount(one.codes_M).tolist() == [10] * 12
    assert maps.Colouring.by_number("n", np.ones(5), "{:.0f}".format).names == ["1"]
    few = maps.Colouring.by_number("n", np.asarray([0.317, 0.322, 0.328, 0.331, 0.358]), "{:.2f}".format)
    assert few.names == ["0.32 to 0.33", "0.33 to 0.34", "0.35 to 0.36"] and few.codes_M.tolist() == [0, 0, 1, 1, 2]


def test_distances_to_the_first_picks_are_those_of_their_definition() -> None:
    rng = np.random.default_rng(1)
    units = rng.normal(size=(40, 6)).astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    picks, counts = rng.permutation(40)[:9], [1, 4, 9]
    apart = np.linalg.norm(units[:, None] - units[None, picks], axis=2)
    expected = [apart[:, :count].min(axis=1).mean() for count in counts]
    assert np.allclose(mean_distances(units, picks, counts), expected, atol=1e-3)


def test_agreement_is_whole_for_equal_answers_and_none_for_others() -> None:
    mask, other = np.zeros((4, 4), dtype=np.int32), np.ones((4, 4), dtype=np.int32)
    half = mask.copy()
    half[:, 2:] = 1
    two = ["a", "b"]
    agreement = {name: make_task(name).agreement for name in tasks()}
    for name, truth, same, none in (
        ("segmentation", ArrayMask(mask), ArrayMask(mask), ArrayMask(other)),
        (
            "detection",
            Boxes.of([[0, 0, 4, 4]], ["a"]),
            Boxes.of([[0, 0, 4, 3]], ["a"]),
            Boxes.of([[0, 0, 4, 4]], ["b"]),
        ),
        ("multilabel", Names.of(["a"]), Names.of(["a"]), Names.of(["b"])),
        ("captioning", Sentences(("A dog runs", "no")), Sentences(("a dog runs.",)), Sentences(("cats",))),
        ("classification", "a", "a", "b"),
    ):
        assert agreement[name](truth, same, two, two) == 1
        assert agreement[name](truth, none, two, two) == 0
    assert agreement["segmentation"](ArrayMask(half), ArrayMask(mask), two, two) == 0.25  # a: 8 of 16, b: none
    found = Boxes.of([[0, 0, 4, 4], [8, 8, 9, 9]], ["a", "a"])
    assert agreement["detection"](Boxes.of([[0, 0, 4, 4]], ["a"]), found, two, two) == pytest.approx(2 / 3)
    unsure = make_task("detection").settled(Detections.of([[0, 0, 4, 4], [1, 1, 2, 2]], ["a", "b"], [0.9, 0.1]))
    assert list(unsure.names) == ["a"]


def test_a_chart_tells_its_values_and_escapes_its_names() -> None:
    chart = line_chart([Line("<b>", [(1, 2.0), (2, 4.0)], told=["two", "four"])], Axis("K"), Axis("share & more"))
    assert chart.count("<polyline") == 2 and '"told":["two","four"]' in chart
    assert "<b>" not in chart and "share &amp; more" in chart
    assert round_ticks(0.31, 0.46, 5) == [0.35, 0.4, 0.45]


# Sizes ------------------------------------------------------------------------------------------------------------


def noise(count: int) -> Any:
    """A pool of pictures in many colours, read from memory, whose ids are as long as those of ImageNet."""
    from activetune.data.pool import Pool

    class Source:
        parallel = False

        def read(self, index: int) -> bytes:
            return encoded[index % len(encoded)]

        def place(self, index: int) -> None:
            return None

    rng, encoded = np.random.default_rng(0), []
    for _ in range(64):
        coarse = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).resize((32, 32), 2)
        encoded.append(_png(coarse))
    return Pool("noise", long_ids(count), None, Source())


def long_ids(count: int) -> list[str]:
    """Ids in the form of ImageNet's, 36 signs each, in ascending order."""
    classes = np.sort(np.random.default_rng(0).choice(10**8, -(-count // 100), replace=False))
    names = [f"n{classes[number // 100]:08d}" for number in range(count)]
    return [f"train/{name}/{name}_{10_000 + 13 * (row % 100)}.JPEG" for row, name in enumerate(names)]


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def many(folder: Path, count: int, hostile: bool = False) -> tuple[Path, Any]:
    """A selection of 60 of many items, with its features and pictures."""
    pool = noise(count)
    ids = list(pool.ids)
    features = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    names = [f"class {number % 7}" for number in range(count)]
    made_from = {"pool": "noise", "backbone": "bundled"}
    embeddings = save_embeddings(Embeddings(ids, features, names, made_from), folder / "emb")
    figures = {"emd": 0.5, "radius": 0.7, "seconds": 1.0}
    asked = {
        "n": count,
        "method": "random",
        "seed": 0,
        "k": 60,
        "figures": figures,
        "embeddings": embeddings.fingerprint,
    }
    (folder / "sel").mkdir()
    save_selection(Selection(ids[:60], [1.0] * 60, ["drawn"] * 60, {**asked, "pool": "noise"}), folder / "sel")
    return folder / "sel", pool


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 10,000 points."""
    place = tmp_path_factory.mktemp("large")
    folder, pool = many(place, 10_000)
    return write_report(folder, pool=pool, embeddings=place / "emb", quiet=True)


def test_a_page_of_ten_thousand_points_holds_all_and_stays_below_five_megabytes(large: Path) -> None:
    page = large.read_text(encoding="utf-8")
    assert len(page.encode()) <= 5_000_000
    assert page.count("data:image/webp;base64,") == 4 and not (large.parent / "report_files").exists()


def test_tiles_of_more_lie_beside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "INLINE", 100)
    folder, pool = many(tmp_path, 2600)
    page = page_of(folder, pool=pool, embeddings=tmp_path / "emb")
    tiles = sorted((folder / "report_files").iterdir())
    assert [tile.name.partition("-")[0] + tile.suffix for tile in tiles] == ["tiles.webp"] * 2
    assert all(f'"report_files/{tile.name}"' in page for tile in tiles) and "data:image/webp" not in page
    assert sum(tile.stat().st_size for tile in tiles) <= 85 * 2600  # 8.5 of the 15 megabytes of 100,000 items
    with Image.open(tiles[1]) as sheet:
        assert sheet.size == (1600, 64)


@pytest.mark.parametrize("named", ["by folder", "at random"])
def test_a_page_of_a_hundred_thousand_points_and_its_tiles_stay_below_fifteen_megabytes(named: str) -> None:
    rng = np.random.default_rng(1)
    ids = long_ids(100_000) if named == "by folder" else [f"{rng.bytes(16).hex()}.jpg" for _ in range(100_000)]
    assert len(ids[0]) == 36
    colourings = [
        maps.Colouring.by_class("label", [f"class {number % 1000}" for number in range(100_000)]),
        maps.Colouring.by_number("distance", rng.random(100_000), "{:.2f}".format),
    ]
    element = maps.map_element({"PCA": rng.random((100_000, 2))}, ids, colourings)
    beside = 1_000_000  # the page without its map, with cards of the first picks
    assert len(element.encode()) + pictures.MOST[False] * 100_000 + beside <= 15_000_000


@pytest.mark.parametrize("most", [900, 2000, 10**6])
def test_a_sheet_has_the_best_quality_in_which_it_is_small_enough(most: int) -> None:
    rng = np.random.default_rng(0)
    sheet = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).resize((160, 160), 2)
    sizes = []
    for quality in pictures.QUALITIES:
        file = io.BytesIO()
        sheet.save(file, "WEBP", quality=quality, method=4)
        sizes.append(len(file.getvalue()))
    assert len(pictures._webp(sheet, most)) == next((size for size in sizes if size <= most), sizes[-1])


def test_a_report_that_is_not_made_anew_keeps_its_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "INLINE", 10)
    folder, pool = many(tmp_path, 80)
    given: dict[str, Any] = {"pool": pool, "embeddings": tmp_path / "emb"}
    page_of(folder, **given)

    def there() -> dict[str, bytes]:
        files = (folder / "report.html", *(folder / "report_files").iterdir())
        return {file.name: file.read_bytes() for file in files}

    before = there()
    assert len(before) == 2
    with pytest.raises(UsageError):
        page_of(folder, **given, labels={"nowhere.png": "cat"})
    assert there() == before

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(NextSteps, "draw", cut_off)
        page_of(folder, **given)
    assert there() == before
    monkeypatch.setattr(pictures, "SIDE", 16)
    page_of(folder, **given)
    after = there()
    assert len(after) == 2 and after.keys() != before.keys()
    monkeypatch.setattr(pictures, "INLINE", 100)
    page_of(folder, **given)
    assert not (folder / "report_files").exists()


# In a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    if not CHROMIUM.is_file():
        pytest.skip(f"needs the browser {CHROMIUM}")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield opened
        opened.close()


def opened(browser: Any, path: Path, **options: Any) -> tuple[Any, list[str], list[str]]:
    """A page from disk, with what its console says and the addresses it asks for."""
    page = browser.new_page(**{"viewport": {"width": 1440, "height": 900}, **options})
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.resolve().as_uri())
    if page.query_selector("[data-map]"):
        page.query_selector("[data-map]").scroll_into_view_if_needed()
        page.wait_for_selector("[data-map][data-ready]")
    return page, said, [address for address in asked if not address.startswith(("data:", "blob:"))]


def test_the_page_opens_offline_without_a_word_and_fits_a_phone(browser: Any, large: Path) -> None:
    for width, scheme in ((1440, "light"), (390, "dark")):
        page, said, asked = opened(browser, large, viewport={"width": width, "height": 800}, color_scheme=scheme)
        assert said == [] and asked == [large.resolve().as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ink = page.evaluate("getComputedStyle(document.body).color")
        assert (sum(map(int, re.findall(r"\d+", ink)[:3])) > 400) == (scheme == "dark")
        page.close()


def demo_folder(made: Path, folder: Path) -> Path:
    """A made-up folder of ``demo``, from the pool and the picks that there are."""
    shutil.copytree(made / "pool", folder / "images")
    shutil.copytree(made / "emb", folder / "embeddings")
    shutil.copytree(made / "sel", folder / "selections/k_center-30-0")
    items = open_pool(folder / "images").ids[::9]
    (folder / "images/test.csv").write_text("path,label\n" + "".join(f"{item},{item[0]}\n" for item in items))
    rows = "".join(f"{item},{number % 3},0.9\n" for number, item in enumerate(items))
    (folder / "predictions.csv").write_text(f"id,label,probability\n{rows}")
    header = "method,features,budget,seed,top1,balanced_accuracy,classes,seconds\n"
    (folder / "results.csv").write_text(f"{header}k_center,bundled,30,0,0.8,0.7,9,0.1\n")
    scores = {"n": 10, "top1": 0.8, "balanced_accuracy": 0.7}
    scores["confusion"] = {"classes": ["0", "1"], "matrix": [[4, 1], [1, 4]]}  # type: ignore[assignment]
    job = {"method": "k_center", "recipe": "linear_probe", "labels": 30, "commands": ["activetune embed"]}
    about = {"question": "which?", "about": "Digits.", "pool_items": 90, "test_items": 10, "seeds": 1, "seed": 0}
    about |= {"methods": ["k_center"], "budgets": [30], "job": {**job, "scores": scores, "exported": None}}
    write_manifest(folder, "demo", about)
    return folder


def comparison_folder(made: Path, folder: Path) -> Path:
    """A made-up folder of ``compare``."""
    folder.mkdir()
    row = {"probe": "digits", "metric": "top-1", "a": 0.7, "b": 0.8, "n": 90, "difference": 0.1, "low": 0.02}
    rows = [{**row, "what": f"{shot}-shot, pooled", "high": 0.2, "p": 0.01, "p_holm": 0.03} for shot in (1, 5)]
    write_manifest(folder, "comparison", {"names": {"a": "a", "b": "b"}, "figures": {"rows": rows, "draws": 2000}})
    return folder


def simulation_folder(made: Path, folder: Path) -> Path:
    folder.mkdir()
    pages_of(folder, 3)
    return folder / "made-3"


def project_folder(made: Path, folder: Path) -> Path:
    given: dict[str, Any] = {**ON_CPU, "precision": "fp32"}
    next_round(folder, pool=made / "pool", budget="20", **given)
    return folder


def check_folder(made: Path, folder: Path) -> Path:
    shutil.copytree(made / "pool", folder / "pool")
    copied = open_pool(folder / "pool").ids[0]
    shutil.copy(folder / "pool" / copied, folder / "pool/0/again.png")
    activetune.check(folder / "pool", out=folder / "check", workers=0, quiet=True)
    return folder / "check"


def copied(name: str) -> Any:
    return lambda made, folder: Path(shutil.copytree(made / name, folder))


FOLDERS: dict[str, tuple[Any, dict[str, Any]]] = {  # how one of each kind is made, and what its report is given
    "embeddings": (copied("emb"), {"pool": "pool", "layouts": ("pca", "tsne")}),
    "selection": (copied("sel"), {"pool": "pool", "embeddings": "emb"}),
    "model": (copied("model"), {"pool": "pool", **ON_CPU}),
    "simulation": (simulation_folder, {}),
    "demo": (demo_folder, {}),
    "comparison": (comparison_folder, {}),
    "visft": (lambda _, folder: write_visft(folder), {}),
    "check": (check_folder, {}),
    "project": (project_folder, {}),
}
LEFT_ALONE = """[...document.querySelectorAll("button, select, input, summary, dialog, nav")]
    .filter((one) => one.getClientRects().length && !one.closest(".legend, .matrix, details[open]"))
    .map((one) => one.outerHTML.slice(0, 80))"""


def page_in(made: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of a folder of a kind."""
    monkeypatch.setenv("ACTIVETUNE_CACHE", str(made / "cache"))
    make, options = FOLDERS[kind]
    folder = make(made, tmp_path / kind)
    given = {name: made / value if name in ("pool", "embeddings") else value for name, value in options.items()}
    return write_report(folder, overwrite=True, **{"quiet": True, **given})


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_page_fits_screens_schemes_and_paper(
    browser: Any, made: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = page_in(made, kind, tmp_path, monkeypatch)
    page, said, asked = opened(browser, path)
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (width, scheme)
            colours = [
                page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor")
            ]
            ink, ground = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
            assert abs(ink - ground) > 450 and (ink > ground) == (scheme == "dark")
    page.emulate_media(media="print")
    assert page.evaluate(LEFT_ALONE) == []
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert said == [] and asked == [path.resolve().as_uri()]
    page.close()


@pytest.mark.slow
def test_confusion_large_pictures_and_copied_ids_answer_hands(
    browser: Any, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, said, _ = opened(browser, page_in(made, "model", tmp_path, monkeypatch))
    page.set_viewport_size({"width": 1440, "height": 900})
    cell = page.locator("[data-matrix] td button").last
    cell.click()
    behind = page.locator("[data-matrix] .behind")
    assert behind.locator("p").inner_text() == cell.get_attribute("title")
    assert behind.locator("img").count() == min(10, int(cell.inner_text()))
    zoomed, caption = page.locator(".cards img[data-zoom]"), page.locator("dialog.zoom[open] p")
    zoomed.first.click()
    first = caption.inner_text()
    assert first == zoomed.first.get_attribute("data-zoom")
    page.keyboard.press("ArrowRight")
    assert caption.inner_text() == zoomed.nth(1).get_attribute("data-zoom")
    page.keyboard.press("ArrowLeft")
    assert caption.inner_text() == first
    page.keyboard.press("Escape")
    assert page.locator("dialog.zoom[open]").count() == 0
    page.locator("[data-lasso]").click()
    box = page.locator(".map .field").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    for x, y in ((0.99, 0.01), (0.99, 0.99), (0.01, 0.99), (0.01, 0.02)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
    page.mouse.up()
    page.click("[data-copy]")
    assert page.inner_text("[data-copy]") == "Copied"
    page.evaluate("document.body.append(Object.assign(document.createElement('textarea'), { id: 'pasted' }))")
    page.focus("#pasted")
    page.keyboard.press("Control+v")
    assert sorted(page.input_value("#pasted").split()) == sorted(open_pool(made / "pool").ids)
    assert said == []


def test_long_names_make_no_page_wider_than_a_phone(browser: Any, tmp_path: Path) -> None:
    long = "vecaf:" + ";".join(f"setting_{number}=0.25" for number in range(12))
    page = Page(long, long)
    view = maps.View(long, np.asarray([1]))
    colouring = maps.Colouring.by_class(long, [long, "b", "c"])
    page.heading(long)
    page.add(maps.map_element({"PCA": np.eye(3)[:, :2]}, [long, "b", "c"], [colouring], [view]), asks="map")
    page.table([long, "n"], [[long, "1"]])
    page, said, _ = opened(browser, page.write(tmp_path / "page.html"), viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and said == []


def test_the_map_answers_pointer_legend_and_lasso(browser: Any, tmp_path: Path) -> None:
    folder, pool = many(tmp_path, 300)
    path = write_report(folder, pool=pool, embeddings=tmp_path / "emb", quiet=True)
    page, said, _ = opened(browser, path)
    assert page.get_attribute("[data-map]", "data-ready") == "plain"  # WebGL is emulated here
    box = page.query_selector(".map .field").bounding_box()
    centre = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.click("[data-lasso]")
    corners = [(-0.4, -0.4), (0.4, -0.4), (0.4, 0.4), (-0.4, 0.4)]
    at = [(centre[0] + x * box["height"], centre[1] + y * box["height"]) for x, y in corners]
    page.mouse.move(*at[0])
    page.mouse.down()
    for place in (*at[1:], at[0]):
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    chosen = int(page.inner_text(".map .chosen b").split()[0])
    assert 100 < chosen <= 300
    with page.expect_download() as saved:
        page.click("[data-save]")
    lines = Path(saved.value.path()).read_text().splitlines()
    assert lines[0] == "id" and len(lines) == chosen + 1 and set(lines[1:]) <= set(pool.ids)
    page.select_option("[data-choose=colouring]", label="cluster")
    assert "cluster 1" in page.inner_text(".map .legend")
    assert said == []


def test_ids_in_any_order_and_script_are_those_that_were_given(browser: Any, tmp_path: Path) -> None:
    ids = ["b/2.png", "a/1.png", "a/🦊🦊.png", "a/🦊.png", "ä", "a", "b/10.png", HOSTILE]
    page = Page("title", "lead")
    places = np.random.default_rng(0).random((len(ids), 2))
    page.add(maps.map_element({"PCA": places}, ids, [maps.Colouring.by_class("label", ids)]), asks="map")
    page, said, _ = opened(browser, page.write(tmp_path / "page.html"))
    box = page.query_selector(".map .field").bounding_box()
    for x, y in places:
        low, high = places.min(axis=0), places.max(axis=0)
        side = min(box["width"], box["height"]) / (1.06 * (high - low).max())
        middle = (low + high) / 2
        at = (x - middle[0]) * side + box["width"] / 2, box["height"] / 2 - (y - middle[1]) * side
        page.mouse.move(box["x"] + at[0], box["y"] + at[1])
        told = page.locator(".tip b").text_content()
        assert told == page.locator(".tip div span").nth(1).text_content()
        assert told == ids[[*map(tuple, places)].index((x, y))]
    assert said == []


def test_webgl_draws_the_same_map_where_it_is_asked_for(browser: Any, tmp_path: Path) -> None:
    folder, pool = many(tmp_path, 300)
    path = write_report(folder, pool=pool, embeddings=tmp_path / "emb", quiet=True)
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    failed: list[str] = []
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(f"{path.resolve().as_uri()}#webgl")
    page.query_selector("[data-map]").scroll_into_view_if_needed()
    page.wait_for_selector("[data-map][data-ready]")
    if page.get_attribute("[data-map]", "data-ready") == "plain":
        pytest.skip("needs a browser with WebGL, emulated or not")
    page.wait_for_function(
        """() => {
            const field = document.querySelector(".map canvas.points");
            const { data } = field.getContext("2d").getImageData(0, 0, field.width, field.height);
            const seen = new Set();
            for (let place = 0; place < data.length; place += 4) seen.add(data[place] + "," + data[place + 1]);
            return seen.size > 5;
        }"""
    )
    assert failed == []


def test_hostile_names_stay_text_everywhere(browser: Any, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (200, 30, 30)).save(tmp_path / "picture.png")
    ids = [HOSTILE, *(f"</script><script>alert({number})</script>" for number in range(9))]
    features = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    embeddings = save_embeddings(Embeddings(ids, features, [HOSTILE] * 10, {"pool": HOSTILE}), tmp_path / "emb")
    figures = {"emd": 0.5, "radius": 0.7}
    asked = {"n": 10, "k": 3, "method": HOSTILE, "seed": 0, "figures": figures, "embeddings": embeddings.fingerprint}
    (tmp_path / "sel").mkdir()
    about = {**asked, "pool": HOSTILE, "command": HOSTILE, "notes": {"a": HOSTILE}, "options": {HOSTILE: HOSTILE}}
    save_selection(Selection(ids[:3], [1.0] * 3, [HOSTILE] * 3, about), tmp_path / "sel")
    (tmp_path / "sel/label_errors.csv").write_text('id,"<b>"\n"<i>",<u>\n')
    path = write_report(tmp_path / "sel", embeddings=tmp_path / "emb", quiet=True)
    page, said, asked_for = opened(browser, path)
    page.on("dialog", lambda dialog: said.append(dialog.message))
    for option in page.query_selector_all("[data-choose=colouring] option"):
        page.select_option("[data-choose=colouring]", value=option.get_attribute("value"))
    box = page.query_selector(".map .field").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    assert said == [] and asked_for == [path.resolve().as_uri()]
    assert page.evaluate("document.querySelectorAll('img[onerror], .page script:not([type]), h1 img, u').length") == 0
    assert HOSTILE in page.inner_text("pre")


def test_a_page_without_touch_holds_no_script(tmp_path: Path) -> None:
    page = Page("title", "lead", bare=True)
    page.heading("A")
    text = page.write(tmp_path / "page.html").read_text()
    assert "<script" not in text and "script-src 'none'" in text


def test_the_report_of_a_project_tells_its_rounds(tmp_path: Path) -> None:
    pool = write_digits(tmp_path / "digits", 200)
    project = tmp_path / "project"
    given: dict[str, Any] = {"quiet": True, "workers": 0, "device": "cpu", "precision": "fp32"}
    next_round(project, pool=pool, budget="60", audit=10, **given)
    labels = project / "rounds" / "001" / "labels.csv"
    answered = [f"{item},{item.partition('/')[0]}" for item in read_table(labels)["id"]]
    labels.write_text("\n".join(["id,label", *answered]) + "\n")
    next_round(project, **given)
    text = write_report(project, quiet=True).read_text(encoding="utf-8")
    for part in ("How many labels are enough?", "points by 60 more labels", "On the audit", "Map of the pool"):
        assert part in text
    assert "project: 60 labels to learn from, 10 more in the audit, after 1 round" in text
    with pytest.raises(UsageError, match="the report of a project folder reads no labels"):
        write_report(project, labels={"a": "b"}, overwrite=True, quiet=True)


GAIN = {
    "more": 5, "gain": 0.02, "low": 0.01, "high": 0.03, "now": 0.8, "then": 0.82, "points": [[5, 0.7], [10, 0.8]],
}  # fmt: skip


@pytest.mark.parametrize(
    ("latest", "told"),
    [
        ({"gain": GAIN, "sentence": "label on"}, "Label on."),
        ({"gain": None, "sentence": "too few labels to tell"}, "Too few labels to tell."),
        ({"gain": None, "sentence": ""}, None),  # several classes per image, or nothing left to label
    ],
)
def test_the_advice_of_a_project_is_the_last_rounds_or_none(
    latest: dict[str, Any], told: str | None, tmp_path: Path
) -> None:
    save_embeddings(Embeddings.from_numpy(np.eye(3, dtype=np.float32)), tmp_path / "embeddings")
    (tmp_path / "project.toml").write_text("")
    (tmp_path / "ledger.csv").write_text("round,state\n1,labelled\n2,labelled\n")
    rounds = [{"round": 1, "labels": 10, "gain": GAIN, "sentence": "of the round before"}]
    rounds.append({"round": 2, "labels": 15, **latest})
    (tmp_path / "advice.json").write_text(json.dumps({"rounds": rounds}))
    page = page_of(tmp_path)
    assert "Of the round before" not in page and "<p>.</p>" not in page
    assert ("How many labels are enough?" in headings(page)) == (told is not None)
    assert told is None or f"<p>{told}</p>" in page


@pytest.mark.parametrize("elsewhere", ["0", "6"])
def test_the_rounds_of_a_project_say_where_an_item_counts_that_two_have_asked_for(
    tmp_path: Path, elsewhere: str
) -> None:
    save_embeddings(Embeddings.from_numpy(np.eye(3, dtype=np.float32)), tmp_path / "embeddings")
    (tmp_path / "project.toml").write_text("")
    columns = "round,method,asked,audit,answered,passed,open,unanswered,elsewhere,seconds"
    (tmp_path / "ledger.csv").write_text(f"{columns}\n1,random,20,0,12,0,0,2,{elsewhere},\n")
    page = page_of(tmp_path)
    assert all(f">{name}</th>" in page for name in ("open", "unanswered", "elsewhere"))
    assert ("An item counts in one round" in page) == (elsewhere == "6")
