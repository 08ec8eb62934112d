"""The page of ``activetune label`` in a real Chromium: hands, hostile names, two tabs, a server that dies."""

from __future__ import annotations

import csv
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from activetune.features.artefact import Embeddings, save_embeddings
from activetune.selection.artefact import load_selection
from tests.labelling.conftest import write_selection
from tests.labelling.test_labelling import Running

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = '"><img src=x onerror="document.title=1">.png'
CLASSES = "apple,<b>pear</b>,plum"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        pytest.skip("needs playwright, which is not installed")
    if CHROMIUM is None:
        pytest.skip("needs Chromium, which is not here")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def sel(tmp_path: Path) -> Path:
    pool = tmp_path / "pool"
    pool.mkdir()
    ids = [HOSTILE, *(f"{number:03d}.png" for number in range(1, 60))]
    for number, item in enumerate(ids):
        Image.new("RGB", (60, 40), (4 * number, 80, 120)).save(pool / item)
    return write_selection(tmp_path / "sel", ids, pool)


@pytest.fixture
def serve(sel: Path) -> Iterator[Callable[..., Running]]:
    found: list[Running] = []

    def start(*words: str) -> Running:
        found.append(Running(sel, *words))
        return found[-1]

    yield start
    for running in found:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens an address in a tab, and at the end looks whether any tab had something to complain about."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def start(url: str, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": 1200, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
        page.goto(url)
        page.wait_for_selector("body.ready")
        page.complaints = complaints
        return page

    yield start
    for context in contexts:
        context.close()
    assert complaints == []


def labels_of(sel: Path) -> dict[str, str]:
    with (sel / "labels.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["label"] or row["state"] for row in csv.DictReader(file) if row["state"]}


def saved(page: Any) -> None:
    page.wait_for_function("() => document.querySelector('.saved').textContent === 'saved'")


def done(page: Any, count: int) -> None:
    page.wait_for_function("count => document.querySelector('.progress b').textContent === String(count)", arg=count)
    saved(page)


def test_keys_label_undo_skip_and_correct(
    sel: Path, serve: Callable[..., Running], open_page: Callable[..., Any]
) -> None:
    page = open_page(serve("--classes", CLASSES).url)
    page.keyboard.down("1")
    page.keyboard.down("1")  # as a key that is held repeats itself: one answer all the same
    page.keyboard.up("1")
    page.keyboard.press("2")
    page.keyboard.press(" ")
    page.keyboard.press(".")
    page.keyboard.press("3")
    page.keyboard.press("Backspace")
    page.keyboard.press("0")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("4")  # the fourth reason
    for _ in range(5):  # back to the first one, and correct it
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("3")
    done(page, 4)
    assert labels_of(sel) == {
        HOSTILE: "plum",
        "001.png": "<b>pear</b>",
        "002.png": "skipped",
        "003.png": "unsure",
        "004.png": "none",
    }
    page.wait_for_selector("#stage img")  # it comes when it is decoded
    assert page.locator("#stage img").count() == 1
    assert page.locator("b b, .class b, #under img").count() == 0  # names are text, whatever is in them
    assert page.title() != "1"


def test_classes_are_searched_added_and_renamed_by_keyboard(
    sel: Path, serve: Callable[..., Running], open_page: Callable[..., Any]
) -> None:
    page = open_page(serve("--classes", CLASSES).url)
    page.keyboard.press("/")
    page.keyboard.type("plu")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+N")
    page.wait_for_selector("dialog[open]")
    page.keyboard.type("quince")
    page.keyboard.press("Enter")
    # the fourth key as a keyboard sends it whose digits are typed with Shift
    page.evaluate("() => dispatchEvent(new KeyboardEvent('keydown', {key: '4', code: 'Digit4', shiftKey: true}))")
    done(page, 2)
    page.keyboard.press("Shift+R")
    page.wait_for_selector("dialog[open]")
    page.locator("dialog select").select_option("plum")
    assert page.locator("dialog input[name=to]").input_value() == "plum"  # Enter would merge it with what stood there
    assert page.locator("dialog .word").inner_text() == "rename"
    page.locator("dialog input[name=to]").fill("apple")
    assert page.locator("dialog .word").inner_text() == "merge"
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.class').length === 3")
    saved(page)
    assert labels_of(sel) == {HOSTILE: "apple", "001.png": "quince"}
    page.keyboard.press("Backspace")
    page.wait_for_function("() => document.querySelectorAll('.class').length === 4")
    saved(page)
    assert labels_of(sel) == {HOSTILE: "plum", "001.png": "quince"}
    page.keyboard.press("Shift+R")
    page.wait_for_selector("dialog[open]")
    page.locator("dialog select").select_option("plum")
    page.locator("dialog input[name=to]").fill("apple")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.class').length === 3")
    page.keyboard.press("Shift+R")
    page.wait_for_selector("dialog[open]")
    remove = page.locator("dialog button.remove")
    page.locator("dialog select").select_option("apple")
    assert remove.is_disabled()  # an answer has it
    page.locator("dialog select").select_option("<b>pear</b>")
    remove.click()
    page.wait_for_function("() => document.querySelectorAll('.class').length === 2")
    saved(page)
    assert page.locator(".class .name").all_inner_texts() == ["apple", "quince"]
    page.keyboard.press("?")
    assert "unsure" in page.locator("dialog[open]").inner_text()
    page.keyboard.press("Escape")


def test_a_frame_shift_and_keys_select_in_the_grid(
    sel: Path, serve: Callable[..., Running], open_page: Callable[..., Any]
) -> None:
    page = open_page(serve("--classes", CLASSES).url)
    page.keyboard.press("Shift+G")
    cells = page.locator(".cell")
    cells.first.wait_for()
    boxes = [page.locator(f"#cell-{row}").bounding_box() for row in (0, 2)]
    page.mouse.move(boxes[0]["x"] + 5, boxes[0]["y"] + 5)
    page.mouse.down()
    page.mouse.move(boxes[1]["x"] + 9, boxes[1]["y"] + 20, steps=4)
    page.mouse.up()
    page.wait_for_function("() => document.querySelectorAll('.cell.selected').length === 3")
    page.keyboard.press("1")
    done(page, 3)
    page.locator("#cell-5").click()
    page.locator("#cell-8").click(modifiers=["Shift"])
    page.locator("#cell-6").click(modifiers=["Control"])
    page.keyboard.press("2")
    done(page, 6)
    page.keyboard.press("Control+a")
    page.keyboard.press("3")
    done(page, 60)
    page.keyboard.press("Control+z")
    done(page, 6)
    wanted = {HOSTILE: "apple", "001.png": "apple", "002.png": "apple"}
    wanted |= dict.fromkeys(["005.png", "007.png", "008.png"], "<b>pear</b>")
    assert labels_of(sel) == wanted
    assert cells.count() < 60


def test_two_tabs_see_each_other_and_begin_apart(
    sel: Path, serve: Callable[..., Running], open_page: Callable[..., Any]
) -> None:
    url = serve("--classes", CLASSES).url
    one = open_page(url)
    two = open_page(url)
    assert two.locator(".place").inner_text() == "31 / 60"
    one.keyboard.press("1")
    two.wait_for_function("() => document.querySelector('.progress b').textContent === '1'")
    for page in (one, two):
        for _ in range(5):
            page.keyboard.press("3")
        saved(page)
    for page in (one, two):
        done(page, 11)
    assert list(labels_of(sel)) == [HOSTILE, *(f"{row:03d}.png" for row in (*range(1, 6), *range(30, 35)))]
    one.keyboard.press("Shift+R")  # apple and plum become one: the keys behind apple are others'
    one.locator("dialog select").select_option("apple")
    one.locator("dialog input[name=to]").fill("plum")
    one.keyboard.press("Enter")
    two.wait_for_function("() => document.querySelectorAll('.class').length === 2")
    two.keyboard.press("1")  # was meant for apple
    assert "keys have moved" in two.locator("#told").inner_text()
    assert two.locator(".progress b").inner_text() == "11"


ANSWER = """async ({ id, label, token, sequence = 1 }) => {
  const answers = [{ sequence, id, label, state: "labelled", by: "bob" }];
  const options = { method: "POST", headers: { "X-Token": token }, body: JSON.stringify({ client: "other", answers }) };
  return (await fetch("/api/answers", options)).status;
}"""


def test_undo_leaves_a_newer_answer_and_the_last_answers_lead_back(
    sel: Path, serve: Callable[..., Running], open_page: Callable[..., Any]
) -> None:
    url = serve("--classes", CLASSES).url
    page = open_page(url)
    page.keyboard.press("1")
    page.keyboard.press("1")
    done(page, 2)
    given = {"id": "001.png", "label": "plum", "token": url.partition("token=")[2]}
    assert page.evaluate(ANSWER, given) == 200
    page.wait_for_function("() => document.querySelector('.recent').textContent.includes('plum')")
    page.keyboard.press("Backspace")
    page.wait_for_function("() => document.getElementById('told').textContent.startsWith('not undone')")
    assert labels_of(sel) == {HOSTILE: "apple", "001.png": "plum"}
    page.keyboard.press("Backspace")  # the one before is this tab's own still
    done(page, 1)
    assert labels_of(sel) == {"001.png": "plum"}
    page.locator("select").first.select_option("todo")
    page.locator(".recent button", has_text="plum").click()
    page.wait_for_function("() => document.querySelector('#under .id').textContent === '001.png'")


def test_undo_leaves_the_answers_of_others_that_say_the_same(
    sel: Path, serve: Callable[..., Running], open_page: Callable[..., Any]
) -> None:
    url = serve("--classes", CLASSES).url
    page = open_page(url)
    page.keyboard.press("1")
    page.keyboard.press("1")
    done(page, 2)
    given = {"label": "apple", "token": url.partition("token=")[2]}
    assert page.evaluate(ANSWER, given | {"id": "001.png"}) == 200
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => document.querySelector('#under').textContent.includes('bob')")
    page.keyboard.press("Backspace")
    page.wait_for_function("() => document.getElementById('told').textContent.startsWith('not undone')")
    page.keyboard.press("Shift+R")  # apple and plum become one, and two again; meanwhile somebody gives plum anew
    page.locator("dialog select").select_option("apple")
    page.locator("dialog input[name=to]").fill("plum")
    page.keyboard.press("Enter")
    saved(page)
    assert labels_of(sel) == {HOSTILE: "plum", "001.png": "plum"}
    number = page.evaluate(ANSWER, given | {"id": "001.png", "label": "plum", "sequence": 2})
    assert number == 200 and page.evaluate(ANSWER, given | {"id": "002.png", "sequence": 3}) == 200
    done(page, 3)
    page.keyboard.press("Backspace")
    page.wait_for_function("() => document.getElementById('told').textContent === 'undone: apple is there again'")
    shown = "() => [...document.querySelectorAll('.recent button')].map((one) => one.title).sort().join()"
    page.wait_for_function(f"() => ({shown})().includes('001.png: plum,002.png: apple')")  # which the server tells
    assert labels_of(sel) == {HOSTILE: "apple", "001.png": "plum", "002.png": "apple"}


def test_the_page_tells_that_the_label_file_was_changed(
    sel: Path, serve: Callable[..., Running], open_page: Callable[..., Any]
) -> None:
    page = open_page(serve("--classes", CLASSES).url)
    page.keyboard.press("1")
    done(page, 1)
    (sel / "labels.csv").write_text("id,label\n001.png,plum\n")
    assert page.locator(".edited").count() == 0
    page.keyboard.press("1")
    page.wait_for_selector(".edited")
    assert page.locator(".edited").inner_text() == "labels.csv was changed: see labels.edited-1.csv"
    assert (sel / "labels.edited-1.csv").read_text() == "id,label\n001.png,plum\n"


def test_answers_wait_while_the_server_is_gone(sel: Path, serve: Callable[..., Running], browser: Any) -> None:
    first = serve("--classes", CLASSES)
    port = first.base.rsplit(":", 1)[1].strip("/")
    context = browser.new_context()
    page = context.new_page()
    page.goto(first.url)
    page.wait_for_selector("body.ready")
    page.keyboard.press("1")
    done(page, 1)
    first.end(signal.SIGKILL)
    page.keyboard.press("2")
    page.keyboard.press("3")
    page.wait_for_selector(".saved.problem")
    assert "wait" in page.locator(".saved").inner_text()
    second = serve("--port", port)
    page.wait_for_function("() => document.querySelector('.saved').textContent.includes('started anew')")
    page.goto(second.url)  # the new tab sends what the old one left
    page.wait_for_selector("body.ready")
    done(page, 3)
    assert labels_of(sel) == {HOSTILE: "apple", "001.png": "<b>pear</b>", "002.png": "plum"}
    context.close()


def test_several_classes_are_given_by_keys_and_saved_by_enter(
    sel: Path, serve: Callable[..., Running], open_page: Callable[..., Any]
) -> None:
    page = open_page(serve("--classes", "apple,pear,plum", "--multilabel").url)
    page.keyboard.press("1")
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # none of them
    page.keyboard.press("2")
    page.keyboard.press("ArrowRight")  # saves what was chosen
    done(page, 3)
    with (sel / "labels.csv").open(newline="", encoding="utf-8") as file:
        assert [row["labels"] for row in csv.DictReader(file)][:3] == ['["apple", "plum"]', "[]", '["pear"]']


def with_features(sel: Path) -> None:
    """Features of the fixture's items beside the selection: those of even rows are alike, and those of odd ones."""
    ids = list(load_selection(sel).ids)
    rows_ND = np.eye(2, dtype=np.float32)[np.arange(len(ids)) % 2]
    saved = save_embeddings(Embeddings(ids, rows_ND), sel.parent / "emb")
    write_selection(sel, ids, sel.parent / "pool", saved.fingerprint)


def test_suggestions_are_accepted_by_enter_kept_with_the_answer_and_sorted_by(
    sel: Path, serve: Callable[..., Running], open_page: Callable[..., Any]
) -> None:
    with_features(sel)
    page = open_page(serve("--classes", CLASSES).url)
    for key in "1212":
        page.keyboard.press(key)
    page.wait_for_selector(".suggestion")
    assert "apple" in page.locator(".suggestion").inner_text()
    page.keyboard.press("Enter")
    page.keyboard.press("3")  # pear was suggested
    done(page, 6)
    with (sel / "labels.csv").open(newline="", encoding="utf-8") as file:
        kept = [(row["label"], row["suggestion"]) for row in csv.DictReader(file)][:7]
    assert kept == [("apple", ""), ("<b>pear</b>", "")] * 2 + [("apple", "apple"), ("plum", "<b>pear</b>"), ("", "")]
    page.set_viewport_size({"width": 1200, "height": 2600})  # all are in sight
    page.keyboard.press("Shift+G")
    page.locator("#tools select").select_option("suggested")
    page.wait_for_function("() => document.querySelector('#cell-0')?.style.transform.startsWith('translate(8px, 8px')")
    shown = page.evaluate(
        """() => {
          const place = (cell) => cell.getBoundingClientRect();
          const before = (a, b) => place(a).y - place(b).y || place(a).x - place(b).x;
          return [...document.querySelectorAll(".cell")].sort(before).map((cell) => cell.row % 2);
        }"""
    )
    assert shown == [0] * 30 + [1] * 30


@pytest.mark.thorough
def test_a_page_without_suggestions_shows_none(
    sel: Path, serve: Callable[..., Running], open_page: Callable[..., Any]
) -> None:
    with_features(sel)
    page = open_page(serve("--classes", CLASSES, "--no-suggestions").url)
    for key in "1212":
        page.keyboard.press(key)
    done(page, 4)
    with page.expect_response(lambda response: "/api/state" in response.url) as told:
        pass
    assert told.value.json()["suggestions"]["version"] == 0
    page.keyboard.press("Enter")
    assert "no suggestion" in page.locator("#told").inner_text()
    assert page.locator(".suggestion").count() == 0
    assert "than suggested" not in page.locator("header select").inner_text()
    page.keyboard.press("Shift+G")
    assert "suggested" not in page.locator("#tools select").inner_text()


@pytest.mark.thorough
def test_an_image_is_enlarged_moved_and_shown_whole_again(
    serve: Callable[..., Running], open_page: Callable[..., Any]
) -> None:
    page = open_page(serve("--classes", CLASSES).url)
    page.wait_for_selector("#stage img")
    box = page.locator("#stage").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def shown() -> tuple[float, float, float]:
        matrix = page.evaluate("new DOMMatrix(getComputedStyle(document.querySelector('#stage img')).transform)")
        return matrix["a"], matrix["e"], matrix["f"]

    page.keyboard.press("+")
    assert shown() == (1.5, 0, 0)
    page.mouse.move(middle[0] + 60, middle[1])
    page.mouse.wheel(0, -200)
    page.wait_for_function("() => document.querySelector('#stage img').style.transform.startsWith('translate(-')")
    scale, x, y = shown()
    assert scale > 1.5 and x == pytest.approx(60 - 60 * scale / 1.5, abs=0.1) and y == 0  # what lay there lies there
    page.mouse.down()
    page.mouse.move(middle[0] + 90, middle[1] + 20, steps=3)
    page.mouse.up()
    page.mouse.move(*middle)
    assert shown() == pytest.approx((scale, x + 30, 20), abs=0.1)
    page.keyboard.press("=")
    assert shown() == (1, 0, 0)
    page.keyboard.press("+")
    page.keyboard.press("1")  # the next image comes whole
    page.wait_for_function("() => document.querySelector('.place').textContent.startsWith('2 /')")
    page.wait_for_selector("#stage img")
    assert shown() == (1, 0, 0)


PACE = """async () => {
  const { Pace, timeLeft } = await import("/page/pace.js");
  const pace = new Pace();
  for (const second of [0, 2, 4, 100, 102]) pace.record(1, 1000 * second);
  return [pace.perMinute, timeLeft(10, 30), timeLeft(600, 30), timeLeft(6000, 30), timeLeft(0, 30), timeLeft(600, 0)];
}"""


def test_pace_and_time_left_are_shown_and_breaks_do_not_count(
    serve: Callable[..., Running], open_page: Callable[..., Any]
) -> None:
    page = open_page(serve("--classes", CLASSES).url)
    assert page.evaluate(PACE) == [30, "less than a minute left", "about 20 min left", "about 3.3 h left", "", ""]
    assert page.locator(".pace").inner_text() == ""
    for key in "12121":
        page.keyboard.press(key)
        page.wait_for_timeout(20)
    done(page, 5)
    assert page.locator(".pace").inner_text().endswith(" per minute")
    assert page.locator(".left").inner_text().endswith(" left")


def test_with_more_classes_than_keys_a_letter_begins_a_search(
    sel: Path, serve: Callable[..., Running], open_page: Callable[..., Any]
) -> None:
    page = open_page(serve("--classes", ",".join(f"kind {number}" for number in range(1, 41))).url)
    assert page.locator(".class kbd").all_inner_texts() == [*"123456789", *[""] * 31]
    page.keyboard.type("kind 33")
    assert page.locator(".class .name").all_inner_texts() == ["kind 33"]
    page.keyboard.press("Enter")
    page.keyboard.press("9")
    done(page, 2)
    assert labels_of(sel) == {HOSTILE: "kind 33", "001.png": "kind 9"}


def test_the_page_fits_its_window_in_both_schemes(serve: Callable[..., Running], open_page: Callable[..., Any]) -> None:
    url = serve("--classes", CLASSES).url
    for scheme in ("light", "dark"):
        page = open_page(url, color_scheme=scheme, reduced_motion="reduce")
        for view in ("#stage img", ".cell"):
            page.wait_for_selector(view)
            for width in (390, 768, 2560):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert page.locator("main").bounding_box()["height"] > 200
                narrow = page.locator(".search .rename").is_visible()  # a class can be renamed by a finger, too
                assert narrow != page.locator(".class .more").first.is_visible() and narrow == (width == 390)
                boxes = page.evaluate(
                    "[...document.querySelectorAll('header button, .actions button, .class .give')]"
                    ".map((button) => button.getBoundingClientRect()).map(({left, right}) => [left, right])"
                )
                assert len(boxes) >= 12
                assert all(left >= 0 and right <= width for left, right in boxes)
            page.keyboard.press("Shift+G")
        page.set_viewport_size({"width": 390, "height": 500})
        page.keyboard.press("?")
        page.wait_for_selector("dialog[open]")
        assert page.evaluate("document.querySelector('dialog').scrollTop") == 0  # all keys, from the first one on
        assert page.locator("dialog dd").first.bounding_box()["width"] > 250
        page.keyboard.press("Escape")
        ink, paper = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
        assert contrast(ink, paper) > 7
        unnamed = page.evaluate(
            "[...document.querySelectorAll('button, input, select')]"
            ".filter((one) => !one.textContent.trim() && !one.ariaLabel && !one.labels?.length).length"
        )
        assert unnamed == 0


def contrast(one: str, other: str) -> float:
    """Of two colours, by the formula of WCAG."""

    def light(colour: str) -> float:
        parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    brighter, darker = sorted((light(one), light(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)
