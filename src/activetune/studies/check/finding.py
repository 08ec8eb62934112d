"""The contract of every check: a frozen dataclass whose fields are its settings, one file in ``checks/``.

A check says what it reads off each image; all of that is read in one pass. Afterwards it tells its findings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from activetune.base.discovery import classes_of
from activetune.base.settings import Settings
from activetune.studies.check.examined import Examined
from activetune.studies.check.picture import Measure

ROOM = "activetune.studies.check.checks"


@dataclass(frozen=True)
class Finding:
    """Something to look at.

    Attributes:
        id: the item. why: a sentence with the value and the threshold. other: the item that it is like.
        value: what was measured. threshold: which it is beyond, in the same unit; None where there is none.
    """

    id: str
    why: str
    value: float | None = None
    threshold: float | None = None
    other: str = ""


@dataclass(frozen=True)
class Found:
    """All findings of a check, the clearest first, and what there is to say of the pool as a whole."""

    findings: Sequence[Finding] = field(default_factory=list)
    remark: str = ""


@dataclass(frozen=True)
class Check(Settings, ABC):
    """Base class of the checks.

    Attributes:
        title: heading on the page. order: place in tables and on the page.
        measures: read off each image of the pool. of_test: of the test pool's images, too.
        drops: ``exclude.csv`` lists its findings unless ``drop`` says otherwise.
        needs: what must be given, in words, where the check can't do without: ``labels``, ``test``.
    """

    title: ClassVar[str] = ""
    order: ClassVar[int] = 100
    measures: ClassVar[Sequence[Measure]] = ()
    of_test: ClassVar[bool] = False
    drops: ClassVar[bool] = False
    needs: ClassVar[str] = ""

    @abstractmethod
    def find(self, pool: Examined, test: Examined | None) -> Found:
        """The findings.

        Args:
            test: what models will be scored on, where it was given.
        """


def checks() -> Mapping[str, type[Check]]:
    """The checks by name, in the order of the table."""
    found: dict[str, type[Check]] = classes_of(ROOM, Check)
    return dict(sorted(found.items(), key=lambda one: (one[1].order, one[0])))
