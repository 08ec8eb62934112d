"""CoreSet (Sener & Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018).

k-center greedy whose centres are the labelled items (algorithm 1): each pick is the candidate farthest from all
labelled items and earlier picks. It reads which items are labelled, not how, and trains nothing.
Deviations: features of a frozen backbone in place of the current model's; without the paper's second step, an integer
program that lowers the radius by leaving out outliers. With nothing labelled the first pick is random: then, and in
every other respect, this is ``k_center``, under the name that a comparison of methods with several rounds looks for.
Cost: 2 N K D operations and 2 N L D for L labelled items, O(N) memory. Ordered.
"""

from __future__ import annotations

from dataclasses import dataclass

from activetune.selection.selectors.k_center import KCenter


@dataclass(frozen=True)
class CoreSet(KCenter):
    """Farthest first from the labelled items; no settings. Score: the distance when picked, on unit features."""
