"""Which checks are made, with which settings, and whose findings are to be left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from activetune.base.config import configure
from activetune.base.errors import UsageError, repeated, some, unknown_name
from activetune.base.fingerprint import record_of
from activetune.studies.check.finding import Check, checks
from activetune.studies.check.picture import Measure

UNREADABLE = "unreadable"  # no command needs to be told to leave these out, and select knows none of their ids


@dataclass(frozen=True)
class Asked:
    """The checks by name, in the order of the table, and the names of those whose findings ``exclude.csv`` lists."""

    checks: Mapping[str, Check]
    dropped: frozenset[str]

    @classmethod
    def of(cls, names: Sequence[str] | None, settings: Mapping[str, Any], drop: Sequence[str] | None) -> Asked:
        """What is asked for.

        Args:
            names: None for all checks. settings: by ``"CHECK.NAME"``. drop: None for the checks' own choice.

        Raises:
            UsageError: no such check or setting, or a check that is not made.
        """
        known = checks()
        if twice := repeated(names or ()):
            raise UsageError(f"checks must be distinct; repeated: {some(twice)}")
        for name in names or ():
            if name not in known:
                raise unknown_name("check", name, known)
        wanted = [name for name in known if names is None or name in names]
        if not wanted:
            raise UsageError(f"no check is named; there are: {', '.join(known)}")
        values = _by_check(settings, known, wanted)
        made = {name: configure(known[name], values.get(name, {}), what=f"check {name}") for name in wanted}
        dropped = [name for name in wanted if known[name].drops] if drop is None else list(drop)
        for name in dropped:
            if name not in made or name == UNREADABLE:
                raise UsageError(
                    f"drop can't hold {name!r}; allowed: {', '.join(one for one in wanted if one != UNREADABLE)}"
                    + (" (unreadable images are left out by every command)" if name == UNREADABLE else "")
                )
        return cls(made, frozenset(dropped))

    def measures(self, *, of_test: bool = False) -> list[Measure]:
        """What is read off each image of the pool, or of the test pool: each measure once."""
        all_of_them = (
            measure for check in self.checks.values() if check.of_test or not of_test for measure in check.measures
        )
        return list({measure.name: measure for measure in all_of_them}.values())

    def record(self) -> dict[str, Any]:
        """Checks, settings and what is dropped, for the manifest."""
        return {
            "checks": {name: record_of(check) for name, check in self.checks.items()},
            "dropped": sorted(self.dropped),
        }


def _by_check(settings: Mapping[str, Any], known: Iterable[str], wanted: Iterable[str]) -> dict[str, dict[str, Any]]:
    """``{"dark.below": 0.2}`` to ``{"dark": {"below": 0.2}}``."""
    found: dict[str, dict[str, Any]] = {}
    for text, value in settings.items():
        name, dot, setting = text.partition(".")
        if not dot:
            raise UsageError(f"the setting {text!r} names no check; give CHECK.NAME, for instance dark.below=0.2")
        if name not in known:
            raise unknown_name("check", name, known)
        if name not in wanted:
            raise UsageError(f"the setting {text!r} is of a check that is not made; name it in checks, too")
        found.setdefault(name, {})[setting] = value
    return found
