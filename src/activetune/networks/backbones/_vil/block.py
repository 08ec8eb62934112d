"""One block of Vision-LSTM: an mLSTM between projections, a convolution and a gate (equations: ``__init__.py``).

Shape legend: B items, T tokens in raster order, D features, E inner features (2 D), H heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from activetune.networks.backbones._vil.mlstm import mlstm

HEADS = 4
EXPANSION = 2  # E / D
GROUP = 4  # features that a projection to queries, keys or values mixes
JOINED = 4  # groups in one product
CAUSAL, PLACES = 4, 3  # sizes of the two kinds of convolution


class Block(nn.Module):
    """One residual block over tokens (B, T, D)."""

    def __init__(self, dim: int, *, first: bool, backwards: bool, drop_path_rate: float):
        super().__init__()
        self.backwards = backwards
        self.drop_path_rate = drop_path_rate
        self.norm = OffsetNorm(dim, bias=not first)
        self.layer = Layer(dim, first=first)

    def forward(self, tokens_BTD: Tensor, grid: tuple[int, int]) -> Tensor:
        """Add the layer's result; in training some items are left out, the others count for more."""
        read_BTD = self.norm(tokens_BTD)
        added_BTD = self.layer(read_BTD.flip(1), grid).flip(1) if self.backwards else self.layer(read_BTD, grid)
        if self.training and self.drop_path_rate:
            kept = 1 - self.drop_path_rate
            added_BTD = added_BTD * (added_BTD.new_empty(len(added_BTD), 1, 1).bernoulli_(kept) / kept)
        found: Tensor = tokens_BTD + added_BTD
        return found


class Layer(nn.Module):
    """What a block adds, read from the first token to the last."""

    def __init__(self, dim: int, *, first: bool):
        super().__init__()
        inner, bias = EXPANSION * dim, not first
        self.proj_up, self.proj_down = nn.Linear(dim, 2 * inner, bias=bias), nn.Linear(inner, dim, bias=bias)
        self.q_proj, self.k_proj, self.v_proj = (GroupedLinear(inner, bias=bias) for _ in range(3))
        self.conv: nn.Module = nn.Conv2d(inner, inner, PLACES, padding=PLACES // 2, groups=inner)
        if first:
            self.conv = nn.Conv1d(inner, inner, CAUSAL, groups=inner)
        self.mlstm_cell = Cell(inner, bias=bias)
        self.learnable_skip = nn.Parameter(torch.ones(inner))
        for projection in (self.proj_up, self.q_proj, self.k_proj, self.v_proj):
            nn.init.normal_(projection.weight, std=math.sqrt(2 / (5 * dim)))
        nn.init.normal_(self.proj_down.weight, std=2 / math.sqrt(dim))
        for projection in (self.proj_up, self.proj_down) if bias else ():
            nn.init.zeros_(projection.bias)

    def forward(self, tokens_BTD: Tensor, grid: tuple[int, int]) -> Tensor:
        """See the package's equations."""
        values_BTE, gates_BTE = self.proj_up(tokens_BTD).chunk(2, dim=2)
        near_BTE = functional.silu(self._convolved(values_BTE, grid))
        seen_BTE = self.mlstm_cell(self.q_proj(near_BTE), self.k_proj(near_BTE), self.v_proj(values_BTE))
        found: Tensor = self.proj_down((seen_BTE + self.learnable_skip * near_BTE) * functional.silu(gates_BTE))
        return found

    def _convolved(self, tokens_BTE: Tensor, grid: tuple[int, int]) -> Tensor:
        """Each feature by itself, along the sequence (a token sees itself and three before it) or over the places."""
        sequence_BET = tokens_BTE.transpose(1, 2)
        if isinstance(self.conv, nn.Conv1d):
            found: Tensor = self.conv(functional.pad(sequence_BET, (CAUSAL - 1, 0)))
        else:
            found = self.conv(sequence_BET.view(*sequence_BET.shape[:2], *grid)).flatten(2)
        return found.transpose(1, 2)


class Cell(nn.Module):
    """The mLSTM's heads with their gates, and a norm of each head's output."""

    def __init__(self, inner: int, *, bias: bool):
        super().__init__()
        self.igate, self.fgate = nn.Linear(3 * inner, HEADS), nn.Linear(3 * inner, HEADS)
        self.outnorm = OffsetNorm(inner, bias=bias, groups=HEADS)
        for gate in (self.igate, self.fgate):
            nn.init.zeros_(gate.weight)
        nn.init.normal_(self.igate.bias, std=0.1)
        with torch.no_grad():
            self.fgate.bias.copy_(torch.linspace(3, 6, HEADS))  # heads that forget at different speeds

    def forward(self, queries_BTE: Tensor, keys_BTE: Tensor, values_BTE: Tensor) -> Tensor:
        """Outputs (B, T, E)."""
        given = (queries_BTE, keys_BTE, values_BTE)
        input_BTH, forget_BTH = self._gates(given).chunk(2, dim=2)
        queries, keys, values = (tensor.view(*tensor.shape[:2], HEADS, -1).transpose(1, 2) for tensor in given)
        outputs_BHTK = mlstm(queries, keys, values, input_BTH.transpose(1, 2), forget_BTH.transpose(1, 2))
        found: Tensor = self.outnorm(outputs_BHTK.transpose(1, 2).flatten(2))
        return found

    def _gates(self, given: tuple[Tensor, ...]) -> Tensor:
        """Input and forget gates (B, T, 2 H), linear in queries, keys and values; in the precision of their weights."""
        with torch.autocast(given[0].device.type, enabled=False):
            weight = torch.cat([self.igate.weight, self.fgate.weight])
            gates_BTH = torch.cat([self.igate.bias, self.fgate.bias])
            for tensor, part in zip(given, weight.chunk(3, dim=1), strict=True):
                gates_BTH = gates_BTH + functional.linear(tensor.to(part.dtype), part)
        return gates_BTH


class OffsetNorm(nn.Module):
    """Layer norm whose weight is written as its difference from one, over all features or over groups of them."""

    def __init__(self, size: int, *, bias: bool, groups: int = 1, eps: float = 1e-5):
        super().__init__()
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.zeros(size))
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """See :class:`OffsetNorm`."""
        grouped = tokens_BTD.view(*tokens_BTD.shape[:2], self.groups, -1)
        normed_BTD = functional.layer_norm(grouped, grouped.shape[3:], eps=self.eps).flatten(2) * (1 + self.weight)
        return normed_BTD if self.bias is None else normed_BTD + self.bias


class GroupedLinear(nn.Module):
    """A linear map (B, T, E) to (B, T, E) that mixes only the four features of a group."""

    def __init__(self, inner: int, *, bias: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inner // GROUP, GROUP, GROUP))
        self.bias = nn.Parameter(torch.zeros(inner)) if bias else None

    def forward(self, tokens_BTE: Tensor) -> Tensor:
        """Several groups make one product, zero between them: three times as fast as products of four numbers."""
        one = torch.eye(JOINED, dtype=self.weight.dtype, device=self.weight.device).view(JOINED, 1, JOINED, 1)
        joined = (self.weight.view(-1, JOINED, GROUP, 1, GROUP) * one).flatten(3).flatten(1, 2)
        groups = tokens_BTE.view(*tokens_BTE.shape[:2], -1, JOINED * GROUP)
        mixed_BTE = torch.einsum("btgi,goi->btgo", groups, joined).flatten(2)
        return mixed_BTE if self.bias is None else mixed_BTE + self.bias
