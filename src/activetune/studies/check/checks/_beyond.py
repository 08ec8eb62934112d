"""What checks of a single number share: who is beyond a threshold, unless so many are that the pool is meant so."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.base.config import check_settings
from activetune.features.distances import Float32
from activetune.studies.check.examined import Examined
from activetune.studies.check.finding import Check, Finding, Found

FEWEST = 3  # images beyond the threshold that are no habit of the pool, however small it is


@dataclass(frozen=True)
class Beyond(Check):
    """An image whose number lies beyond a threshold.

    Settings:
        common: share of the images, 0 to 1, above which the pool is taken to be so on purpose: night photos, digits on
            black. Then nothing is listed, and one sentence tells it.

    Attributes:
        sign: 1 where numbers above the threshold count, -1 where those below do. pool_is: ends the sentence on a pool
            of which that is common: ``dark``.
    """

    common: float = 0.2

    sign: ClassVar[int] = 1
    pool_is: ClassVar[str] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(type(self).__name__.lower(), ("common", self.common, 0, 1))

    def find(self, pool: Examined, test: Examined | None) -> Found:
        values_R = pool.rows[self.measures[0].name].astype(np.float32)
        if not np.isfinite(values_R).any():
            return Found()
        limit = self.limit(values_R[np.isfinite(values_R)])
        beyond = np.flatnonzero(self.sign * values_R > self.sign * limit)  # NaN: not measured, and not beyond
        if len(beyond) > max(FEWEST, self.common * len(values_R)):
            return Found(remark=f"{len(beyond):,} of {len(values_R):,} images are {self.pool_is}; {self._habit()}")
        order = beyond[np.argsort(-self.sign * values_R[beyond], kind="stable")]
        return Found([self._finding(pool.ids[row], float(values_R[row]), limit) for row in order])

    @abstractmethod
    def limit(self, values_R: Float32) -> float:
        """The threshold in a pool.

        Args:
            values_R: the numbers of its images, finite; one at least.
        """

    @abstractmethod
    def told(self, value: float, limit: float) -> str:
        """Why an image is listed, in words."""

    def _finding(self, item: str, value: float, limit: float) -> Finding:
        return Finding(item, self.told(value, limit), round(value, 4), round(limit, 4))

    def _habit(self) -> str:
        return f"that is common here (more than {100 * self.common:.0f} %), so none is listed"
