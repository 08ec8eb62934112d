"""A recurrent network that looks at another part of the image for each word ("Show, Attend and Tell").

Xu et al., "Show, Attend and Tell: Neural Image Caption Generation with Visual Attention", ICML 2015, soft attention.
For the word after y_{t-1}, given the places a_1 … a_P of the map and the state h_{t-1},

    alpha_t = softmax_i w . relu(W_a a_i + W_h h_{t-1}),   z_t = sigmoid(W_g h_{t-1}) sum_i alpha_ti a_i
    h_t, c_t = LSTM([E y_{t-1}; z_t], h_{t-1}, c_{t-1}),   p(y_t) = softmax(W_o h_t)

with h_0 and c_0 of the mean place, and the doubly stochastic penalty ``mean_i (1 - sum_t alpha_ti)^2`` (weight 1.0), by
which every place should be looked at. 384 numbers for state, attention and words, dropout 0.5 and a map of at most
14 x 14 are ViSFT's, and the defaults; as in its released code the penalty is a mean over places, and the word depends
on h_t alone, where the paper has a sum, and adds E y_{t-1} and z_t.
Shape legend: B images, R sentences at work, T tokens, P places, D feature size, Y words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from activetune.networks.heads.sentences._captioner import Captioner, State, Taught
from activetune.networks.vocabulary import END, PAD

PENALTY = 1.0  # weight of the doubly stochastic penalty


class Lstm(Captioner):
    """Sentences from an LSTM with soft attention over the map.

    Args:
        width: numbers of the state, of the attention and of a word. grid: places of a side that a larger map is
            averaged to. dropout: of the state before a word is said, in [0, 1).
    """

    def __init__(
        self,
        size: int,
        outputs: int,
        *,
        words: Sequence[str],
        width: int = 384,
        grid: int = 14,
        dropout: float = 0.5,
    ):
        super().__init__(size, outputs, words=words)
        self.width, self.grid, self.dropout = width, grid, dropout
        self.norm = nn.LayerNorm(size)  # one learning rate fits every backbone
        self.words = nn.Embedding(outputs, width, padding_idx=PAD)
        self.of_place, self.of_state = nn.Linear(size, width), nn.Linear(width, width)
        self.attention = nn.Linear(width, 1, bias=False)
        self.gate = nn.Linear(width, size)
        self.cell = nn.LSTMCell(width + size, width)
        self.first = nn.Linear(size, 2 * width)
        self.classifier = nn.Linear(width, outputs)

    def options(self) -> dict[str, Any]:
        """See :class:`Head`."""
        return {**super().options(), "width": self.width, "grid": self.grid, "dropout": self.dropout}

    def remembered(self, features_BHWD: Tensor) -> State:
        """The places (B, P, D), and the same as the attention reads them (B, P, width)."""
        maps = features_BHWD.permute(0, 3, 1, 2)
        height, width = maps.shape[-2:]
        if max(height, width) > self.grid:
            maps = functional.adaptive_avg_pool2d(maps, (min(height, self.grid), min(width, self.grid)))
        places_BPD = self.norm(maps.flatten(2).transpose(1, 2))
        return places_BPD, self.of_place(places_BPD)

    def begin(self, memory: State, each: int) -> State:
        """State and cell of the mean place, (R, width) each."""
        first = self.first(memory[0].mean(dim=1)).tanh().repeat_interleave(each, dim=0)
        return tuple(first.chunk(2, dim=1))

    def step(self, memory: State, state: State, tokens_RT: Tensor) -> tuple[Tensor, State]:
        """See :class:`Captioner`."""
        logits, state, _ = self._next(memory, state, tokens_RT[:, -1])
        return logits, state

    def _next(self, memory: State, state: State, tokens_R: Tensor) -> tuple[Tensor, State, Tensor]:
        """Logits (R, Y), state and cell, and where was looked (R, P)."""
        places_BPD, read_BPA = memory
        hidden, cell = state
        # Computed again in the backward pass: else (R, P, width) numbers are kept per word.
        scores_BSP = checkpoint(self._scores, read_BPA, hidden, use_reentrant=False, preserve_rng_state=False)
        looked_BSP = scores_BSP.float().softmax(dim=2)
        seen_RD = (looked_BSP.to(places_BPD.dtype) @ places_BPD).flatten(0, 1) * self.gate(hidden).sigmoid()
        hidden, cell = self.cell(torch.cat([self.words(tokens_R), seen_RD], dim=1), (hidden, cell))
        shown = functional.dropout(hidden, self.dropout, self.training)
        return self.classifier(shown), (hidden, cell), looked_BSP.flatten(0, 1)

    def _scores(self, read_BPA: Tensor, hidden: Tensor) -> Tensor:
        of_state_BS1A = self.of_state(hidden).view(len(read_BPA), -1, 1, self.width)
        scores_BSP: Tensor = self.attention(torch.relu(read_BPA[:, None] + of_state_BS1A)).squeeze(3)
        return scores_BSP

    def follow(self, memory: State, tokens_RT: Tensor) -> Taught:
        """See :class:`Captioner`; the penalty counts the words that a sentence has."""
        state = self.begin(memory, len(tokens_RT) // len(memory[0]))
        logits, looked = [], []
        for tokens_R in tokens_RT.unbind(dim=1):
            said, state, at_RP = self._next(memory, state, tokens_R)
            logits.append(said)
            looked.append(at_RP * ((tokens_R != PAD) & (tokens_R != END))[:, None])  # a word follows
        total_RP = torch.stack(looked).sum(dim=0)
        return Taught(torch.stack(logits, dim=1), {"attention": PENALTY * (1 - total_RP).square().mean(dim=1)})
