"""How predictions are written: a table with a row per image, or a file per image in a folder; one module per form.

A form makes of an image's answer what a journal line holds (plain values), and of all of these the output.
"""

from __future__ import annotations

from activetune.tasks._forms._form import Form, Row
from activetune.tasks._forms.coco_results import CocoResults
from activetune.tasks._forms.lines import JsonLines, holds_lines
from activetune.tasks._forms.masks import Masks, picture_name, refuse_one_name, refuse_others
from activetune.tasks._forms.tables import NameTable, SentenceTable, Table

__all__ = [
    "CocoResults",
    "Form",
    "JsonLines",
    "Masks",
    "NameTable",
    "Row",
    "SentenceTable",
    "Table",
    "holds_lines",
    "picture_name",
    "refuse_one_name",
    "refuse_others",
]
