"""The documentation site: a page for each method, and no link that leads nowhere."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from activetune.selection.selectors import selectors
from activetune.tasks import tasks
from activetune.training.recipe import recipes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site() -> ModuleType:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module("make_site")
    finally:
        sys.path.pop(0)


def test_every_selector_recipe_and_task_has_a_page(site: ModuleType) -> None:
    found = {path.as_posix() for path in site.pages()}
    methods = {"selectors": selectors(), "recipes": recipes(), "tasks": tasks()}
    expected = {f"docs/methods/{kind}/{name}.md" for kind, names in methods.items() for name in names}
    assert {path for path in found if path.startswith("docs/methods/")} == expected | {
        f"docs/methods/{kind}.md" for kind in methods
    }


def test_notebooks_and_decisions_have_pages(site: ModuleType) -> None:
    pages = site.pages()
    for notebook in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        text = pages[Path("docs", "notebooks", f"{notebook.stem}.md")]
        assert text.startswith("# ") and "```python\n" in text and f"]({notebook.name})" in text
    listed = pages[Path("docs/decisions/index.md")]
    assert all(f"]({page.name})" in listed for page in (ROOT / "docs" / "decisions").glob("*.md"))


def test_a_page_tells_use_settings_and_what_was_measured(site: ModuleType) -> None:
    text = site.pages()[Path("docs/methods/selectors/activeft.md")]
    for part in ("# `activeft`", "--method activeft", "## In the guide", "| `temperature` | `0.07` |", "## Measured"):
        assert part in text
    assert re.search(r"Caltech-101, ViT-Tiny \| `activeft` \| 80\.9 ± \d\.\d \(K = 120\)", text)
    assert "| `random` |" in text, "the baseline stands beside it"
    recipe = site.pages()[Path("docs/methods/recipes/pool_probe.md")]
    assert "few labels of a large pool" in recipe and "## Measured" in recipe


def test_every_page_tells_what_was_measured_or_that_nothing_was(site: ModuleType) -> None:
    bare = []
    for path, text in site.pages().items():
        if len(path.parts) == 4 and path.parts[1] == "methods":
            measured = text.partition("## Measured")[2]
            assert re.search(r"\d\.\d|experiments/\w+/README|not been measured", measured), path
            bare += [path.stem] if "not been measured" in measured else []
    assert sorted(bare) == ["multilabel"]


def test_links_of_the_site_lead_to_pages(site: ModuleType, tmp_path: Path) -> None:
    site.copy(tmp_path)
    for path, text in site.pages().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    nowhere = []
    for page in tmp_path.rglob("*.md"):
        text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)#\s]+)", text):
            if not link.startswith(("http:", "https:")) and not (page.parent / link).exists():
                nowhere.append(f"{page.relative_to(tmp_path)}: {link}")
    assert not nowhere


def test_the_navigation_names_pages_of_the_site(site: ModuleType) -> None:
    named = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    made = {path.as_posix() for path in site.pages()}
    written = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}
    assert written - set(named) == set()
    assert named and not [
        name for name in named if name != "index.md" and name not in made and not (ROOT / name).is_file()
    ]
