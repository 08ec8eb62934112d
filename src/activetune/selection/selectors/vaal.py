"""VAAL (Sinha, Ebrahimi & Darrell, "Variational Adversarial Active Learning", ICCV 2019).

The items that a discriminator takes least for labelled ones: kinds that the labelled part lacks. Autoencoder and
discriminator are trained by ``evidence/adversarial.py``, where the losses and the deviations stand. Ties are broken at
random.
Cost: O(N log N) operations beside that training; C, D and K do not matter. Ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.selection.problem import Evidence
from activetune.selection.selectors._ranking import Float64, Ranking, given


@dataclass(frozen=True)
class Vaal(Ranking):
    """Least like the labelled. Score: one minus the discriminator's probability of labelled, in [0, 1]; no settings."""

    needs: ClassVar[frozenset[str]] = frozenset({"likeness_N"})

    def scores(self, evidence: Evidence) -> Float64:
        """See :class:`Ranking`."""
        return 1 - np.asarray(given(evidence.likeness_N), dtype=np.float64)

    def reason(self, score: float) -> str:
        """See :class:`Ranking`."""
        return f"unlike the labelled items: the discriminator gives it a chance of {1 - score:.2f} to be one"
