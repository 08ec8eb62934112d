"""What captioning heads share: how they are taught, and how they say a sentence.

A sentence is taught word by word, each given the true words before it. It is generated from the head's own words, by
a beam: of all continuations of the likeliest ``beam`` beginnings the likeliest ``beam`` are kept, and at the end the
one with the highest mean log-probability per word (its end is one) is said. A beam of 1 is greedy. ``UNKNOWN`` is never
said.
Shape legend: B images, S sentences of an image, T tokens of a sentence, H x W places of the map, D feature size,
R sentences at work, N beam, Y words of the vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from activetune.base.errors import UsageError
from activetune.networks.heads._head import Head, Reads
from activetune.networks.loss import Loss
from activetune.networks.vocabulary import BEGIN, END, LONGEST, PAD, UNKNOWN, Vocabulary

BEAM = 3
State = tuple[Tensor, ...]  # tensors with a row per image, or per sentence at work


class Taught(NamedTuple):
    """Logits (R, T - 1, Y) of the words that follow, and what the head adds to the loss of each sentence, by name."""

    logits_RTY: Tensor
    penalties: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Captions:
    """What a head remembers of B images, to be taught sentences of them or to say one.

    Attributes:
        head: it. memory: tensors with a row per image. taught: of the tokens that the forward pass was given.
    """

    head: Captioner
    memory: State
    taught: Taught | None = None

    def loss(self, tokens: Tensor) -> Loss:
        """Cross-entropy of every word and end; each counts as one.

        A sentence's penalties count once per word. The parts are ``words`` and the penalties.

        Args:
            tokens: (B, T) of :meth:`Vocabulary.tokens`, or (B, S, T), filled up with ``PAD``.
        """
        rows_RT = _rows(tokens)
        taught = self.taught or self.head.taught(self.memory, tokens)
        following_RT = rows_RT[:, 1:]
        logits_RYT = taught.logits_RTY.float().transpose(1, 2)
        words = functional.cross_entropy(logits_RYT, following_RT, ignore_index=PAD, reduction="sum")
        counts_R = (following_RT != PAD).sum(dim=1)
        parts = {"words": words}
        parts |= {name: (value_R * counts_R).sum() for name, value_R in taught.penalties.items()}
        return Loss(torch.stack(list(parts.values())).sum(), float(counts_R.sum()), parts)

    def decode(self, beam: int = BEAM, longest: int = LONGEST) -> list[str]:
        """A generated sentence of each image, in small letters and without punctuation.

        Args:
            beam: how many beginnings are kept; 1 is greedy. longest: words at most.
        """
        return [self.head.vocabulary.text(row) for row in _generated(self.head, self.memory, beam, longest)]


class Captioner(Head):
    """A head that says sentences, word by word.

    Args:
        words: those of a :class:`Vocabulary`; ``outputs`` is its length.

    Raises:
        UsageError: ``outputs`` is another number.
    """

    reads: ClassVar[Reads] = "map"
    batch_size: ClassVar[int] = 16

    def __init__(self, size: int, outputs: int, *, words: Sequence[str]):
        super().__init__(size, outputs)
        self.vocabulary = Vocabulary(tuple(words))
        if len(self.vocabulary) != outputs:
            raise UsageError(f"{outputs} outputs for a vocabulary of {len(self.vocabulary)}; give one each")

    def options(self) -> dict[str, Any]:
        """See :class:`Head`."""
        return {"words": list(self.vocabulary.words)}

    def forward(self, features_BHWD: Tensor, tokens: Tensor | None = None) -> Captions:
        """What the head remembers of images with these features.

        Args:
            tokens: what :meth:`Captions.loss` will be asked for; taught here, so that a wrapper of this module (several
                processes, mixed precision) sees all of it.
        """
        memory = tuple(part.float() for part in self.remembered(features_BHWD))  # decoding reads it without autocast
        return Captions(self, memory, None if tokens is None else self.taught(memory, tokens))

    def taught(self, memory: State, tokens: Tensor) -> Taught:
        """The words that follow the true ones before them, of all sentences (R is B, or B S)."""
        return self.follow(memory, _rows(tokens)[:, :-1])

    @abstractmethod
    def remembered(self, features_BHWD: Tensor) -> State:
        """What is kept of images, a row each. R sentences read it: each image's, S of them, follow one another."""

    @abstractmethod
    def follow(self, memory: State, tokens_RT: Tensor) -> Taught:
        """The words that follow each token, given those before it."""

    @abstractmethod
    def begin(self, memory: State, each: int) -> State:
        """What the head carries from word to word, a row per sentence; the first word follows ``BEGIN``.

        Args:
            each: S, sentences of an image.
        """

    @abstractmethod
    def step(self, memory: State, state: State, tokens_RT: Tensor) -> tuple[Tensor, State]:
        """Logits (R, Y) of the word that follows all tokens so far, and what is carried on."""


def _rows(tokens: Tensor) -> Tensor:
    """(R, T): the sentences of all images."""
    return tokens.flatten(0, 1) if tokens.dim() == 3 else tokens


@torch.no_grad()
def _generated(head: Captioner, memory: State, beam: int, longest: int) -> list[list[int]]:
    """The tokens after ``BEGIN`` of a sentence for each image."""
    images, device = len(memory[0]), memory[0].device
    state = head.begin(memory, beam)
    tokens_RT = torch.full((images * beam, 1), BEGIN, device=device)
    sums_BN = torch.full((images, beam), -torch.inf, device=device)
    sums_BN[:, 0] = 0.0  # all beginnings are alike at first
    ended_R = torch.zeros(images * beam, dtype=torch.bool, device=device)
    never = torch.tensor([PAD, BEGIN, UNKNOWN], device=device)
    for place in range(longest + 1):
        logits_RY, state = head.step(memory, state, tokens_RT)
        logits_RY = logits_RY.float().index_fill(1, never, -torch.inf)
        following_RY = logits_RY.log_softmax(dim=1)
        if place == longest:
            following_RY[:, END + 1 :] = -torch.inf
        following_RY[ended_R] = -torch.inf
        following_RY[ended_R, PAD] = 0.0
        together = (sums_BN.reshape(-1, 1) + following_RY).view(images, -1)
        sums_BN, chosen_BN = together.topk(beam, dim=1)
        first_B1 = torch.arange(images, device=device)[:, None] * beam
        parent_R = (first_B1 + chosen_BN // head.outputs).flatten()
        word_R = (chosen_BN % head.outputs).flatten()
        tokens_RT = torch.cat([tokens_RT[parent_R], word_R[:, None]], dim=1)
        state = tuple(part[parent_R] for part in state)
        ended_R = ended_R[parent_R] | (word_R == END)
        if bool(ended_R.all()):
            break
    said_RT = tokens_RT[:, 1:]
    means_BN = sums_BN / (said_RT != PAD).sum(dim=1).view(images, beam)
    best_B = means_BN.argmax(dim=1) + torch.arange(images, device=device) * beam
    found: list[list[int]] = said_RT[best_B].tolist()
    return found
