"""Masks from a fixed number of queries: each gives a class, or nothing, and a mask; a pixel's class is their sum.

Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022, by transformers: a
decoder whose queries attend to places inside the mask of the layer before, the best matching of queries to classes
(costs: class 2, mask 5, dice 5), and the losses (cross-entropy 2 with "nothing" weighing 0.1, mask 5, dice 5) of each
layer, on 12,544 points of which three quarters are where a mask is least sure. 9 layers, 100 queries and a
width of 256 are its defaults; ViSFT's head for segmentation is of this kind, with 100 queries.

Ours: the maps of three sizes come from the backbone's last one, by strided and transposed convolutions as in ViTDet's
simple pyramid (Li et al., ECCV 2022), in place of the deformable pixel decoder, whose kernels read maps that a ViT does
not have; losses are divided by the masks of their image, in the paper by those of the batch. As in the paper a pixel
without a class counts against every mask. Label smoothing and ``logit_adjustment`` do not fit such a loss: the task
refuses the second.
It learns from many images and steps: take ``linear`` or ``segmenter`` for few.
Shape legend: B images, H x W places of the map, D feature size, L layers, Q queries, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from activetune.base.errors import MissingExtra, UsageError
from activetune.base.torchvision_ import import_torchvision
from activetune.networks.heads._head import Head, Reads
from activetune.networks.heads._single_precision import LastLinear
from activetune.networks.loss import Loss

WEIGHTS: dict[str, Any] = {"class_weight": 2.0, "mask_weight": 5.0, "dice_weight": 5.0}
PARTS = {"classes": ("loss_cross_entropy", 2.0), "masks": ("loss_mask", 5.0), "overlap": ("loss_dice", 5.0)}
NOTHING = 0.1  # weight of that class in the cross-entropy
POINTS = 12_544
LEVELS = 3
LEAST = 1e-6  # probability of a class that no query sees


@dataclass(frozen=True, eq=False)
class MaskQueries:
    """What the queries say of B images after each layer.

    Attributes:
        classes_LBQY: logits of the C classes and of "nothing", the last one. masks_LBQHW: logits, four times the map.
        points: of each mask that the loss looks at.
    """

    classes_LBQY: Tensor
    masks_LBQHW: Tensor
    points: int = POINTS

    @cached_property
    def logits(self) -> Tensor:
        """(B, C, H, W) logarithms of each class's part of a pixel: over the queries, its probability times the mask."""
        shares = self.classes_LBQY[-1].float().softmax(dim=-1)[..., :-1]
        masks = self.masks_LBQHW[-1].float().sigmoid()
        return torch.einsum("bqc,bqhw->bchw", shares, masks).clamp_min(LEAST).log()

    def handed(self) -> Tensor:
        """See :func:`activetune.networks.outputs.handed`."""
        return self.logits

    def loss(self, targets_BHW: Tensor) -> Loss:
        """The loss of B images, each counting as one; its parts are ``classes``, ``masks`` and ``overlap``.

        Args:
            targets_BHW: class indices, negative where a pixel has none. An image without any teaches "nothing" alone.
        """
        queries, classes = self.classes_LBQY.shape[2:]
        criterion = _criterion(queries, classes - 1, self.points).to(self.masks_LBQHW.device)
        parts = {name: self.masks_LBQHW.new_zeros((), dtype=torch.float32) for name in PARTS}
        for image, target_HW in enumerate(targets_BHW):
            present = torch.unique(target_HW[target_HW >= 0]).long()
            masks = [(target_HW[None] == present[:, None, None]).float()]
            for classes, found in zip(self.classes_LBQY, self.masks_LBQHW, strict=True):
                one = classes[image : image + 1].float(), found[image : image + 1].float()
                losses = self._of_image(criterion, *one, masks, [present])
                for name, (theirs, weight) in PARTS.items():
                    parts[name] = parts[name] + weight * losses[theirs]
        return Loss(torch.stack(list(parts.values())).sum(), float(len(targets_BHW)), parts)

    @staticmethod
    def _of_image(
        criterion: Any, classes: Tensor, found: Tensor, masks: Sequence[Tensor], present: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        count = len(present[0])
        if not count:
            empty = torch.empty(0, dtype=torch.int64)
            none = found.sum() * 0
            return {**criterion.loss_labels(classes, present, [(empty, empty)]), "loss_mask": none, "loss_dice": none}
        matched = criterion.matcher(found, classes, masks, present)
        return {
            **criterion.loss_labels(classes, present, matched),
            **criterion.loss_masks(found, masks, matched, count),
        }


class Mask2Former(Head):
    """Masks by queries (Mask2Former) on the map of patch tokens; needs many images.

    Args:
        width: numbers per query and place. layers: of the decoder. queries: masks of an image at most.
        attention_heads: they divide the width. hidden: between a layer's two linear maps. points: of each mask that the
            loss looks at.
    """

    reads: ClassVar[Reads] = "map"
    batch_size: ClassVar[int] = 16
    stride: ClassVar[int] = 4  # as fine as its masks under patches of 16 pixels

    def __init__(
        self,
        size: int,
        outputs: int,
        *,
        width: int = 256,
        layers: int = 9,
        queries: int = 100,
        attention_heads: int = 8,
        hidden: int = 2048,
        points: int = POINTS,
    ):
        super().__init__(size, outputs)
        if width % (2 * attention_heads) or layers < 1 or queries < 1:
            raise UsageError(
                f"a width of {width} must be a multiple of {2 * attention_heads}, and there must be a layer and a query"
            )
        self._options = {"width": width, "layers": layers, "queries": queries}
        self._options |= {"attention_heads": attention_heads, "hidden": hidden, "points": points}
        self.points = points
        self.norm = nn.LayerNorm(size)  # one learning rate fits every backbone
        self.project = nn.Linear(size, width)
        self.coarse = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.fine = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.finest = nn.Sequential(nn.GroupNorm(1, width), nn.GELU(), nn.ConvTranspose2d(width, width, 2, stride=2))
        library = _library()
        config = _config(width, outputs, queries, layers, attention_heads, hidden, points)
        self.decoder = library.Mask2FormerTransformerModule(width, config)
        nn.init.normal_(self.decoder.level_embed.weight, std=0.02)  # theirs is what was in memory
        for weights in self.decoder.decoder.layers.parameters():
            if weights.dim() > 1:
                nn.init.xavier_uniform_(weights)
        self.classifier = LastLinear(width, outputs + 1)

    def options(self) -> dict[str, Any]:
        """See :class:`Head`."""
        return dict(self._options)

    def forward(self, features_BHWD: Tensor) -> MaskQueries:
        """What the queries say of images with these features."""
        middle = self.project(self.norm(features_BHWD)).permute(0, 3, 1, 2)
        fine = self.fine(middle)
        found = self.decoder(multi_scale_features=[self.coarse(middle), middle, fine], mask_features=self.finest(fine))
        answers = torch.stack(list(found.intermediate_hidden_states)).transpose(1, 2)
        return MaskQueries(self.classifier(answers), torch.stack(list(found.masks_queries_logits)), self.points)


def _library() -> Any:
    import_torchvision()
    try:
        from transformers.models.mask2former import modeling_mask2former
    except ImportError:
        raise MissingExtra("transformers", "dense") from None
    return modeling_mask2former


@lru_cache(maxsize=4)
def _criterion(queries: int, classes: int, points: int) -> Any:
    """The matching and the losses, which have no weights of their own."""
    config = _config(256, classes, queries, 1, 8, 256, points)
    return _library().Mask2FormerLoss(config, dict(PARTS.values()))


def _config(width: int, classes: int, queries: int, layers: int, attention_heads: int, hidden: int, points: int) -> Any:
    """What transformers builds decoder and loss by; it builds no backbone here, and warns of all kinds but Swin."""
    from transformers import Mask2FormerConfig, SwinConfig

    return Mask2FormerConfig(
        backbone_config=SwinConfig(),
        hidden_dim=width,
        mask_feature_size=width,
        num_queries=queries,
        decoder_layers=layers + 1,
        num_attention_heads=attention_heads,
        dim_feedforward=hidden,
        dropout=0.0,
        no_object_weight=NOTHING,
        train_num_points=points,
        **{"num_labels": classes, **WEIGHTS},
    )
