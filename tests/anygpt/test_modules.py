"""Adapters, projections and signal tokens: shapes, gradients, first values."""

import pytest
import torch

from anygpt.adapters import ADAPTERS, Adapter
from anygpt.config import AdapterConfig, ConfigError, ProjectionConfig
from anygpt.projections import PROJECTIONS, build_projection
from anygpt.signals import Signals

SMALL = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "feedforward": 24}


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("tokens", [1, 3])
def test_adapter_shape_and_gradient(kind: str, tokens: int) -> None:
    torch.manual_seed(0)
    adapter = Adapter(AdapterConfig(kind, tokens), dim=6, hidden=8)
    features = torch.randn(2, 5, 6)
    output = adapter(features)
    assert output.shape == (2, 5 * tokens, 8)
    # each feature token gives its own embeddings, in order
    assert torch.allclose(adapter(features[:, 2:3]), output[:, 2 * tokens : 3 * tokens], atol=1e-6)
    output.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in adapter.parameters())


@pytest.mark.parametrize("kind", sorted(ADAPTERS.keys() - {"linear", "mlp"}))
@pytest.mark.parametrize("tokens", [1, 3])
def test_adapters_with_queries_give_as_many_tokens_whatever_they_read(kind: str, tokens: int) -> None:
    torch.manual_seed(0)
    config = AdapterConfig(kind, tokens, 4, hidden_size=16, num_layers=2, num_heads=2, feedforward=24)
    adapter = Adapter(config, dim=6, hidden=8).eval()
    features = torch.randn(2, 5, 6)
    output = adapter(features)
    assert output.shape == adapter(features[:, :1]).shape == (2, 4 * tokens, 8)
    assert torch.allclose(adapter(features[1:])[0], output[1], atol=1e-6)
    # they start apart from each other, and every feature is read
    assert torch.cdist(output[0], output[0]).fill_diagonal_(1).min() > 1e-3
    for place in range(5):
        moved = features.clone()
        moved[:, place, 0] += 1
        assert not torch.allclose(adapter(moved), output, atol=1e-5)
    output.square().sum().backward()
    assert all(p.grad is not None for p in adapter.parameters())
    assert all(p.grad.any() for name, p in adapter.named_parameters() if not name.endswith("key.bias"))


def test_a_perceiver_tells_frames_apart() -> None:
    torch.manual_seed(0)
    sizes = {"queries": 3, "num_layers": 1, "num_heads": 1}
    film = torch.randn(1, 4, 1, 6)
    back = film.flip(1)
    for frames, alike in ((1, True), (4, False)):
        adapter = Adapter(AdapterConfig("perceiver", **sizes, frames=frames), dim=6, hidden=8)
        assert torch.allclose(adapter(film.flatten(1, 2)), adapter(back.flatten(1, 2)), atol=1e-5) == alike
    with pytest.raises(ValueError, match="4 frames, and 5 features"):
        adapter(torch.randn(1, 5, 6))


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_map_reads_a_place_in_all_frames_together(kind: str) -> None:
    torch.manual_seed(0)
    adapter = Adapter(AdapterConfig(kind, tokens=2, frames=3), dim=6, hidden=8)
    film = torch.randn(1, 3, 5, 6)  # three frames of five tokens
    output = adapter(film.flatten(1, 2)).unflatten(1, (5, 2))
    assert output.shape == (1, 5, 2, 8)
    film[0, 1, 4] += 1
    moved = (adapter(film.flatten(1, 2)).unflatten(1, (5, 2)) - output).abs().amax((0, 2, 3))
    assert (
        moved[4] > 1e-3 and not moved[:4].any()
    )  # whichever frame it is in, a place tells its own embeddings
    with pytest.raises(ValueError, match="3 frames, and 4 features"):
        adapter(torch.randn(1, 4, 6))


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"hidden_size \(16\).*num_heads \(3\)"):
        Adapter(AdapterConfig("q-former", hidden_size=16, num_heads=3), 4, 4)


@pytest.mark.parametrize("kind", sorted(PROJECTIONS))
def test_projection_shape_and_gradient(kind: str) -> None:
    torch.manual_seed(0)
    projection = build_projection(ProjectionConfig(kind, **SMALL), 12, (7, 10))
    hidden, embeddings = torch.randn(3, 4, 12), torch.randn(3, 4, 12)
    output = projection(hidden, embeddings)
    assert output.shape == (3, 7, 10)
    assert torch.allclose(projection(hidden[1:2], embeddings[1:2])[0], output[1], atol=1e-5)
    assert not torch.allclose(projection(hidden, embeddings * 2), output)  # the embeddings are read too
    output.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in projection.parameters())


def test_unknown_kinds_name_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'linear'.*'mlp'"):
        Adapter(AdapterConfig("linaer"), 4, 4)
    with pytest.raises(ConfigError, match="did you mean 'transformer'"):
        build_projection(ProjectionConfig("transformers"), 4, (1, 4))
    with pytest.raises(ConfigError, match="multiple"):
        build_projection(ProjectionConfig(hidden_size=10, num_heads=4), 4, (1, 4))


def test_signal_ids_follow_the_vocabulary() -> None:
    signals = Signals(100, 8, {"image": 4, "audio": 2})
    assert signals.ids == {"image": range(100, 104), "audio": range(104, 106)}
    assert signals.name(103) == "<image_3>" and signals.name(104) == "<audio_0>"
    ids = torch.tensor([[101, 105]])
    assert torch.equal(signals.embed(ids), signals.embedding[torch.tensor([[1, 5]])])
    hidden = torch.randn(2, 3, 8)
    assert signals.logits(hidden).shape == (2, 3, 6)


def test_signals_start_at_the_mean_of_the_llms_rows() -> None:
    torch.manual_seed(0)
    rows, head = torch.randn(500, 8) + 3, torch.randn(500, 8) - 2
    signals = Signals(500, 8, {"image": 50})
    signals.start_from(rows, head)
    assert torch.allclose(signals.embedding.mean(0), rows.mean(0), atol=0.1)
    assert torch.allclose(signals.head.mean(0), head.mean(0), atol=0.1)
    assert 0.05 < signals.embedding.std(0).mean() < 0.2  # and no two alike
