"""A small causal transformer that looks at the image while it writes.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017: self-attention over the words so far, cross-attention over
the map, by torch's decoder, normalised before each layer. Words and outputs share their weights (Press & Wolf, "Using
the Output Embedding to Improve Language Models", EACL 2017): few sentences teach few weights. Places of the map have no
position but what their features tell. All words so far are read again for each new one, since sentences are short.
Shape legend: B images, R sentences at work, T tokens, D feature size, Y words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from activetune.base.errors import UsageError
from activetune.networks.heads.sentences._captioner import Captioner, State, Taught
from activetune.networks.vocabulary import LONGEST, PAD


class _Layer(nn.TransformerDecoderLayer):
    """One whose sentences of an image share its places: their keys and values are computed once."""

    def _mha_block(self, x: Tensor, mem: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What the words read of the places.

        Args:
            x: (R, T, width). mem: (B, P, width). args, kwargs: masks, of which there is none.
        """
        of_images = x.reshape(len(mem), -1, x.shape[2])  # (B, S T, width): no word's reading depends on another's
        return super()._mha_block(of_images, mem, *args, **kwargs).reshape_as(x)


class Transformer(Captioner):
    """Sentences from a causal transformer with cross-attention to the map.

    Args:
        width: numbers per word and place. layers: of the decoder. attention_heads: they divide the width.
        dropout: in [0, 1).
    """

    def __init__(
        self,
        size: int,
        outputs: int,
        *,
        words: Sequence[str],
        width: int = 256,
        layers: int = 3,
        attention_heads: int = 4,
        dropout: float = 0.1,
    ):
        super().__init__(size, outputs, words=words)
        if width % attention_heads:
            raise UsageError(
                f"a width of {width} can't be shared out among {attention_heads} attention heads; give a multiple"
            )
        self._options = {"width": width, "layers": layers, "attention_heads": attention_heads, "dropout": dropout}
        self.norm = nn.LayerNorm(size)  # one learning rate fits every backbone
        self.project = nn.Linear(size, width)
        self.words = nn.Embedding(outputs, width, padding_idx=PAD)
        self.places = nn.Embedding(LONGEST + 1, width)
        layer = _Layer(width, attention_heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, layers, norm=nn.LayerNorm(width))
        self.drop = nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.zeros(outputs))
        for part in (self.words, self.places):
            nn.init.normal_(part.weight, std=width**-0.5)

    def options(self) -> dict[str, Any]:
        """See :class:`Head`."""
        return {**super().options(), **self._options}

    def remembered(self, features_BHWD: Tensor) -> State:
        """The places (B, H W, width)."""
        return (self.project(self.norm(features_BHWD)).flatten(1, 2),)

    def begin(self, memory: State, each: int) -> State:
        """Nothing: the words so far are all that is carried."""
        return ()

    def step(self, memory: State, state: State, tokens_RT: Tensor) -> tuple[Tensor, State]:
        """See :class:`Captioner`."""
        return self._logits(memory, tokens_RT, last=True).squeeze(1), state

    def follow(self, memory: State, tokens_RT: Tensor) -> Taught:
        """See :class:`Captioner`."""
        return Taught(self._logits(memory, tokens_RT), {})

    def _logits(self, memory: State, tokens_RT: Tensor, last: bool = False) -> Tensor:
        """Logits (R, T, Y) of what follows each token, or (R, 1, Y) of what follows the last one."""
        count = tokens_RT.shape[1]
        if count > len(self.places.weight):
            raise UsageError(f"a sentence of {count - 1} words; it may have {LONGEST}: shorten it")
        words = self.words(tokens_RT) * self.words.embedding_dim**0.5 + self.places.weight[:count]
        later_TT = torch.ones(count, count, dtype=torch.bool, device=tokens_RT.device).triu(1)
        read = self.decoder(self.drop(words), memory[0], tgt_mask=later_TT, tgt_is_causal=True)
        return nn.functional.linear(read[:, -1:] if last else read, self.words.weight, self.bias)
