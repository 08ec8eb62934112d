"""What ``embed`` says at its end: how fast it went, what held it up, and what to get more of."""

from __future__ import annotations

import pytest
import torch

from activetune.data.loading import Loaded
from activetune.features.clock import Clock


def clock_of(*, wait: float, compute: float, decoding: float, on_processor: bool) -> Clock:
    """After 100 images, one of them rejected, which took so many seconds."""
    clock = Clock(on_processor=on_processor, save_every=60)
    images, rejected = torch.zeros((99, 3, 1, 1), dtype=torch.uint8), [(99, "no image")]
    batch = Loaded(images, list(range(99)), rejected, decoding, digests=[])
    for _ in clock.waiting(iter([batch])):
        clock.images = 99
    clock.wait, clock.compute = wait, compute
    clock.started -= wait + compute
    return clock


def test_where_the_model_waits_for_images_it_says_how_many_cores_would_do() -> None:
    figures = clock_of(wait=9, compute=0.1, decoding=10, on_processor=False).figures()
    assert figures["bound"] == "decoding"
    assert figures["core_images_per_second"] == 10
    assert figures["model_images_per_second"] == 990
    assert Clock.sentence(figures).endswith(
        ". One core decodes 10 images/s: 99 cores would keep the model busy, a faster device would only wait for them"
    )


def test_where_both_share_the_cores_more_of_them_help_both() -> None:
    figures = clock_of(wait=0, compute=20, decoding=8 * torch.get_num_threads(), on_processor=True).figures()
    assert figures["bound"] == "model"
    assert "the model (waiting for images 0 % of the time, 40 % of the processor decodes)" in Clock.sentence(figures)
    figures = clock_of(wait=0, compute=20, decoding=12 * torch.get_num_threads(), on_processor=True).figures()
    assert figures["bound"] == "decoding"
    assert "One core decodes" in Clock.sentence(figures)
    assert Clock.sentence(figures).endswith(" images/s: more cores, or smaller image files, make it faster")


@pytest.mark.parametrize("decoding", [0.0, 0.1])
def test_where_the_model_holds_it_up_there_is_no_advice(decoding: float) -> None:
    figures = clock_of(wait=0, compute=20, decoding=decoding, on_processor=False).figures()
    assert figures["bound"] == "model"
    assert "core" not in Clock.sentence(figures)
