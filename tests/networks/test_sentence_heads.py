"""Heads that say sentences: vocabulary, teaching, beam search, learning, on maps with two telling places."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from activetune import UsageError
from activetune.data.kinds import Sentences
from activetune.evaluation.sentences import SentenceScorer
from activetune.networks.heads import heads, make_head
from activetune.networks.heads.sentences._captioner import Captioner, State, Taught
from activetune.networks.heads.sentences.lstm import Lstm
from activetune.networks.heads.sentences.transformer import Transformer
from activetune.networks.vocabulary import BEGIN, END, LONGEST, PAD, UNKNOWN, Vocabulary

SIZE = 24
SMALL = {
    Lstm: {"width": 32, "dropout": 0.0},
    Transformer: {"width": 32, "layers": 1, "attention_heads": 2, "dropout": 0.0},
}
KINDS = pytest.mark.parametrize("kind", heads("sentences").values(), ids=heads("sentences"))
COLOURS, SHAPES = ("red", "green", "blue"), ("square", "circle", "tall tree")
TEXTS = [f"a {colour} {shape} stands here" for colour in COLOURS for shape in SHAPES]
VOCABULARY = Vocabulary.of(TEXTS)


def small(kind: type[Captioner], seed: int = 0, vocabulary: Vocabulary = VOCABULARY) -> Captioner:
    torch.manual_seed(seed)
    return kind(SIZE, len(vocabulary), words=vocabulary.words, **SMALL.get(kind, {}))


def pictures(count: int, seed: int) -> tuple[Tensor, list[str]]:
    """Noise in which one place tells the colour and another the shape, and what it shows."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randn(6, SIZE, generator=torch.Generator().manual_seed(99)) * 4
    maps, texts = torch.randn(count, 4, 5, SIZE, generator=generator), []
    for number, rows in enumerate(maps.flatten(1, 2)):
        colour, shape = number % 3, number // 3 % 3
        first, second = torch.randperm(20, generator=generator)[:2].tolist()
        rows[first], rows[second] = rows[first] + signs[colour], rows[second] + signs[3 + shape]
        texts.append(f"a {COLOURS[colour]} {SHAPES[shape]} stands here")
    return maps, texts


def train(head: Captioner, features: Tensor, tokens: Tensor, steps: int, lr: float, batch: int = 16) -> list[float]:
    """AdamW with one cycle of the learning rate; the losses per word."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    generator = torch.Generator().manual_seed(0)
    losses = []
    head.train()
    for _ in range(steps):
        rows = torch.randperm(len(tokens), generator=generator)[:batch]
        loss = head(features[rows], tokens[rows]).loss(tokens[rows])
        optimizer.zero_grad()
        (loss.sum / loss.weight).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.sum.detach()) / loss.weight)
    head.eval()
    return losses


# Vocabulary -----------------------------------------------------------------------------------------------------------


def test_words_are_numbered_by_how_often_they_occur() -> None:
    texts = ["The dog, the cat!", "a cat", "zebra"]
    assert Vocabulary.of(texts).words == ("cat", "the", "a", "dog", "zebra")
    assert Vocabulary.of(texts, min_count=2).words == ("cat", "the")
    assert Vocabulary.of(texts, limit=3).words == ("cat", "the", "a")
    vocabulary = Vocabulary.of(texts, min_count=2)
    assert len(vocabulary) == 6
    assert vocabulary.numbers("The zebra cat.") == [BEGIN, 5, UNKNOWN, 4, END]
    assert vocabulary.tokens(["cat", "the cat"]).tolist() == [[BEGIN, 4, END, PAD], [BEGIN, 5, 4, END]]
    assert vocabulary.text([5, UNKNOWN, 4, END, 4]) == "the cat"


def test_sentences_without_a_frequent_word_are_refused() -> None:
    with pytest.raises(UsageError, match="no word stands in the sentences 2 times"):
        Vocabulary.of(["a dog", "two cats"], min_count=2)
    with pytest.raises(UsageError, match="no word stands in the sentences; give"):
        Vocabulary.of(["?!"])


def test_long_sentences_are_cut() -> None:
    text = "cat " * (LONGEST + 5)
    numbers = Vocabulary.of([text]).numbers(text)
    assert len(numbers) == LONGEST + 2
    assert (numbers[0], numbers[-1]) == (BEGIN, END)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_sentences_come_back_as_their_words(texts: list[str]) -> None:
    from activetune.data.words import words_of

    if any(words_of(text) for text in texts):
        vocabulary = Vocabulary.of(texts)
        again = Vocabulary(tuple(json.loads(json.dumps(vocabulary.words))))
        assert again == vocabulary
        for text in texts:
            assert again.text(vocabulary.numbers(text)) == " ".join(words_of(text))


# What both heads keep to ----------------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("shape", [(1, 1), (4, 5), (15, 31)])
def test_maps_of_any_shape(kind: type[Captioner], shape: tuple[int, int]) -> None:
    head = small(kind).eval()
    found = head(torch.randn(2, *shape, SIZE))
    loss = found.loss(VOCABULARY.tokens(["a red square", "green"]))
    assert loss.weight == 6  # four words and two ends
    assert loss.sum.isfinite()
    torch.testing.assert_close(sum(loss.parts.values()), loss.sum)
    for beam in (1, 3):
        said = found.decode(beam)
        assert len(said) == 2
        assert all(set(text.split()) <= set(VOCABULARY.words) for text in said)
    assert all(len(text.split()) <= 2 for text in found.decode(longest=2))
    assert all(len(text.split()) <= LONGEST for text in found.decode())


@KINDS
def test_words_are_taught_given_the_true_ones_before_them(kind: type[Captioner]) -> None:
    """The loss is that of the words one by one, as generation computes them."""
    head, features = small(kind).eval(), pictures(2, seed=0)[0]
    tokens = VOCABULARY.tokens(["a red square", "green tree"])
    expected = torch.tensor(0.0)
    for row, features_HWD in zip(tokens, features, strict=True):
        memory = head.remembered(features_HWD[None])
        state = head.begin(memory, 1)
        for place in range(1, int((row != PAD).sum())):
            logits, state = head.step(memory, state, row[None, :place])
            expected = expected + functional.cross_entropy(logits, row[place : place + 1])
    torch.testing.assert_close(head(features).loss(tokens).parts["words"], expected, atol=1e-4, rtol=1e-4)


@KINDS
def test_padding_teaches_nothing(kind: type[Captioner]) -> None:
    head, features = small(kind).eval(), pictures(2, seed=0)[0]
    tokens = VOCABULARY.tokens(["a red square", "green"])
    wider = functional.pad(tokens, (0, 3), value=PAD)
    for name, value in head(features).loss(tokens).parts.items():
        torch.testing.assert_close(head(features).loss(wider).parts[name], value)


@KINDS
def test_all_sentences_of_an_image_are_taught_at_once(kind: type[Captioner]) -> None:
    head, features = small(kind).eval(), pictures(2, seed=0)[0]
    tokens = VOCABULARY.tokens(["a red square", "green", "blue circle here", "a", ""]).view(5, 1, -1)
    together = torch.cat([tokens[[0, 1]], tokens[[2, 3]]], dim=1)  # the first image has sentences 0 and 2
    one_by_one = [head(features[[image]]).loss(tokens[[place], 0]) for image, place in ((0, 0), (0, 2), (1, 1), (1, 3))]
    found = head(features).loss(together)
    assert found.weight == sum(loss.weight for loss in one_by_one)
    torch.testing.assert_close(found.sum, torch.stack([loss.sum for loss in one_by_one]).sum())
    fewer = together.clone()
    fewer[1, 1] = PAD  # an image with fewer sentences than another
    assert head(features).loss(fewer).weight == found.weight - one_by_one[-1].weight
    taught = head(features, together).loss(together)
    torch.testing.assert_close(taught.sum, found.sum)


@KINDS
def test_every_weight_gets_a_finite_gradient(kind: type[Captioner]) -> None:
    head, (features, texts) = small(kind), pictures(6, seed=0)
    head(features).loss(VOCABULARY.tokens(texts)).sum.backward()
    for name, weights in head.named_parameters():
        assert weights.grad is not None and weights.grad.isfinite().all(), name


@KINDS
def test_description_and_tensors_rebuild_it(kind: type[Captioner], tmp_path: Path) -> None:
    head, features = small(kind).eval(), pictures(4, seed=1)[0]
    described = json.loads(json.dumps(head.describe()))
    assert (described["kind"], described["room"]) == (kind.kind, "sentences")
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    torch.manual_seed(7)
    again = make_head(kind.kind, described["size"], described["outputs"], "sentences", **described["options"]).eval()
    again.load_state_dict(load_file(tmp_path / "head.safetensors"))
    assert again(features).decode() == head(features).decode()
    assert again.describe() == head.describe()


@KINDS
def test_training_depends_on_the_seed_alone(kind: type[Captioner]) -> None:
    features, texts = pictures(9, seed=4)
    tokens = VOCABULARY.tokens(texts)
    runs = [train(small(kind, seed), features, tokens, steps=4, lr=1e-3) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.slow
@KINDS
def test_it_says_what_it_sees_in_images_that_it_was_not_taught(kind: type[Captioner]) -> None:
    features, texts = pictures(180, seed=5)
    head = small(kind)
    losses = train(head, features, VOCABULARY.tokens(texts), steps=250 if kind is Lstm else 300, lr=1e-2, batch=32)
    assert losses[-1] < losses[0] / 3
    unseen, truth = pictures(18, seed=6)
    scorer = SentenceScorer()
    with torch.inference_mode():
        for number, said in enumerate(head(unseen).decode()):
            scorer.add(str(number), Sentences((truth[number],)), said)
    assert scorer.scores()["bleu4"] > 0.8
    assert scorer.scores()["cider"] > 7


@KINDS
def test_what_was_remembered_in_half_precision_is_said_and_taught_outside_of_it(kind: type[Captioner]) -> None:
    head, (features, texts) = small(kind).eval(), pictures(4, seed=0)
    tokens = VOCABULARY.tokens(texts)
    with torch.autocast("cpu", torch.bfloat16):
        found, taught = head(features), head(features, tokens)
    assert found.decode() == head(features).decode()
    expected = head(features).loss(tokens).sum
    for outputs in (found, taught):
        torch.testing.assert_close(outputs.loss(tokens).sum, expected, atol=0.1, rtol=0.02)


@KINDS
def test_a_vocabulary_of_another_length_is_refused(kind: type[Captioner]) -> None:
    with pytest.raises(UsageError, match="9 outputs for a vocabulary of 6; give one each"):
        kind(SIZE, 9, words=("a", "b"))


def test_sentences_longer_than_the_transformer_reads_are_refused() -> None:
    head = small(Transformer)
    with pytest.raises(UsageError, match=f"it may have {LONGEST}"):
        head(torch.randn(1, 2, 2, SIZE)).loss(torch.full((1, LONGEST + 3), 5))
    with pytest.raises(UsageError, match="can't be shared out among 4 attention heads"):
        Transformer(SIZE, 6, words=("a", "b"), width=30)


def test_the_lstm_is_punished_for_places_that_it_does_not_look_at() -> None:
    """Of uniform attention over P places and T words, mean (1 - T / P)^2."""
    head = small(Lstm).eval()
    torch.nn.init.zeros_(head.attention.weight)
    tokens = VOCABULARY.tokens(["a red square", "green"])  # with their ends 4 and 2 words
    parts = head(torch.randn(2, 4, 5, SIZE)).loss(tokens).parts
    assert float(parts["attention"].detach()) == pytest.approx(4 * (1 - 4 / 20) ** 2 + 2 * (1 - 2 / 20) ** 2, rel=1e-5)


def test_the_defaults_of_the_lstm_are_those_of_visft() -> None:
    described = Lstm(SIZE, 6, words=("a", "b")).describe()["options"]
    assert described == {"words": ["a", "b"], "width": 384, "grid": 14, "dropout": 0.5}


# Beam search ----------------------------------------------------------------------------------------------------------


class Fixed(Captioner):
    """Says each word with a probability that depends on the image and on the word before alone."""

    def __init__(self, table_BYY: Tensor):
        super().__init__(1, table_BYY.shape[1], words="abcdefgh"[: table_BYY.shape[1] - UNKNOWN - 1])
        self.table = table_BYY

    def remembered(self, features_BHWD: Tensor) -> State:
        return (self.table,)

    def begin(self, memory: State, each: int) -> State:
        return (torch.empty(each * len(memory[0]), 0, dtype=torch.int64),)

    def step(self, memory: State, state: State, tokens_RT: Tensor) -> tuple[Tensor, State]:
        assert torch.equal(state[0], tokens_RT[:, :-1])  # what is carried stays with its sentence
        table_RYY = memory[0].repeat_interleave(len(tokens_RT) // len(memory[0]), dim=0)
        return table_RYY[torch.arange(len(tokens_RT)), tokens_RT[:, -1]], (tokens_RT,)

    def follow(self, memory: State, tokens_RT: Tensor) -> Taught:
        raise NotImplementedError


def fixed(seed: int, images: int = 3, words: int = 2) -> Fixed:
    count = UNKNOWN + 1 + words
    return Fixed(torch.randn(images, count, count, generator=torch.Generator().manual_seed(seed)) * 2)


def log_probability(table_YY: Tensor, sentence: tuple[int, ...]) -> float:
    """Of a sentence and its end, where what is never said has no probability."""
    allowed = [END, *range(UNKNOWN + 1, len(table_YY))]
    total = 0.0
    for before, word in itertools.pairwise((BEGIN, *sentence, END)):
        total += float(table_YY[before, word] - table_YY[before, allowed].logsumexp(0))
    return total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("longest", [1, 3])
def test_a_beam_that_holds_all_sentences_finds_the_best(seed: int, longest: int) -> None:
    head = fixed(seed)
    said = head(torch.empty(3, 1, 1, 1)).decode(beam=100, longest=longest)
    words = range(UNKNOWN + 1, head.outputs)
    every = [text for count in range(longest + 1) for text in itertools.product(words, repeat=count)]
    for table_YY, text in zip(head.table, said, strict=True):
        means = {one: log_probability(table_YY, one) / (len(one) + 1) for one in every}
        best = max(means, key=lambda one: means[one])
        assert text == head.vocabulary.text(best)


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_greedy(seed: int) -> None:
    head = fixed(seed, words=5)
    for table_YY, text in zip(head.table, head(torch.empty(3, 1, 1, 1)).decode(beam=1, longest=6), strict=True):
        numbers = [BEGIN]
        while len(numbers) <= 6 and numbers[-1] != END:
            row = table_YY[numbers[-1]].clone()
            row[[PAD, BEGIN, UNKNOWN]] = -math.inf
            numbers.append(int(row.argmax()))
        assert text == head.vocabulary.text(numbers)


def test_a_wider_beam_finds_a_sentence_that_is_no_less_likely() -> None:
    better = 0
    for seed in range(20):
        head = fixed(seed, images=1, words=6)
        found = head(torch.empty(1, 1, 1, 1))
        means = []
        for beam in (1, 3):
            (text,) = found.decode(beam, longest=8)
            numbers = tuple(head.vocabulary.numbers(text)[1:-1])
            means.append(log_probability(head.table[0], numbers) / (len(numbers) + 1))
        better += means[1] > means[0] + 1e-6
    assert better >= 5
