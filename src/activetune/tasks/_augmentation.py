"""Random crops and flips that move an image and its answer together, and stronger changes of images without places."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

from activetune.base.config import check_settings
from activetune.base.settings import Settings
from activetune.base.torchvision_ import import_torchvision
from activetune.networks.backbones import ImageSettings


@dataclass(frozen=True)
class Crops(Settings):
    """How images are varied.

    Attributes:
        min_crop: smallest share of the image that a random crop shows. flip: chance of a horizontal flip.
        augment: what is done beside these, to the cropped image: ``none``; ``trivial``, one operation of a random kind
            and strength (Müller & Hutter, "TrivialAugment", ICCV 2021); or ``rand``, two operations of random kinds
            (Cubuk et al., "RandAugment", 2020) at torchvision's strength, 9 of 30. Operations change colours or
            shear, turn and shift; so only tasks whose answers have no place in the image take them.
    """

    later: ClassVar[frozenset[str]] = frozenset({"augment"})

    min_crop: float = 0.35
    flip: float = 0.5
    augment: Literal["none", "trivial", "rand"] = "none"

    def __post_init__(self) -> None:
        check_settings("training", ("min_crop", self.min_crop, 0.01, 1), ("flip", self.flip, 0, 1))


def augmentation(settings: ImageSettings, crops: Crops) -> Any:
    """A transform of (PIL image, answer): the image becomes a uint8 tensor (3, H, W).

    An answer of torchvision's ``tv_tensors`` (``Mask``, ``BoundingBoxes``, or a container of them) is cropped, resized
    and flipped with its image; a mask by nearest neighbours. Any other answer stays as it is.
    """
    return _augmentation(settings.size, settings.interpolation, crops)


@lru_cache(maxsize=16)
def _augmentation(size: tuple[int, int], interpolation: str, crops: Crops) -> Any:
    import_torchvision()
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop(
        size, scale=(crops.min_crop, 1.0), interpolation=v2.InterpolationMode(interpolation), antialias=True
    )
    stronger = {"none": [], "trivial": [v2.TrivialAugmentWide()], "rand": [v2.RandAugment()]}[crops.augment]
    return v2.Compose([crop, v2.RandomHorizontalFlip(crops.flip), *stronger, v2.PILToTensor()])
