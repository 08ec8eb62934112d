"""Multi-head attention pooling (MAP): one learned query reads the tokens (Zhai et al., "Scaling Vision Transformers",
CVPR 2022; the classifier of "Frozen Feature Augmentation", CVPR 2024).

The query is the same for every image, so it can be moved through the projections: the score of a token x under head
h is ``x.u_h`` with ``u_h = W_k,h^T q_h / sqrt(d)`` (the keys' bias adds the same to all tokens, and cancels in the
softmax), and the values' projection may follow the weighted sum instead of preceding it. That is the same function as
timm's ``AttentionPoolLatent``, whose weights it shares name by name, for 4 T D H operations instead of 4 T D^2: with
D = 192 and 3 heads a sixty-fourth.
Shape legend: B items, T tokens, D feature size, H heads, Y classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionPool(nn.Module):
    """Tokens (B, T, D) to one vector (B, D)."""

    def __init__(self, size: int, heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        if size % heads:
            raise ValueError(f"{size} features can't be shared out among {heads} heads")
        self.heads = heads
        self.latent = nn.Parameter(torch.zeros(1, 1, size))
        self.q, self.kv, self.proj = nn.Linear(size, size), nn.Linear(size, 2 * size), nn.Linear(size, size)
        self.norm = nn.LayerNorm(size, eps=1e-6)
        self.mlp = nn.Sequential()
        self.mlp.add_module("fc1", nn.Linear(size, int(size * mlp_ratio)))
        self.mlp.add_module("act", nn.GELU())
        self.mlp.add_module("fc2", nn.Linear(int(size * mlp_ratio), size))
        nn.init.trunc_normal_(self.latent, std=size**-0.5)

    def forward(self, tokens_BTD: Tensor, mean_D: Tensor | float = 0.0, scale: Tensor | float = 1.0) -> Tensor:
        """Pool ``(tokens - mean) * scale``, which costs no pass over the tokens: it moves to the query and to the sum.

        Both products with the tokens are computed in the tokens' own precision.
        """
        items, _, size = tokens_BTD.shape
        query_Hd = self.q(self.latent).view(self.heads, -1)
        keys, values = self.kv.weight.view(2, self.heads, -1, size)
        reading_HD = torch.einsum("hd,hdc->hc", query_Hd, keys) * (scale * query_Hd.shape[1] ** -0.5)
        reading_BDH = reading_HD.T.to(tokens_BTD.dtype).expand(items, -1, -1)  # by item: faster to differentiate
        weights_BHT = torch.softmax(torch.bmm(tokens_BTD, reading_BDH).transpose(1, 2).float(), dim=2)
        seen_BHD = (torch.bmm(weights_BHT.to(tokens_BTD.dtype), tokens_BTD).float() - mean_D) * scale
        pooled = torch.einsum("bhc,hdc->bhd", seen_BHD, values).flatten(1) + self.kv.bias[size:]
        pooled = self.proj(pooled)
        found: Tensor = pooled + self.mlp(self.norm(pooled))
        return found


def heads_for(size: int) -> int:
    """As many heads of at least 64 numbers as divide the size."""
    return max(heads for heads in range(1, max(1, size // 64) + 1) if size % heads == 0)
