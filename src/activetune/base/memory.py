"""Memory that runs out: fewer items at a time where the result does not depend on it, and a sentence elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from activetune.base.errors import ActivetuneError, is_out_of_memory
from activetune.base.progress import note

Result = TypeVar("Result")


@dataclass
class Portions:
    """How many items are computed at a time: all that are asked for, until memory runs out of which; then half of them.

    What fitted once is kept to, so memory runs out a few times per run, not at every batch.

    Attributes:
        device: whose memory it is. quiet: do not say that there are fewer. most: at a time; 0: any number.
    """

    device: torch.device
    quiet: bool = False
    most: int = 0

    def of(self, count: int, compute: Callable[[slice], Result]) -> Iterator[tuple[slice, Result]]:
        """Compute ``count`` items portion by portion, in their order.

        Args:
            compute: gives the result of some of them.

        Returns:
            Which items, and their result.

        Raises:
            ActivetuneError: memory does not suffice for one item.
        """
        start = 0
        while start < count:
            part = slice(start, min(count, start + (self.most or count)))
            found = fitting(partial(compute, part))
            if found is None:
                self._halve(part.stop - part.start)
                continue
            yield part, found[0]
            start = part.stop

    def _halve(self, count: int) -> None:
        if count == 1:
            raise ActivetuneError(
                f"a single image needs more memory than {self.device.type} has; give a smaller backbone or image size, "
                "or another --device"
            )
        release_memory(self.device)
        self.most = count // 2
        note(f"{count} images at a time need more memory than there is; going on with {self.most}", self.quiet)


def fitting(compute: Callable[[], Result]) -> tuple[Result] | None:
    """The result of a computation; None where memory ran out, and then nothing of it is held any more."""
    try:
        return (compute(),)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def release_memory(device: torch.device) -> None:
    """Give back what torch keeps of a device's memory for later, in pieces that may be too small."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
