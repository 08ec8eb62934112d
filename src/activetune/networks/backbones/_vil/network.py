"""The network of Vision-LSTM: patches, blocks, a classifier on the sequence's two ends; timm's interface.

Shape legend: B items, C colours, D features, T tokens in raster order, h and w rows and columns of patches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from activetune.base.errors import UsageError
from activetune.networks.backbones._vil.block import Block, OffsetNorm


@dataclass(frozen=True)
class Architecture:
    """Sizes: D, the number of blocks, 1 or 2 for the published version, and pixels of image, patch and step."""

    dim: int
    depth: int
    version: int = 2
    image: int = 224
    patch: int = 16
    stride: int = 16


class VisionLSTM(nn.Module):
    """Normalised images (B, C, H, W) to logits (B, classes).

    Attributes:
        num_features: D, the size of a token.
        head_hidden_size: what the classifier gets: D in version 1, 2 D in version 2.
    """

    num_prefix_tokens = 0

    def __init__(
        self, cfg: Architecture, *, num_classes: int = 1000, in_chans: int = 3, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        first = cfg.version == 1
        self.num_features = self.embed_dim = cfg.dim
        self.head_hidden_size = cfg.dim if first else 2 * cfg.dim
        self.mean_of_ends = first
        self.checkpointing = False
        self.patch_embed = Patches(cfg, in_chans)
        side = (cfg.image - cfg.patch) // cfg.stride + 1
        self.pos_embed = nn.Parameter(torch.empty(1, side, side, cfg.dim))
        self.blocks = nn.ModuleList(
            Block(cfg.dim, first=first, backwards=number % 2 == 1, drop_path_rate=drop_path_rate)
            for number in range(cfg.depth)
        )
        after_blocks, after_pooling = (1e-5, 1e-6) if first else (1e-6, 1e-5)  # as the publisher's two versions have it
        self.norm = OffsetNorm(cfg.dim, bias=not first, eps=after_blocks)
        self.pooled_norm = nn.LayerNorm(self.head_hidden_size, eps=after_pooling)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.reset_classifier(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """See :class:`VisionLSTM`."""
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Tokens (B, T, D); an image of another size than the published one gets interpolated positions."""
        map_BDhw = self.patch_embed(images)
        grid = (map_BDhw.shape[2], map_BDhw.shape[3])
        tokens_BTD: Tensor = map_BDhw.flatten(2).transpose(1, 2) + resized(self.pos_embed, grid).flatten(1, 2)
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                tokens_BTD = checkpoint(block, tokens_BTD, grid, use_reentrant=False)
            else:
                tokens_BTD = block(tokens_BTD, grid)
        normed_BTD: Tensor = self.norm(tokens_BTD)
        return normed_BTD

    def forward_head(self, tokens_BTD: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits, or what the classifier gets: the first and the last token, in which each direction ends."""
        first_BD, last_BD = tokens_BTD[:, 0], tokens_BTD[:, -1]
        ends = (first_BD + last_BD) / 2 if self.mean_of_ends else torch.cat([first_BD, last_BD], dim=1)
        pooled = self.pooled_norm(ends)
        found: Tensor = pooled if pre_logits else self.head(pooled)
        return found

    def get_classifier(self) -> nn.Module:
        """The classifier; an ``Identity`` where there is none."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put in a fresh classifier, or none for 0; there is one pooling, so ``global_pool`` changes nothing."""
        self.num_classes = num_classes
        self.head: nn.Module = nn.Identity()
        if num_classes:
            self.head = nn.Linear(self.head_hidden_size, num_classes, device=self.pos_embed.device)
            nn.init.trunc_normal_(self.head.weight, std=2e-5)
            nn.init.zeros_(self.head.bias)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the blocks again in the backward pass instead of keeping what it needs: less memory, more time."""
        self.checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Parameters that are not pulled to zero."""
        return {"pos_embed"}

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """The layer of a parameter, for learning rates that fall with depth: two blocks, one a direction, are one."""

        def layer_of(name: str) -> int:
            block = re.match(r"blocks\.(\d+)\.", name)
            if block:
                return 1 + int(block[1]) // 2
            return 0 if name.startswith(("patch_embed.", "pos_embed")) else 1 + len(self.blocks)

        return layer_of


class Patches(nn.Module):
    """Images (B, C, H, W) to a map of patches (B, D, h, w)."""

    def __init__(self, cfg: Architecture, colours: int):
        super().__init__()
        self.patch_size = (cfg.patch, cfg.patch)
        self.proj = nn.Conv2d(colours, cfg.dim, kernel_size=cfg.patch, stride=cfg.stride)
        nn.init.xavier_uniform_(self.proj.weight.view(cfg.dim, -1))
        if self.proj.bias is not None:
            nn.init.zeros_(self.proj.bias)

    def forward(self, images: Tensor) -> Tensor:
        """See :class:`Patches`."""
        height, width = images.shape[2:]
        if height % self.patch_size[0] or width % self.patch_size[1]:
            raise UsageError(
                f"images of {width} x {height} pixels can't be cut into patches of {self.patch_size[0]}; "
                "give a multiple of it"
            )
        found: Tensor = self.proj(images)
        return found


def resized(positions_1hwD: Tensor, grid: tuple[int, int]) -> Tensor:
    """A position embedding for another grid, interpolated as its publisher does it."""
    if tuple(positions_1hwD.shape[1:3]) == grid:
        return positions_1hwD
    return functional.interpolate(positions_1hwD.permute(0, 3, 1, 2), size=grid, mode="bicubic").permute(0, 2, 3, 1)


# Published checkpoints ------------------------------------------------------------------------------------------------

RENAMED = (
    (r"^pos_embed\.embed$", "pos_embed"),
    (r"^xlstm\.blocks\.(\d+)\.xlstm_norm\.", r"blocks.\1.norm."),
    (r"^xlstm\.blocks\.(\d+)\.xlstm\.conv1d\.(conv\.)?", r"blocks.\1.layer.conv."),
    (r"^xlstm\.blocks\.(\d+)\.xlstm\.", r"blocks.\1.layer."),
    (r"^xlstm\.post_blocks_norm\.", "norm."),
    (r"^head\.0\.", "pooled_norm."),
    (r"^head\.1\.", "head."),
)  # the published checkpoints' names, and this module's


def checkpoint_filter_fn(state: Mapping[str, Tensor], model: VisionLSTM) -> dict[str, Tensor]:
    """A published checkpoint by this module's names, its positions fitted to the model's grid."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        for published, own in RENAMED:
            name = re.sub(published, own, name)
        found[name] = value
    positions = found.get("pos_embed")
    if positions is not None and positions.ndim == 4:
        found["pos_embed"] = resized(positions, (model.pos_embed.shape[1], model.pos_embed.shape[2]))
    return found
