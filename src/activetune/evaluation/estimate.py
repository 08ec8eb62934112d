"""How good a model is by its own labels: accuracy on labelled items that a fit did not see, and how far to trust it.

It is no test: the labelled items may have been selected rather than drawn at random, and a setting may have been chosen
by the very figure. Both are said beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from activetune.base.arrays import IntArray
from activetune.base.errors import some
from activetune.evaluation.metrics import Measured, accuracy, told, told_value
from activetune.evaluation.scores import PRIMARY, per_class_accuracy, worst_classes
from activetune.evaluation.statistics import wilson_interval

WORST = 3
PROBE = "the linear probe"
SELECTED = "selected, so the pool's accuracy may differ"


@dataclass(frozen=True)
class Estimate:
    """A share of right answers with its interval.

    Attributes:
        of: the model that answered. by: how the items were kept from it. chose: the setting that was chosen by these
            very answers, which makes the figure a little too high; empty where nothing was.
        value: top-1 in [0, 1] over ``n`` items. interval: its bounds at 95 %, Wilson's.
        worst: the classes that are least often right, with ``top1`` and ``n`` each. unasked: classes of which no item
            is among the ``n``.
    """

    of: str
    by: str
    chose: str
    value: float
    n: int
    interval: tuple[float, float]
    worst: Mapping[str, Mapping[str, float]]
    metric: str = PRIMARY
    unasked: Sequence[str] = ()

    @classmethod
    def count(
        cls, predicted_N: IntArray, truth_N: IntArray, classes: Sequence[str], *, of: str, by: str, chose: str = ""
    ) -> Estimate:
        """Count right answers of at least one item."""
        n, share = len(truth_N), accuracy(predicted_N, truth_N)
        rows = per_class_accuracy(truth_N, predicted_N, classes)
        weakest = sorted((row["top1"], -row["n"], name) for name, row in rows.items() if row["top1"] < 1)[:WORST]
        bounds = wilson_interval(round(share * n), n)
        asked = set(truth_N.tolist())
        unasked = [name for number, name in enumerate(classes) if number not in asked]
        worst = {name: rows[name] for _, _, name in weakest}
        return cls(of, by, chose, share, n, bounds, worst, unasked=unasked)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for ``manifest.json``: the bounds are named there."""
        low, high = self.interval
        return {**asdict(self), "interval": {"low": low, "high": high, "level": 0.95, "by": "Wilson"}}


def estimate_by(
    measured: Measured, classes: Sequence[str], *, of: str, by: str, chose: str = "", metric: str = PRIMARY
) -> dict[str, Any]:
    """``{"estimate": …}`` of a model's answers, as plain values.

    Args:
        metric: the name of what was measured, where that is no share of right answers: its value has no interval.
    """
    if not len(measured.truth_N):
        figures = {"value": measured.value, "n": round(measured.n), "metric": metric}
        return {"estimate": {"of": of, "by": by, "chose": chose, **figures, "interval": None, "worst": {}}}
    found = Estimate.count(measured.predicted_N, measured.truth_N, classes, of=of, by=by, chose=chose)
    return {"estimate": found.as_dict()}


def short_estimate(estimate: Mapping[str, Any] | None) -> str:
    """``; the linear probe: 84.2 % right by 5-fold cross-validation (80.1 to 87.6 %)``; empty without a figure."""
    if estimate is None:
        return ""
    found = f"; {estimate['of']}: {_value(estimate)} by {estimate['by']}"
    return found if estimate["interval"] is None else f"{found} ({_between(estimate)} %)"


def _value(estimate: Mapping[str, Any]) -> str:
    """``84.2 % right``, ``41.0 % mean IoU``."""
    what = "right" if estimate["interval"] is not None else told(estimate["metric"])
    return f"{told_value(estimate['metric'], estimate['value'], 1)} {what}"


def _between(estimate: Mapping[str, Any]) -> str:
    return f"{100 * estimate['interval']['low']:.1f} to {100 * estimate['interval']['high']:.1f}"


def describe_estimate(figures: Mapping[str, Any], *, trained_on: bool, selected: bool = False) -> list[str]:
    """Sentences for the user on the ``estimate`` among a model's figures; without one, why there is none.

    Args:
        trained_on: whether a network was trained on from the probe: the probe's figure is not the model's own then.
        selected: whether the labelled items were selected, so that they do not stand for the pool.
    """
    estimate = figures.get("estimate")
    if estimate is None:
        return [
            "how good the model is can't be told from these labels, as all of them trained it; score it on other "
            "labelled images with: activetune evaluate"
        ]
    interval = "" if estimate["interval"] is None else f" ({_between(estimate)} %, Wilson's 95 % interval)"
    figure = f"{estimate['of']}: {_value(estimate)}{interval} by {estimate['by']}, {estimate['n']:,} labelled items"
    unasked = estimate.get("unasked", ())
    remarks = [f"none of them of {some(unasked)}"] if unasked else []
    remarks += [f"{estimate['chose']} was chosen by it, so it is a little too high"] if estimate["chose"] else []
    if estimate["of"] == PROBE and trained_on:
        remarks.append("the network trained on from it was not validated, as all labels trained it")
    remarks += [f"the items were {SELECTED}"] if selected else []
    weakest = worst_classes(estimate["worst"], WORST)
    return [
        "; ".join([figure, *remarks]),
        *([f"lowest by it: {weakest}"] if weakest else []),
    ]
