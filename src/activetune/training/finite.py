"""Refusing numbers that are not finite: a model that holds them is never kept, chosen by, or saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from activetune.base.errors import ActivetuneError
from activetune.networks.network import not_finite
from activetune.networks.outputs import all_finite


class NotFinite(ActivetuneError):
    """A loss, a weight, a feature or an output became NaN or infinite: training can't go on from there."""

    everywhere = True  # processes that train together have the same weights


def settings_to_change(precision: str, rates: Mapping[str, float], *, kept: str = "") -> str:
    """The end of a sentence on numbers that are not finite: the settings to change, and how to run again.

    >>> settings_to_change("fp16", {"lr": 0.5})
    'give a lower --set lr=… (it is 0.5), or --precision bf16 or fp32 (it is fp16), with --overwrite'

    Args:
        kept: what a run with other rates keeps under --resume; empty: nothing.
    """
    lower = [f"a lower --set {name}=… (it is {rate:g})" for name, rate in rates.items()]
    precise = {"fp16": "--precision bf16 or fp32 (it is fp16)", "bf16": "--precision fp32 (it is bf16)"}
    if kept and lower:
        lower = [f"{', or '.join(lower)} with --resume, which keeps {kept}"]
        if precision not in precise:
            return f"give {lower[0]}"
    remedies = [*lower, *([precise[precision]] if precision in precise else [])]
    return f"give {', or '.join(remedies) or 'other weights'}, with --overwrite"


def rates_among(settings: Mapping[str, Any], *names: str) -> dict[str, float]:
    """Those of a recipe's flat settings that are named and that it has, such as ``lr``."""
    return {name: settings[name] for name in names if settings.get(name) is not None}


def refuse_loss(loss: float, where: str, remedy: str) -> None:
    """Raise :class:`NotFinite` for a loss that is no finite number."""
    if not np.isfinite(loss):
        raise NotFinite(f"the loss is {loss} {where}; {remedy}")


def refuse_weights(network: nn.Module, where: str, remedy: str) -> None:
    """Raise :class:`NotFinite` for a network of which some weight or statistic is not finite; it names the first."""
    if bad := not_finite(network.state_dict()):
        raise NotFinite(f"the weights {bad[0]} are not finite {where}; {remedy}")


def refuse_outputs(outputs: Any, what: str, where: str, remedy: str) -> None:
    """Raise :class:`NotFinite` for features, or outputs of a head, that are not all finite."""
    finite = bool(np.isfinite(outputs).all()) if isinstance(outputs, np.ndarray) else all_finite(outputs)
    if not finite:
        raise NotFinite(f"{what} are not finite {where}; {remedy}")
