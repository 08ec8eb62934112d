"""DETR: a fixed number of queries look at the image through a transformer, and each gives one object or none.

Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020, by transformers: encoder, decoder, the best
matching of queries to objects (costs: class 1, L1 5, GIoU 2) and the losses (cross-entropy 1 with "no object" weighing
0.1, L1 5, GIoU 2) of each decoder layer. 6 + 6 layers, 100 queries, an encoder of 128 numbers, a decoder of 256, 1,024
between and dropout 0.1 are ViSFT's (Jiang et al., "Supervised Fine-tuning in turn Improves Visual Foundation Models",
2024), and the defaults. It has no prior for where objects are and learns it from many images: take ``fcos`` for few.

Deviations: L1 and GIoU are divided by the objects of their image, in the paper by those of the batch; weights start
as in the paper (Xavier), not as in transformers; each layer's answer is normalised once; ViSFT's embeddings of the task
are left out, since a head has one task. An image with more objects than queries leaves the worst matches out.
Shape legend: B images, H x W places of the map, D feature size, L decoder layers, Q queries, K boxes, Y classes.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from activetune.base.errors import MissingExtra, UsageError
from activetune.base.torchvision_ import import_torchvision
from activetune.networks.boxes import BoxTarget, Found
from activetune.networks.heads._head import Head, Reads
from activetune.networks.heads._single_precision import LastLinear
from activetune.networks.loss import Loss

COSTS = {"class_cost": 1, "bbox_cost": 5, "giou_cost": 2}
PARTS = {"classes": ("loss_ce", 1), "corners": ("loss_bbox", 5), "overlap": ("loss_giou", 2)}  # and their weights
NO_OBJECT = 0.1  # weight of that class in the cross-entropy
THRESHOLD = 0.05  # of a score


@dataclass(frozen=True, eq=False)
class Queries:
    """What the queries say of B images after each layer.

    Attributes:
        logits_LBQY: of the Y classes and of "no object", the last one. boxes_LBQ4: centre, width and height, in [0, 1].
    """

    logits_LBQY: Tensor
    boxes_LBQ4: Tensor

    def loss(self, targets: Sequence[BoxTarget]) -> Loss:
        """The loss of B images, of which each counts as one; its parts are ``classes``, ``corners`` and ``overlap``.

        Box losses are divided by the objects of their image, so it does not matter which images share a batch.
        """
        criterion = self._criterion()
        parts = {name: self.boxes_LBQ4.new_zeros(()) for name in PARTS}
        if not self.boxes_LBQ4.isfinite().all():  # the matching would stop without a sentence
            return Loss(self.boxes_LBQ4.sum() * torch.nan, float(len(targets)), parts)
        for image, one in enumerate(targets):
            known = [{"boxes": _centred(one["xyxy"]), "class_labels": one["classes"]}]
            objects = float(max(1, len(one["classes"])))
            for logits, boxes in zip(self.logits_LBQY, self.boxes_LBQ4, strict=True):
                outputs = {"logits": logits[image : image + 1], "pred_boxes": boxes[image : image + 1]}
                matched = criterion.matcher(outputs, known)
                found = criterion.loss_labels(outputs, known, matched, objects)
                found |= criterion.loss_boxes(outputs, known, matched, objects)
                for name, (theirs, weight) in PARTS.items():
                    parts[name] = parts[name] + found[theirs] * weight
        return Loss(torch.stack(list(parts.values())).sum(), float(len(targets)), parts)

    def _criterion(self) -> Any:
        library: Any = importlib.import_module("transformers.loss.loss_for_object_detection")
        classes = self.logits_LBQY.shape[-1] - 1
        loss = library.ImageLoss(library.HungarianMatcher(**COSTS), classes, NO_OBJECT, ["labels", "boxes"])
        return loss.to(self.logits_LBQY.device)

    @torch.no_grad()
    def decode(self, threshold: float = THRESHOLD) -> list[Found]:
        """The objects of each image, each query's likeliest class, the surest first.

        Args:
            threshold: what a score must exceed, in [0, 1].
        """
        return self.handed().decode(threshold)

    def handed(self) -> ScoredQueries:
        """See :func:`activetune.networks.outputs.handed`: what the last layer says."""
        centre, sides = self.boxes_LBQ4[-1].chunk(2, dim=-1)
        corners_BQ4 = torch.cat([centre - sides / 2, centre + sides / 2], dim=-1).clamp(0, 1)
        return ScoredQueries(corners_BQ4, self.logits_LBQY[-1].softmax(dim=-1)[..., :-1])


@dataclass(frozen=True, eq=False)
class ScoredQueries:
    """The box and the scores of every query of B images.

    Attributes:
        boxes_BQ4: left, top, right, bottom in shares of the canvas. scores_BQY: of the classes, in [0, 1].
    """

    boxes_BQ4: Tensor
    scores_BQY: Tensor

    @property
    def reading(self) -> str:
        """See :func:`activetune.networks.outputs.handed`."""
        return (
            "boxes (batch, queries, 4) are left, top, right, bottom in shares of the input's width and height; scores "
            "(batch, queries, classes) lie in [0, 1]. Each query whose best score exceeds "
            f"{THRESHOLD} is an object of that class; nothing else is suppressed"
        )

    @torch.no_grad()
    def decode(self, threshold: float = THRESHOLD) -> list[Found]:
        """The objects of each image, each query's likeliest class, the surest first.

        Args:
            threshold: what a score must exceed, in [0, 1].
        """
        scores_BQ, classes_BQ = self.scores_BQY.max(dim=-1)
        found = []
        for corners, scores, classes in zip(self.boxes_BQ4, scores_BQ, classes_BQ, strict=True):
            order = torch.sort(scores, descending=True, stable=True).indices
            real = (scores > threshold) & ((corners[:, 2:] - corners[:, :2]) > 0).all(dim=1)
            kept = order[real[order]]
            found.append(Found(corners[kept], scores[kept], classes[kept]))
        return found


class Detr(Head):
    """Boxes from a fixed number of queries through a transformer (DETR); needs many images.

    Args:
        width: numbers per place in the encoder. decoder_width: per query in the decoder. hidden: between a layer's two
            linear maps. layers: of the encoder. decoder_layers: of the decoder. queries: objects of an image at most.
        attention_heads: they divide both widths. dropout: in [0, 1).
    """

    reads: ClassVar[Reads] = "map"
    batch_size: ClassVar[int] = 16

    def __init__(
        self,
        size: int,
        outputs: int,
        *,
        width: int = 128,
        decoder_width: int = 256,
        hidden: int = 1024,
        layers: int = 6,
        decoder_layers: int = 6,
        queries: int = 100,
        attention_heads: int = 8,
        dropout: float = 0.1,
    ):
        super().__init__(size, outputs)
        if width % (2 * attention_heads) or decoder_width % (2 * attention_heads):
            raise UsageError(f"widths of {width} and {decoder_width} must be multiples of {2 * attention_heads}")
        self._options: dict[str, Any] = {"width": width, "decoder_width": decoder_width, "hidden": hidden}
        self._options |= {"layers": layers, "decoder_layers": decoder_layers, "queries": queries}
        self._options |= {"attention_heads": attention_heads, "dropout": dropout}
        library = _library()
        self.norm = nn.LayerNorm(size)  # one learning rate fits every backbone
        self.project = nn.Linear(size, width)
        self.encoder = library.DetrEncoder(_config(width, hidden, layers, attention_heads, dropout))
        self.widen = nn.Linear(width, decoder_width)
        self.decoder = library.DetrDecoder(_config(decoder_width, hidden, decoder_layers, attention_heads, dropout))
        self.queries = nn.Embedding(queries, decoder_width)
        self.classifier = LastLinear(decoder_width, outputs + 1)
        self.box = library.DetrMLPPredictionHead(decoder_width, decoder_width, 4, 3)
        self.places = [library.DetrSinePositionEmbedding(wide // 2, normalize=True) for wide in (width, decoder_width)]
        for weights in (*self.encoder.parameters(), *self.decoder.parameters(), *self.box.parameters()):
            if weights.dim() > 1:
                nn.init.xavier_uniform_(weights)

    def options(self) -> dict[str, Any]:
        """See :class:`Head`."""
        return dict(self._options)

    def forward(self, features_BHWD: Tensor) -> Queries:
        """What the queries say of images with these features."""
        tokens = self.project(self.norm(features_BHWD)).flatten(1, 2)
        coarse, fine = (self._placed(place, features_BHWD, tokens.dtype) for place in self.places)
        encoded = self.encoder(inputs_embeds=tokens, spatial_position_embeddings=coarse).last_hidden_state
        queries = self.queries.weight.expand(tokens.shape[0], -1, -1)
        answers = self.decoder(
            inputs_embeds=torch.zeros_like(queries),
            encoder_hidden_states=self.widen(encoded),
            spatial_position_embeddings=fine,
            object_queries_position_embeddings=queries,
        ).intermediate_hidden_states
        return Queries(self.classifier(answers), self.box(answers).float().sigmoid())

    @staticmethod
    def _placed(place: Any, features_BHWD: Tensor, dtype: torch.dtype) -> Tensor:
        """Where each place lies, (B, H W, width)."""
        shape = features_BHWD.permute(0, 3, 1, 2).shape
        waves = place(shape=shape, device=features_BHWD.device, dtype=torch.float32)
        found: Tensor = waves.flatten(2).transpose(1, 2).to(dtype, copy=True)  # what it keeps may be no part of a graph
        return found


def _centred(xyxy_K4: Tensor) -> Tensor:
    """Centre, width and height of boxes."""
    corner, far = xyxy_K4.chunk(2, dim=-1)
    return torch.cat([(corner + far) / 2, far - corner], dim=-1)


def _library() -> Any:
    import_torchvision()
    try:
        from transformers.models.detr import modeling_detr
    except ImportError:
        raise MissingExtra("transformers", "dense") from None
    return modeling_detr


def _config(width: int, hidden: int, layers: int, attention_heads: int, dropout: float) -> Any:
    """What transformers builds an encoder or a decoder by; named as a network of timm, so that no hub is asked."""
    from transformers import DetrConfig, TimmBackboneConfig

    sizes = {"layers": layers, "ffn_dim": hidden, "attention_heads": attention_heads}
    both: dict[str, Any] = {f"{part}_{name}": size for part in ("encoder", "decoder") for name, size in sizes.items()}
    named = TimmBackboneConfig(backbone="resnet18")
    return DetrConfig(backbone_config=named, d_model=width, dropout=dropout, auxiliary_loss=True, **both)
