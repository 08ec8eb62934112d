"""The pages, and whether every figure on them is that of stored values.

A claim (``claims_*.py``) is a piece of a page with ``{}`` where a figure stands, and a function of the stored values
that gives these figures. What no claim covers stands in a table that is made, or is given: a setting, another's figure.

python experiments/pages.py      # tells of each page what its values say otherwise, and what nothing covers
"""

from __future__ import annotations

import re

import claims_benchmarks
import claims_docs
import claims_experiments
import claims_pool
import claims_scale
import claims_stopping
import claims_vecaf
import claims_visft
from claims import Claim
from figures import BEGIN, END, FIGURE
from stored import ROOT

MODULES = (
    *(claims_benchmarks, claims_docs, claims_experiments, claims_pool, claims_scale),
    *(claims_stopping, claims_vecaf, claims_visft),
)
CLAIMS: dict[str, list[Claim]] = {page: claims for module in MODULES for page, claims in module.CLAIMS.items()}
GIVEN: dict[str, list[str]] = {page: pieces for module in MODULES for page, pieces in module.GIVEN.items()}
FIGURES = re.compile(
    r"(?<![\w.:=/-])[-+]?\d[\d,]*(?:\.\d+)?(?:-\d[\d,]*(?:\.\d+)?)? ?"
    r"(?:%|µs|ms|s|h|[KMGT]B|[MGT]FLOP|points?|times|images/s|samples/s|crops/s|minutes?|hours?)(?![\w])"
    r"|(?<![\w.:=/-])[-+]?\d[\d,]*\.\d+(?![\w.])"
)
NO_RESULT = re.compile(  # versions, papers, code, and the value of a setting after its name
    r"(?:torch|arXiv|Python) \d[\d.]*\d(?:\+cpu)?"
    r"|`[^`]*`(?: \d[\d,.]*\d(?:-\d[\d.]*\d?)?(?! ?(?:%|[a-z]+/s|points|times)))?"
)
EXPERIMENTS = (
    "activeft",
    "bundled_backbone",
    "caltech101",
    "check",
    "detection",
    "fact",
    "pool",
    "segmentation",
    "stopping",
    "vecaf",
    "visft",
)
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("README.md", "docs/*.md", "benchmarks/README.md", "benchmarks/accuracy/README.md")
    for path in ROOT.glob(pattern)
) + [f"experiments/{name}/README.md" for name in EXPERIMENTS]


def main() -> None:
    for page in PAGES:
        print(f"{page}:", *(differing(page) or uncovered(page) or ["every figure has its values"]), sep="\n  ")


def differing(page: str) -> list[str]:
    """The claims that a page does not say, as it should say them."""
    text = plain((ROOT / page).read_text(encoding="utf-8"))
    return [told for claim in CLAIMS.get(page, ()) if (told := claim.told()) not in text]


def uncovered(page: str) -> list[str]:
    """The sentences of a page that hold a figure which no claim, no given piece and no table covers."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(rf"{BEGIN}.*?{END}|^```.*?^```|^\|.*?$|\]\([^)]*\)", " ", text, flags=re.DOTALL | re.MULTILINE)
    text = plain(text)
    for known in (*(claim.told() for claim in CLAIMS.get(page, ())), *GIVEN.get(page, ())):
        text = text.replace(known, " … ")
    text = FIGURE.sub("…", NO_RESULT.sub("…", text))  # ± figures are tested by figures.py
    return [one for one in re.split(r"(?<=[.;:]) (?=[A-Z*…(-])", text) if FIGURES.search(one)]


def plain(text: str) -> str:
    """Text in one line, without emphasis."""
    return " ".join(text.replace("**", "").split())


if __name__ == "__main__":
    main()
