"""Whether a model tells media of its own kind from others."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import Generator
from PIL import Image

from anygpt import AnyGPT
from anygpt.familiarity import Cloud, Familiarity, views


def plain(rng: Generator) -> Image.Image:
    """A square of one colour on another."""
    picture = np.full((32, 32, 3), rng.integers(256, size=3), np.uint8)
    x, y = rng.integers(4, 20, size=2)
    picture[y : y + 8, x : x + 8] = rng.integers(256, size=3)
    return Image.fromarray(picture)


def noise(rng: Generator) -> Image.Image:
    return Image.fromarray(rng.integers(256, size=(32, 32, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def choosy(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint, which knows plain pictures."""
    model = AnyGPT.from_pretrained(checkpoint)
    rng, encoder = np.random.default_rng(0), model.encoder("image")
    batch = torch.stack([encoder.preprocess("image", plain(rng)) for _ in range(400)])
    with torch.no_grad():
        features = {view: run("image", batch) for view, run in views(encoder).items()}
    model.familiarity = Familiarity.fit({"image": features}, apart=200, turned_away=0.01)
    folder = tmp_path_factory.mktemp("choosy")
    model.save_pretrained(folder, frozen=True)
    return folder


def test_a_cloud_is_what_it_was_fitted_to() -> None:
    torch.manual_seed(0)
    mixed = torch.randn(4000, 1, 5) @ torch.randn(5, 5) + 3
    cloud = Cloud.fit(mixed[2000:])
    distances = cloud.distance(mixed)
    assert distances.square().mean() == pytest.approx(5, rel=0.1)  # a chi-square of 5 degrees of freedom
    again = Cloud.unpack(*cloud.pack())
    assert torch.equal(again.distance(mixed), distances)
    # of two views, one far away weighs as much as the other
    known = Familiarity.fit({"image": {"pooled": mixed, "patches": mixed + 9}}, apart=2000, turned_away=0.05)
    scores = known.score("image", {"pooled": mixed, "patches": mixed + 9})
    assert (scores > known.limits["image"]).float().mean() == pytest.approx(0.05, abs=0.015)
    assert (known.score("image", {"pooled": mixed, "patches": mixed + 30}) > known.limits["image"]).all()


def test_between_groups_nothing_is_familiar() -> None:
    random = torch.Generator().manual_seed(0)
    middles = 10 * torch.randn(6, 4, generator=random)
    own = (middles[torch.arange(1200) % 6] + 0.5 * torch.randn(1200, 4, generator=random))[:, None]
    between = ((middles[0] + middles[1]) / 2).expand(1, 1, 4)
    for groups, told in ((1, False), (6, True)):
        known = Familiarity.fit(
            {"audio": {"pooled": own}}, apart=600, turned_away=0.01, groups={"audio": groups}
        )
        assert (float(known.score("audio", {"pooled": between})) > known.limits["audio"]) is told
        away = known.score("audio", {"pooled": own[:600]}) > known.limits["audio"]
        assert 0 < away.float().mean() <= 0.011


def test_a_model_refuses_what_it_does_not_know_and_answers_the_rest(choosy: Path) -> None:
    model, rng = AnyGPT.from_pretrained(choosy), np.random.default_rng(1)
    asked = [
        [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "a b"}]}]
        for image in [plain(rng) for _ in range(12)] + [noise(rng) for _ in range(6)]
    ]
    texts = [reply.text for reply in model.chat(asked, max_new_tokens=3)]
    refused = ["not from the world that I know" in text for text in texts]
    assert sum(refused[:12]) <= 1 and all(refused[12:])
    # one by one as in a batch
    for conversation, text in zip(asked, texts, strict=True):
        assert model.chat(conversation, max_new_tokens=3).text == text


def test_a_conversation_goes_on_after_a_refusal(choosy: Path) -> None:
    session = AnyGPT.from_pretrained(choosy).session()
    image = {"type": "image", "image": noise(np.random.default_rng(2))}
    first = session.chat([image, {"type": "text", "text": "a"}], max_new_tokens=3)
    second = session.chat("b", max_new_tokens=3)
    assert "this" in first.text.lower() and "world" in first.text and "world" not in second.text
    assert len(session.messages) == 4
    # what was turned away is not looked at later either
    [user, *rest] = session.messages[:3]
    unseen = [{"role": "user", "content": user["content"][1:]}, *rest]
    assert second.text == session.model.chat(unseen, max_new_tokens=3).text
    assert len(session.model.processor(session.messages[:3]).without([0]).media) == 0


def test_a_model_without_the_file_takes_everything(checkpoint: Path) -> None:
    model = AnyGPT.from_pretrained(checkpoint)
    assert model.familiarity is None
    image = {"type": "image", "image": noise(np.random.default_rng(2))}
    assert "world" not in model.chat([{"role": "user", "content": [image]}], max_new_tokens=3).text
