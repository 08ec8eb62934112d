"""CIDEr-D and BLEU-4: by hand, against slow plain ones, and what must hold of them."""

from __future__ import annotations

import math
import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activetune import UsageError
from activetune.data.kinds import Sentences
from activetune.data.words import words_of
from activetune.evaluation.sentences import SentenceScorer, bleu, cider

CORPUS = {
    "a.jpg": ("A black cat sits on the mat.", "a cat on a mat", "there is a cat lying on a rug"),
    "b.jpg": ("Two dogs run through deep snow.", "dogs in the snow"),
    "c.jpg": ("A man rides a red bicycle down the street.", "someone cycles along a street"),
    "d.jpg": ("A bowl of soup on a wooden table.", "the soup is on the table", "a bowl on a table"),
}


def scored(found: dict[str, str], corpus: dict[str, tuple[str, ...]] = CORPUS) -> dict[str, float]:
    scorer = SentenceScorer()
    for item, text in found.items():
        scorer.add(item, Sentences(corpus[item]), text)
    return scorer.scores()


# Words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "A man's RED-haired dog, 2 cats & (maybe) a bird…",
            ["a", "man's", "red", "haired", "dog", "2", "cats", "maybe", "a", "bird"],
        ),
        (
            "the dogs\u2019 \u2018big\u2019 'bone' isn\u2019t rock'n'roll",
            ["the", "dogs", "big", "bone", "isn't", "rock'n'roll"],
        ),
        ("Ein süßer Hund läuft über die Straße", ["ein", "süßer", "hund", "läuft", "über", "die", "straße"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),  # vowel signs are marks, not letters
        ("一只猫 в углу", ["一", "只", "猫", "в", "углу"]),
        ("ねこ カー", ["ね", "こ", "カ", "ー"]),
        ("고양이 한 마리", ["고양이", "한", "마리"]),
        ("snake_case x²", ["snake", "case", "x2"]),
        ("  \n", []),
        ("?!", []),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(st.text())
def test_words_are_what_they_are_made_of(text: str) -> None:
    words = words_of(text)
    assert words_of(" ".join(words)) == words
    assert all(words)


# Known answers --------------------------------------------------------------------------------------------------------


def test_sentences_that_are_their_only_reference_score_ten_and_one() -> None:
    corpus = {item: texts[:1] for item, texts in CORPUS.items()}
    found = scored({item: texts[0].upper() for item, texts in corpus.items()}, corpus)
    assert found == {"cider": pytest.approx(10), "bleu4": pytest.approx(1), "n": 4}


def test_cider_by_hand() -> None:
    references = [[["red", "cat"]], [["red", "dog"]], [["blue", "sky"]]]
    found = [["red", "cat"], ["red"], ["sky", "sky"]]
    # First: two orders of four are 1, the others have no n-gram.
    # Second: unigrams log(3/2) red against (log 3/2 red, log 3 dog), one word shorter.
    rare, common = math.log(3), math.log(1.5)
    second = common / math.hypot(common, rare) * math.exp(-1 / 72)
    # Third: 2 sky against (blue, sky): min(2, 1) of sky, over |2 sky| |(1, 1)| in units of log 3; no bigram shared.
    third = 1 / (2 * math.sqrt(2))
    assert cider(found, references) == pytest.approx([10 / 4 * value for value in (2, second, third)])


@pytest.mark.parametrize(
    ("found", "references", "expected"),
    [
        # Papineni's example of words said again and again: no bigram is right
        (["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]], 0.0),
        (["a b c d e"], [["a b c d e f"]], math.exp(1 - 6 / 5)),  # too short
        (["a b c d e f"], [["a b c d e"]], (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25),
        (["a b c d e"], [["a b c d e f", "w x y z"]], 1.0),  # two are as close in length: the shorter one counts
        (["a b c d", "x y z"], [["a b c d"], ["x y q"]], (6 / 7 * 4 / 5 * 2 / 3) ** 0.25),  # the set, not its images
        (["a b c"], [["a b c"]], 0.0),  # no run of four words
        ([""], [["a b c d"]], 0.0),
        ([], [], 0.0),
    ],
)
def test_bleu_by_hand(found: list[str], references: list[list[str]], expected: float) -> None:
    split = [text.split() for text in found]
    assert bleu(split, [[text.split() for text in those] for those in references]) == pytest.approx(expected)


def test_a_single_image_has_no_rare_words() -> None:
    assert cider([["a", "cat"]], [[["a", "cat"]]]) == [0.0]
    assert scored({}) == {"cider": 0.0, "bleu4": 0.0, "n": 0}


def test_better_sentences_score_higher() -> None:
    good = {"a.jpg": "a cat on the mat", "b.jpg": "dogs run in the snow", "c.jpg": "a man rides down the street"}
    good["d.jpg"] = "a bowl of soup on the table"
    wrong = dict(zip(good, [*list(good.values())[1:], "a cat on the mat"], strict=True))
    same = dict.fromkeys(good, "a cat on the mat")
    again = {item: f"{text} {text}" for item, text in good.items()}
    figures = [scored(found)["cider"] for found in (good, again, same, wrong)]
    assert figures[0] > figures[1] > figures[3]
    assert figures[0] > figures[2] > figures[3]


# Against slow plain ones ----------------------------------------------------------------------------------------------


def runs(words: list[str], order: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + order]) for start in range(len(words) - order + 1)]


def slow_cider(found: list[list[str]], references: list[list[list[str]]]) -> list[float]:
    """Equation by equation, over vectors with a number for every n-gram that there is."""
    scores = []
    for words, those in zip(found, references, strict=True):
        total = 0.0
        for order in range(1, 5):
            every = sorted({gram for texts in [found, *references] for text in texts for gram in runs(text, order)})
            frequency = np.array(
                [sum(any(gram in runs(s, order) for s in texts) for texts in references) for gram in every]
            )
            idf = np.log(len(references) / np.maximum(1, frequency))
            mine = np.array([runs(words, order).count(gram) for gram in every]) * idf
            for reference in those:
                other = np.array([runs(reference, order).count(gram) for gram in every]) * idf
                norms = np.linalg.norm(mine) * np.linalg.norm(other)
                if norms:
                    penalty = np.exp(-((len(words) - len(reference)) ** 2) / 72)
                    total += 10 * penalty * (np.minimum(mine, other) @ other) / norms / len(those) / 4
        scores.append(float(total))
    return scores


def slow_bleu(found: list[list[str]], references: list[list[list[str]]]) -> float:
    product, lengths, closest = 1.0, sum(map(len, found)), 0
    for order in range(1, 5):
        right = count = 0
        for words, those in zip(found, references, strict=True):
            for gram in set(runs(words, order)):
                most = max(runs(reference, order).count(gram) for reference in those)
                right += min(most, runs(words, order).count(gram))
            count += len(runs(words, order))
        product *= right / count if count else 0.0
    for words, those in zip(found, references, strict=True):
        closest += sorted(map(len, those), key=lambda size: (abs(size - len(words)), size))[0]
    return product**0.25 * (math.exp(min(0.0, 1 - closest / lengths)) if lengths else 0.0)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_scores_are_those_of_the_formulas(seed: int, images: int) -> None:
    chance = random.Random(seed)

    def sentence(shortest: int) -> list[str]:
        return chance.choices("abcd", [5, 3, 2, 1], k=chance.randint(shortest, 8))

    found = [sentence(0) for _ in range(images)]
    references = [[sentence(1) for _ in range(chance.randint(1, 4))] for _ in range(images)]
    assert cider(found, references) == pytest.approx(slow_cider(found, references), abs=1e-12)
    assert bleu(found, references) == pytest.approx(slow_bleu(found, references), abs=1e-12)
    assert 0 <= bleu(found, references) <= 1
    assert all(0 <= value <= 10 + 1e-9 for value in cider(found, references))


# The scorer -----------------------------------------------------------------------------------------------------------


def test_scorers_of_parts_are_one_of_the_whole_in_any_order() -> None:
    said = dict(zip(CORPUS, ["a cat on the rug", "two dogs in the snow", "a man in the street", "soup"], strict=True))
    scorers = [SentenceScorer(), SentenceScorer(), SentenceScorer()]
    for number, (item, text) in enumerate(reversed(said.items())):
        scorers[number % 2].add(item, Sentences(CORPUS[item]), text)
    states = [pickle.loads(pickle.dumps(scorer.state())) for scorer in scorers]
    assert SentenceScorer.of(states).scores() == SentenceScorer.of(states[::-1]).scores() == scored(said)


def test_an_image_is_scored_once() -> None:
    scorer = SentenceScorer()
    scorer.add("a", Sentences(("a cat",)), "a dog")
    with pytest.raises(UsageError, match="'a' was scored before"):
        scorer.add("a", Sentences(("a cat",)), "a dog")
    with pytest.raises(UsageError, match="'a' was scored before"):
        SentenceScorer.of([scorer.state(), scorer.state()])
