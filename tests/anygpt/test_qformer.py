"""The Q-Former's first stage: who sees whom, and losses that can be learned."""

import pytest
import torch

from anygpt.adapters import Adapter
from anygpt.adapters.pretraining import QFormerPretraining, attention_mask
from anygpt.config import AdapterConfig

SMALL = AdapterConfig("q-former", queries=3, hidden_size=32, num_layers=2, num_heads=2, feedforward=64)
# BLIP-2's figure 2, with two queries and three words: rows look at columns
FIGURE = {
    "itm": ["11111", "11111", "11111", "11111", "11111"],
    "itg": ["11000", "11000", "11100", "11110", "11111"],
    "itc": ["11000", "11000", "00111", "00111", "00111"],
}


@pytest.mark.parametrize("task", FIGURE)
def test_masks_are_those_of_the_figure(task: str) -> None:
    wanted = torch.tensor([[cell == "1" for cell in row] for row in FIGURE[task]])
    mask = attention_mask(task, 2, torch.tensor([[1, 1, 1], [1, 1, 0]]))
    assert torch.equal(mask[0], wanted)
    wanted[:, 4] = False  # nobody sees padding
    assert torch.equal(mask[1], wanted)


@pytest.fixture
def stage() -> QFormerPretraining:
    torch.manual_seed(0)
    adapter = Adapter(SMALL, dim=8, hidden=12)
    module = QFormerPretraining(adapter.map[0], vocabulary=20, longest=8, width=16)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


@torch.no_grad()
def test_the_states_obey_the_masks(stage: QFormerPretraining) -> None:
    features, ids, mask = (
        torch.randn(1, 5, 8),
        torch.tensor([[1, 2, 3, 4]]),
        torch.ones(1, 4, dtype=torch.long),
    )
    later, other = torch.tensor([[1, 2, 3, 9]]), torch.randn(1, 5, 8)

    def same(task: str, *given: torch.Tensor) -> tuple[list[bool], list[bool]]:
        old, new = stage._states(task, features, ids, mask), stage._states(task, *given, mask)
        return tuple(
            torch.isclose(a, b, atol=1e-5).all(-1)[0].tolist() for a, b in zip(old, new, strict=True)
        )

    assert same("itc", features, later) == ([True] * 3, [False] * 5)
    assert same("itc", other, ids) == ([False] * 3, [True] * 5)
    assert same("itm", features, later) == ([False] * 3, [False] * 5)
    assert same("itg", features, later) == ([True] * 3, [True, True, True, True, False])
    assert same("itg", other, ids) == ([False] * 3, [False] * 5)
    # what the adapter gives to the LLM are the states of the queries alone
    queries = stage._states("itc", features, ids, mask)[0]
    adapter = Adapter(SMALL, dim=8, hidden=12).eval()
    adapter.map[0].model = _queries_part(stage, adapter)
    adapter.map[0].queries, adapter.map[0].norm = stage.queries, stage.norm
    assert torch.allclose(adapter.map[0](features), queries, atol=1e-5)


def _queries_part(stage: QFormerPretraining, adapter: Adapter) -> torch.nn.Module:
    weights = {k: v for k, v in stage.model.state_dict().items() if k in adapter.map[0].model.state_dict()}
    adapter.map[0].model.load_state_dict(weights)
    return adapter.map[0].model


@torch.no_grad()
def test_padding_changes_nothing(stage: QFormerPretraining) -> None:
    features, ids = torch.randn(2, 5, 8), torch.tensor([[1, 2, 3], [4, 5, 6]])
    mask = torch.ones_like(ids)
    longer = torch.nn.functional.pad(ids, (0, 2), value=7), torch.nn.functional.pad(mask, (0, 2))
    for function in (stage.similarity, stage.matching, stage._write):
        assert torch.allclose(function(features, ids, mask), function(features, *longer), atol=1e-5)


def test_the_three_losses_fall_and_pictures_are_found_by_their_text(stage: QFormerPretraining) -> None:
    """16 pictures, one of 4 colours and one of 4 shapes each, with captions of two words."""
    torch.manual_seed(1)
    colours, shapes = torch.randn(4, 8), torch.randn(4, 8)
    pairs = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    features = torch.stack([colours[pairs[:, 0]], shapes[pairs[:, 1]]], 1)
    ids = torch.stack([pairs[:, 0], 10 + pairs[:, 1], torch.full((16,), 19)], 1)
    mask = torch.ones_like(ids)
    with torch.no_grad():
        before = stage(features, ids, mask)
    optimiser = torch.optim.AdamW(stage.parameters(), lr=2e-3, betas=(0.9, 0.98))
    warm = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / 20, total_iters=19)
    for _ in range(300):
        optimiser.zero_grad()
        sum(stage(features, ids, mask).values()).backward()
        optimiser.step()
        warm.step()
    with torch.no_grad():
        after = stage(features, ids, mask)
        similar = stage.similarity(features, ids, mask)
    assert all(after[task] < 0.5 * before[task] for task in before), (before, after)
    assert (similar.argmax(1) == torch.arange(16)).all() and (similar.argmax(0) == torch.arange(16)).all()


def test_training_the_stage_trains_the_adapter_and_leaves_its_weights_the_queries_part() -> None:
    torch.manual_seed(0)
    adapter = Adapter(SMALL, dim=8, hidden=12)
    names = set(adapter.state_dict())
    assert not any(".intermediate." in name for name in names)
    stage = QFormerPretraining(adapter.map[0], vocabulary=20)
    features, ids = torch.randn(3, 5, 8), torch.tensor([[1, 2], [3, 4], [1, 2]])
    sum(stage(features, ids, torch.ones_like(ids)).values()).backward()
    trained = {name for name, parameter in adapter.map[0].named_parameters() if parameter.grad is not None}
    assert trained == dict(adapter.map[0].named_parameters()).keys()
    assert set(adapter.state_dict()) == names
    assert not {id(p) for p in adapter.map[0].parameters()} - {id(p) for p in stage.parameters()}


def test_equal_captions_are_no_wrong_pairs() -> None:
    torch.manual_seed(0)
    stage = QFormerPretraining(Adapter(SMALL, dim=8, hidden=12).map[0], vocabulary=20).eval()
    features, ids = torch.randn(3, 5, 8), torch.tensor([[1, 2]] * 3)
    losses = stage(features, ids, torch.ones_like(ids))
    assert all(torch.isfinite(loss) for loss in losses.values())


@torch.no_grad()
def test_queries_hear_features_of_any_length() -> None:
    """ImageBind's are of length 1, and next to the queries would be nothing without a norm."""
    torch.manual_seed(0)
    adapter = Adapter(SMALL, dim=8, hidden=12).eval()
    features = torch.randn(6, 5, 8)
    seen = adapter(features)
    assert torch.allclose(adapter(0.05 * features), seen, atol=1e-2)
    assert seen.std(0).mean() > 0.1 * seen.std()
