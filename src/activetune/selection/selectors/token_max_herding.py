"""MaxHerding on regions: for tasks that answer for each pixel, an image is worth the regions that it shows.

The population is all patch tokens of all images, of unit length, and a picked image covers with all its tokens.
Greedily the image is picked that adds most to ``mean_m max_(picks i) max_(tokens t of i) k(r_m, r_it)`` over the
regions m, with ``k(x, y) = exp(-|x - y|^2 / (2 sigma^2))``. Labelled images cover from the start with all tokens.
From MaxHerding (Bae, Noh & Sutherland, ECCV 2024) are the objective, the kernel and the greedy rule, there of one
vector per image; taking tokens for the items and images for their owners is this project's own, and no paper's method.
Its bandwidth is that of ``max_herding``, not tuned for tokens.
Exact but for the jury: gains are evaluated lazily (``_greedy.py``), as those of images never grow either, and of more
than ``jury`` tokens a random sample of that size stands for all in the mean. The seed draws only the jury.
Cost: 2 N T J D operations for the first gains and about 16 K T J D after, T tokens per image, J = min(N T, jury);
O(J D + T max(J, D)) memory beside the tokens, which are read from where they are. Ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from activetune.base.arrays import IntArray
from activetune.base.errors import UsageError
from activetune.selection.problem import Evidence, Picks
from activetune.selection.regions import RegionSimilarity, images_met, sample_regions
from activetune.selection.selectors._base import Selector
from activetune.selection.selectors._greedy import and_farthest, gaussian, lazy_greedy
from activetune.selection.selectors._ranking import given

AT_ONCE = 8  # images whose gains are computed again in one product; each has hundreds of tokens


@dataclass(frozen=True)
class TokenMaxHerding(Selector):
    """Greedy maximum of the kernel coverage of patch tokens. Score: the share of coverage that the pick adds.

    Attributes:
        bandwidth: sigma, > 0. jury: most tokens that the mean runs over, 0 for all.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features_ND", "tokens_NTD"})
    ordered: ClassVar[bool] = True
    randomised: ClassVar[bool] = False

    bandwidth: float = 1.0
    jury: int = 4_096

    def __post_init__(self) -> None:
        if self.bandwidth <= 0 or self.jury < 0:
            raise UsageError("token_max_herding: bandwidth must be above zero, jury at least 0 (all tokens)")

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`."""
        tokens_NTD, candidates = given(evidence.tokens_NTD), evidence.candidates
        jury = sample_regions(tokens_NTD, evidence.population, self.jury, rng)
        similarity, kernel = RegionSimilarity(jury, tokens_NTD, evidence.device), gaussian(self.bandwidth)
        covered_J = torch.zeros(len(jury), device=evidence.device)
        reasons: list[str] = []

        def gains(which: IntArray) -> npt.NDArray[np.float64]:
            found = np.empty(len(which))
            for part in similarity.parts(len(which)):
                cover = kernel(similarity.to(candidates[which[part]]))
                found[part] = cover.sub_(covered_J).clamp_min_(0).mean(dim=1).cpu().numpy()
            return found

        def take(pick: int) -> None:
            cover_J = kernel(similarity.to(np.asarray([pick]))[0])
            nearest_J = (cover_J > covered_J).cpu().numpy()
            images = images_met(jury.owners_J, nearest_J)
            reasons.append(f"nearest to {int(nearest_J.sum()):,} of {len(jury):,} regions, of {images:,} images")
            torch.maximum(covered_J, cover_J, out=covered_J)

        for part in similarity.parts(len(evidence.labelled)):
            torch.maximum(covered_J, kernel(similarity.to(evidence.labelled[part])).amax(dim=0), out=covered_J)
        positions, won = lazy_greedy(gains, take, candidates, budget, at_once=AT_ONCE)
        return and_farthest(evidence, budget, positions, won, reasons)
