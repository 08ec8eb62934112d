"""How fast a run goes, and whether decoding images or the model holds it up."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from activetune.base.printing import counted
from activetune.data.loading import Loaded


class Clock:
    """Splits a run into decoding and computing.

    Args:
        on_processor: model and decoding share the processor. save_every: seconds between two savings.
    """

    def __init__(self, *, on_processor: bool, save_every: float):
        self.started = self.mark = self.saved = time.perf_counter()
        self.wait = self.compute = self.decoding = 0.0
        self.images = self.decoded = 0
        self.on_processor, self.save_every = on_processor, save_every

    def waiting(self, loader: Iterator[Loaded]) -> Iterator[Loaded]:
        """Pass batches on, timing how long each was waited for (but for the first one: that is the workers' start)."""
        first = True
        for batch in loader:
            now = time.perf_counter()
            self.wait += 0 if first else now - self.mark
            first = False
            self.decoding += batch.cpu_seconds
            self.decoded += len(batch.read)
            self.mark = now
            yield batch
            self.mark = time.perf_counter()

    def computed(self, images: int) -> None:
        """Count a forward pass that began when its batch arrived."""
        self.compute += time.perf_counter() - self.mark
        self.images += images

    def time_to_save(self) -> bool:
        """Whether ``save_every`` seconds have passed since the last time."""
        now = time.perf_counter()
        if now - self.saved < self.save_every:
            return False
        self.saved = now
        return True

    def figures(self) -> dict[str, Any]:
        """Images and rates: of the run, of the model while it computes, and of one core while it decodes.

        Decoding is the bottleneck where a device waits for images for over a tenth of the run; where model and decoding
        share one processor, so that either makes the other wait, where decoding takes the larger part of it.
        """
        seconds = max(time.perf_counter() - self.started, 1e-9)
        waiting = self.wait / max(self.wait + self.compute, 1e-9)
        share = self.decoding / (seconds * torch.get_num_threads()) if self.on_processor else 0.0
        return {
            "images": self.images,
            "seconds": round(seconds, 3),
            "images_per_second": round(self.images / seconds, 1),
            "model_images_per_second": round(self.images / max(self.compute, 1e-9), 1),
            "core_images_per_second": round(self.decoded / self.decoding, 1) if self.decoding else 0.0,
            "waiting_share": round(waiting, 4),
            "decoding_share": round(share, 4),
            "bound": "decoding" if (max(waiting, share) > 0.5 if self.on_processor else waiting > 0.1) else "model",
        }

    @staticmethod
    def sentence(figures: Mapping[str, Any]) -> str:
        """The figures of one process in words."""
        decodes = figures["decoding_share"]
        shared = f", {100 * decodes:.0f} % of the processor decodes" if decodes else ""
        return (
            f"{figures['images']:,} images in {figures['seconds']:.1f} s: "
            f"{figures['images_per_second']:,.0f} images/s, "
            f"in the model {figures['model_images_per_second']:,.0f} images/s; "
            f"bottleneck: {'decoding' if figures['bound'] == 'decoding' else 'the model'} (waiting for images "
            f"{100 * figures['waiting_share']:.0f} % of the time{shared}){_advice(figures)}"
        )


def _advice(figures: Mapping[str, Any]) -> str:
    """What would make it faster where decoding takes over a tenth; empty where it takes less."""
    core, model = figures["core_images_per_second"], figures["model_images_per_second"]
    if not core or max(figures["waiting_share"], figures["decoding_share"]) <= 0.1:
        return ""
    told = f". One core decodes {core:,.0f} images/s"
    if figures["decoding_share"]:  # on the same cores as the model
        return f"{told}: more cores, or smaller image files, make it faster"
    cores = counted(math.ceil(model / core), "core")
    return f"{told}: {cores} would keep the model busy, a faster device would only wait for them"
