"""Metrics of the literature against worked examples that others have published, or that fit on a sheet of paper."""

import math

import numpy as np
import pytest
import torch

from anygpt.evaluation.errors import EvaluationError
from anygpt.evaluation.metrics.boxes import intersection_over_union
from anygpt.evaluation.metrics.captions import bleu_4, cider, rouge_l
from anygpt.evaluation.metrics.features import clip_score, frechet_distance, inception_score
from anygpt.evaluation.metrics.vqa import normalise, vqa_accuracy

ANSWERS = ["a man is speaking", "rain falls"]
REFERENCES = [
    ["a man speaks.", "someone speaks.", "a man is speaking while a bird is chirping in the background"],
    ["rain is falling hard on a surface"],
]


def test_cider_is_that_of_aac_metrics_readme():
    """The example and its figures are in the README and tests of Labbeti/aac-metrics."""
    mean, each = cider(ANSWERS, REFERENCES)
    assert mean == pytest.approx(0.9614, abs=1e-4)
    assert each == pytest.approx([1.3641, 0.5587], abs=1e-4)


def test_cider_of_the_reference_itself_is_the_most():
    texts = ["a red circle on white paper", "two blue squares in black snow"]
    mean, _ = cider(texts, [[text] for text in texts])
    assert mean == pytest.approx(10.0)
    swapped, _ = cider(texts[::-1], [[text] for text in texts])
    assert swapped < 0.5


def test_bleu_is_that_of_torchmetrics_documentation():
    pytest.importorskip("torchmetrics", reason="of the extra `eval`")
    references = [["there is a cat on the mat", "a cat is on the mat"]]
    assert bleu_4(["The cat is on the mat."], references) == pytest.approx(0.7598, abs=1e-4)


def test_rouge_counts_the_longest_common_subsequence():
    """Lin (2004), section 3.1: of "police killed the gunman", "police kill the gunman" keeps 3 of 4 words in order."""
    pytest.importorskip("torchmetrics", reason="of the extra `eval`")
    reference = [["police killed the gunman"]]
    assert rouge_l(["police kill the gunman"], reference) == pytest.approx(0.75)
    assert rouge_l(["the gunman kill police"], reference) == pytest.approx(0.5)


@pytest.mark.parametrize(("agree", "accuracy"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_vqa_accuracy_of_ten_answers(agree, accuracy):
    """The means over leaving out one of ten, as visualqa.org/evaluation.html gives them."""
    assert vqa_accuracy("yes", ["Yes."] * agree + ["no"] * (10 - agree)) == pytest.approx(accuracy)


def test_vqa_accuracy_of_fewer_answers():
    assert vqa_accuracy("It is red.", ["red", "it is red"]) == 1.0
    assert vqa_accuracy("It is blue.", ["red", "it is red"]) == 0.0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The dog.", "dog"),
        ("Two", "2"),
        ("1,000", "1000"),
        ("3.5 metres", "3.5 metres"),
        ("isnt", "isn't"),
        ("isn't", "isn't"),
        ("red/blue", "red blue"),
        ("yes, a lot!", "yes lot"),
        ("black-and-white", "black and white"),
        ("none\n", "0"),
    ],
)
def test_vqa_normalisation(answer, expected):
    assert normalise(answer) == expected


def test_frechet_distance_of_gaussians():
    """|μ - μ'|² + tr(Σ + Σ' - 2(ΣΣ')^½): in one dimension (μ - μ')² + (σ - σ')²."""
    pytest.importorskip("torchmetrics", reason="of the extra `eval`")
    ends = torch.tensor([[-1.0], [1.0]])  # standard deviation √2 with n - 1
    assert frechet_distance(ends, ends) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(ends, ends + 3) == pytest.approx(9.0)
    assert frechet_distance(ends, 2 * ends + 3) == pytest.approx(9.0 + 2.0)
    rng = np.random.default_rng(0)
    real, made = (torch.from_numpy(rng.normal(size=(500, 3)) * scale) for scale in (1.0, 2.0))
    assert frechet_distance(real, made) == pytest.approx(3.0, rel=0.1)
    with pytest.raises(EvaluationError, match="two items"):
        frechet_distance(ends[:1], ends)


def test_inception_score():
    """Sure and evenly spread answers score the number of classes, unsure ones 1."""
    pytest.importorskip("torchmetrics", reason="of the extra `eval`")
    assert inception_score(100 * torch.eye(4).repeat(3, 1)) == pytest.approx(4.0)
    assert inception_score(torch.zeros(8, 4)) == pytest.approx(1.0)
    half = torch.tensor(
        [[0.0, math.log(3)], [math.log(3), 0.0]]
    )  # (1/4, 3/4) and (3/4, 1/4) around (1/2, 1/2)
    divergence = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert inception_score(half) == pytest.approx(math.exp(divergence))


def test_clip_score():
    media = torch.tensor([[2.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    captions = torch.tensor([[5.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert clip_score(media, captions).tolist() == pytest.approx([100.0, 100 / math.sqrt(2), 0.0])


def test_intersection_over_union():
    assert intersection_over_union((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert intersection_over_union((0, 0, 2, 2), (0, 0, 2, 2)) == 1.0
    assert intersection_over_union((0, 0, 1, 1), (2, 2, 3, 3)) == 0.0
    assert intersection_over_union((1, 1, 1, 1), (1, 1, 1, 1)) == 0.0
