"""Captions against references: BLEU-4 and ROUGE-L from torchmetrics, and CIDEr-D.

METEOR and SPICE (and so SPIDEr) are not here: they need a Java program and WordNet, which no package brings along.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from types import ModuleType

from anygpt.evaluation.errors import EvaluationError

ORDER = 4  # the longest n-gram
SIGMA = 6.0  # of CIDEr-D's penalty for another length, in words

Gram = tuple[str, ...]
Weights = list[dict[Gram, float]]  # one dictionary for each length of n-gram


def tokenise(text: str) -> list[str]:
    """Lower-case words without punctuation, much as the Penn Treebank tokenizer that coco-caption uses leaves them."""
    return re.findall(r"[\w'-]+", text.lower())


def bleu_4(answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU of the whole corpus with n-grams up to 4, no smoothing; in [0, 1] (Papineni et al., 2002).

    Args:
        references: for each answer all captions that are right.
    """
    score = _torchmetrics().bleu_score(
        [" ".join(tokenise(answer)) for answer in answers],
        [[" ".join(tokenise(reference)) for reference in group] for group in references],
        n_gram=ORDER,
    )
    return float(score)


def rouge_l(answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """F-measure of the longest common subsequence with the best reference, mean over answers; in [0, 1] (Lin, 2004)."""
    scores = _torchmetrics().rouge_score(
        list(answers), [list(group) for group in references], accumulate="best", rouge_keys="rougeL"
    )
    return float(scores["rougeL_fmeasure"])


def cider(answers: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """CIDEr-D, in [0, 10]: its mean, and that of each answer (Vedantam et al., 2015, section 4; as coco-caption has it).

    How rare an n-gram is, is counted in these very references: one answer alone always scores 0.
    """
    counted = [[_counts(reference) for reference in group] for group in references]
    seen_in = Counter(gram for group in counted for gram in {gram for counts in group for gram in counts})
    documents = math.log(len(counted)) if counted else 0.0

    def weigh(counts: Counter[Gram]) -> Weights:
        weights: Weights = [{} for _ in range(ORDER)]
        for gram, count in counts.items():
            weights[len(gram) - 1][gram] = count * (documents - math.log(max(seen_in[gram], 1)))
        return weights

    scores = []
    for answer, group in zip(answers, counted, strict=True):
        counts = _counts(answer)
        each = [_alike(weigh(counts), weigh(other)) * _as_long(counts, other) for other in group]
        scores.append(10 * sum(each) / len(each))
    return sum(scores) / max(len(scores), 1), scores


def _counts(text: str) -> Counter[Gram]:
    words = tokenise(text)
    return Counter(
        tuple(words[start : start + length])
        for length in range(1, ORDER + 1)
        for start in range(len(words) - length + 1)
    )


def _alike(answer: Weights, reference: Weights) -> float:
    """Mean over the lengths of n-grams of the cosine, an answer's weight clipped to the reference's."""
    total = 0.0
    for mine, theirs in zip(answer, reference, strict=True):
        lengths = math.hypot(*mine.values()) * math.hypot(*theirs.values())
        if lengths:
            shared = sum(
                min(weight, theirs.get(gram, 0)) * theirs.get(gram, 0) for gram, weight in mine.items()
            )
            total += shared / lengths
    return total / ORDER


def _as_long(answer: Counter[Gram], reference: Counter[Gram]) -> float:
    """The penalty for another length, which coco-caption counts in pairs of words."""
    pairs = [sum(count for gram, count in counts.items() if len(gram) == 2) for counts in (answer, reference)]
    return math.exp(-((pairs[0] - pairs[1]) ** 2) / (2 * SIGMA**2))


def _torchmetrics() -> ModuleType:
    try:
        import torchmetrics.functional.text as text
    except ImportError as error:
        raise EvaluationError("BLEU and ROUGE need torchmetrics: pip install 'anygpt[eval]'") from error
    return text
