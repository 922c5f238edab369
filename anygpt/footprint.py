"""How much memory a model takes, at rest and at work, found out on the meta device (see `anygpt.outline`).

What a network needs at work is measured: it is run without numbers, and the tensors that live at a time are counted.
Attention counts as the fused kernels do it, without its matrix of weights. Not counted: the libraries themselves (about
half a GB, on a GPU as well), scratch memory of convolutions, the denoiser's step, fragmentation.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from anygpt.outline import Outline

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CHAT_TOKENS = 1024  # of a conversation, answer included
TRAINING_TOKENS = 512  # of one example
ADAM = 2  # numbers that the optimiser keeps for each that trains


@dataclass(frozen=True)
class Peak:
    """The memory that something takes, in elements; times an element's size it is bytes.

    Attributes:
        rest: weights, gradients and the optimiser's numbers.
        work: what lives at the worst moment besides.
        encoders: their weights, which stay float32.
    """

    rest: int
    work: int
    encoders: int

    def bytes(self, dtype: str) -> int:
        """With a model of this number format."""
        return (self.rest + self.work) * DTYPES[dtype].itemsize + self.encoders * torch.float32.itemsize


def count(modules: Iterable[nn.Module], buffers: bool = False) -> int:
    """Parameters of all of them, shared ones once; with `buffers`, all the numbers that they hold in memory."""
    found: dict[int, int] = {}
    for module in modules:
        found |= {id(value): value.numel() for value in module.parameters()}
        if buffers:
            found |= {id(value): value.numel() for value in module.buffers()}
    return sum(found.values())


def chat_peak(whole: Outline) -> Peak:
    """A conversation of `CHAT_TOKENS` tokens with all parts loaded, one medium made at a time."""
    with torch.no_grad():
        works = [_measure(lambda: _think(whole.model, CHAT_TOKENS, use_cache=True), whole.model)]
        works += [_decoding(whole, modality) for modality in whole.decoders]
    weights = count([whole.model, *decoder_parts(whole)], buffers=True)
    return Peak(weights, max(works), count(whole.encoders.values(), buffers=True))


def decoder_parts(whole: Outline) -> list[nn.Module]:
    """The networks of all decoders."""
    return [part for decoder in whole.decoders.values() for part in decoder.modules.values()]


def training_peak(whole: Outline, trained: list[nn.Parameter], encoders: bool, decoders: bool) -> Peak:
    """A step of training on one example of `TRAINING_TOKENS` tokens.

    Args:
        trained: the model's parameters that learn; they require gradients, and no others do.
        encoders, decoders: whether the stage has them loaded.
    """
    model = whole.model

    def step() -> None:
        logits = _think(model, TRAINING_TOKENS, use_cache=False)
        F.cross_entropy(
            logits[0].float(), torch.zeros(TRAINING_TOKENS, dtype=torch.long, device="meta")
        ).backward()

    work = _measure(step, model)
    numbers = sum(p.numel() for p in trained)
    counted = sum(
        p.numel() for p in trained if p.grad is not None
    )  # gradients of LoRA's or the LLM's own weights
    model.zero_grad(set_to_none=True)
    weights = count([model, *(decoder_parts(whole) if decoders else ())], buffers=True)
    rest = weights + (1 + ADAM) * numbers - counted
    return Peak(rest, work, count(whole.encoders.values(), buffers=True) if encoders else 0)


def _think(model: Any, tokens: int, use_cache: bool) -> Tensor:
    """The LLM's logits (1, tokens, vocabulary), with a gradient to what it reads as in training."""
    width = model.llm.get_input_embeddings().weight.shape[1]
    read = torch.zeros(1, tokens, width, device="meta", requires_grad=torch.is_grad_enabled())
    mask = torch.ones(
        1, 1, tokens, tokens, dtype=torch.bool, device="meta"
    )  # whole, or it would be looked into
    output = model.llm(
        inputs_embeds=read, attention_mask=mask, output_hidden_states=True, use_cache=use_cache
    )
    return torch.cat([output.logits, model.signals.logits(output.hidden_states[-1])], -1)


def _decoding(whole: Outline, modality: str) -> int:
    """From latents to one medium, at the size that the config asks for."""
    from decoders.latents import latents_shape

    pipeline = whole.decoders[modality].pipeline
    shape = latents_shape(pipeline, modality, whole.model.config.outputs[modality].generation)
    return _measure(lambda: pipeline.vae.decode(torch.zeros(shape, device="meta")), pipeline.vae)


def _measure(run: Callable[[], Any], module: nn.Module) -> int:
    """The elements that live at most while `run` goes through `module`, whose own do not count."""
    with _Fused(), _Living(module) as living:
        kept = run()
    del kept
    return living.most // torch.float32.itemsize


class _Living(TorchDispatchMode):
    """Counts the bytes of what every operation makes, for as long as it lives."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        own = [*module.parameters(), *module.buffers()]
        self.known = {tensor.untyped_storage()._cdata for tensor in own}
        self.now = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


class _Fused(TorchFunctionMode):
    """Attention as one kernel that makes its result and nothing else; on the meta device torch would spell it out."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            query, key, value = args[:3] if args else (kwargs[name] for name in ("query", "key", "value"))
            result = query.new_empty(*query.shape[:-1], value.shape[-1])
            return result + 0 * (query.sum() + key.sum() + value.sum())  # gradients go to all three
        return func(*args, **kwargs)
