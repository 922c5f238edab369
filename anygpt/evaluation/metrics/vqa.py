"""Accuracy of visual question answering, as the VQA challenge defines it (Antol et al., 2015; visualqa.org/evaluation)."""

from __future__ import annotations

import re
from collections.abc import Sequence

OFFICIAL = 10  # human answers to a question in the data set
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
NUMBERS = {"none": "0"} | {
    word: str(number)
    for number, word in enumerate("zero one two three four five six seven eight nine ten".split())
}
ARTICLES = ("a", "an", "the")
ENDINGS = {
    "n't": "ai are ca could did does do had has have is might must need ought should was were wo would",
    "'ve": "could i might must should they we what who would you",
    "'ll": "how it they what who why you",
    "'d": "he how it there they where who you",
    "'s": "he how that there what when where who why someone",
    "'re": "there they what why you",
    "'m": "i",
}  # ending: the words that have it in the official table of contractions
CONTRACTIONS = {
    f"{stem}{ending}".replace("'", ""): f"{stem}{ending}"
    for ending, stems in ENDINGS.items()
    for stem in stems.split()
}


def normalise(answer: str) -> str:
    """The official normalisation: punctuation, full stops, number words, articles, contractions, capitals."""
    text = stripped = " ".join(answer.split())
    comma_in_number = re.search(r"\d,\d", text) is not None
    for mark in PUNCTUATION:
        # Asked of the text as it came, replaced in the text so far: so does the reference.
        beside_space = f"{mark} " in text or f" {mark}" in text
        stripped = stripped.replace(mark, "" if beside_space or comma_in_number else " ")
    stripped = re.sub(r"\.(?!\d)", "", stripped)
    words = [NUMBERS.get(word, word) for word in stripped.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def vqa_accuracy(answer: str, references: Sequence[str]) -> float:
    """How right an answer is, in [0, 1].

    Args:
        references: the ten human answers: right is what three of nine others said, the mean over leaving out each.
            Fewer than ten are taken as all the answers that are right.
    """
    given = normalise(answer)
    right = [normalise(reference) == given for reference in references]
    if len(right) < OFFICIAL:
        return float(any(right))
    return sum(min((sum(right) - itself) / 3, 1.0) for itself in right) / len(right)
