"""``exact_duplicate``: the same pixels twice, in whatever file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from activetune.base.printing import counted
from activetune.studies.check.content import PIXELS
from activetune.studies.check.examined import Examined
from activetune.studies.check.finding import Check, Finding, Found


@dataclass(frozen=True)
class ExactDuplicate(Check):
    """Images with the pixels of another one; of each group the first in the pool's order is not listed.

    A photo and a copy of it in another format, without loss, are duplicates; so are two files of the same bytes.
    """

    title: ClassVar[str] = "Exact duplicates"
    order: ClassVar[int] = 20
    measures = (PIXELS,)
    drops: ClassVar[bool] = True

    def find(self, pool: Examined, test: Examined | None) -> Found:
        """See :class:`Check`."""
        first: dict[bytes, int] = {}
        found, groups, differ = [], set(), 0
        for row, digest in enumerate(map(bytes, pool.rows["pixels"])):
            one = first.setdefault(digest, row)
            if one == row:
                continue
            groups.add(one)
            same_file = pool.digests[row].tobytes() == pool.digests[one].tobytes()
            labels = pool.labels_differ(pool.ids[row], pool.ids[one])
            differ += bool(labels)
            how = "the same file as" if same_file else "the same pixels, in another file, as"
            found.append(Finding(pool.ids[row], f"{how} {pool.ids[one]}{labels}", other=pool.ids[one]))
        remark = f"copies of {counted(len(groups), 'image')}" if found else ""
        return Found(found, remark + (f"; the labels of {differ:,} differ from their original's" if differ else ""))
