"""Known answers: what a converted model must do if nothing went wrong on the way."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anygpt.config import ProjectionConfig
from anygpt.conversion.nextgpt import trained_weights
from anygpt.conversion.published import LEGACY, Published
from anygpt.messages import normalise
from anygpt.options import Options
from anygpt.projections import TransformerProjection
from anygpt.thinking import Memory, Run, think

if TYPE_CHECKING:
    from anygpt.model import AnyGPT

# Of NExT-GPT's own `TextFcLayer`, weights and inputs by `formula`: an LLM of width 256, 8 signal tokens, 1 query of 64.
RECORDED = (2.387874057392667, -0.9708772838166346, -0.8522258772700931, 2.1784501221789965)
# "hello", as each tree asks it, in LLaMA's token ids.
LEGACY_HELLO = [1, 835, 12968, 29901, 29871, 22172, 13, 2277, 29937, 4007, 22137, 29901, 29871]
ENGLISH = "A man is walking his dog in the park on a sunny day."
FLUENT = (
    0.6  # of the surprise of an even guess; a language model is near 0.3, one with foreign rows at 1 or above
)
ALIKE = {torch.float64: 1e-6, torch.float32: 1e-3}  # of the largest state; others are half precision
HALF = 0.05


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what is wrong with it: None where nothing is."""

    what: str
    problem: str | None


def findings(model: AnyGPT, published: Published) -> Iterator[Finding]:
    """Look at a converted model, one thing after the other.

    Args:
        model: as `AnyGPT.from_pretrained` loads the folder, in the precision of its LLM.
        published: what `convert_nextgpt` returned.
    """
    yield Finding("trained parts are those of the checkpoint", _trained(model, published))
    yield Finding("output projection answers as recorded", _projection())
    yield Finding("LoRA acts on the language model", _lora(model))
    yield Finding("prompt is in the tree's tokens", _prompt(model, published))
    for modality in model.config.outputs:
        yield Finding(f"{modality} is made where the answer says so", _span(model, modality))
    yield Finding("language model speaks English", _speech(model))


def formula(name: str, shape: tuple[int, ...]) -> Tensor:
    """The values, in float64, that the recording was made with."""
    steps = torch.arange(math.prod(shape), dtype=torch.float64)
    values = torch.sin(0.7310585786 * steps + zlib.crc32(name.encode()) % 1000).reshape(shape)
    if name.endswith("bias"):
        return 0.1 * values
    if "norm" in name:
        return 1 + 0.1 * values
    if "query_embs" in name or name.startswith("input"):
        return values
    return values * math.sqrt(2 / shape[-1])


def _trained(model: AnyGPT, published: Published) -> str | None:
    own = model.state_dict()
    for name, value in trained_weights(published, model.config).items():
        if not torch.equal(own[name].cpu(), value.to(own[name].dtype)):
            return f"{name} is not what the checkpoint has"
    return None


@torch.no_grad()
def _projection() -> str | None:
    with torch.device("meta"):
        projection = TransformerProjection(ProjectionConfig(), 256, 1, 64)
    weights = {name: formula(name, tuple(value.shape)) for name, value in projection.state_dict().items()}
    projection.load_state_dict(weights, assign=True)
    shape = (3, 8, 256)
    made = projection.eval()(
        formula("input.hidden.audio.a", shape), formula("input.embedding.audio.a", shape) / 2
    )
    error = (made[0, 0, : len(RECORDED)] - torch.tensor(RECORDED, dtype=torch.float64)).abs().max()
    if error > 1e-11:
        return f"it is off by {error:.1e}: this torch ({torch.__version__}) calculates another transformer"
    return None


@torch.no_grad()
def _lora(model: AnyGPT) -> str | None:
    if not model.has_lora:
        return None
    rows = torch.cat(model.embed(model.processor(normalise("hello")).ids))[None]
    mask = torch.ones(rows.shape[:2], dtype=torch.long, device=rows.device)
    _, tuned = model.think(rows, mask)
    with model.llm.disable_adapter():
        _, plain = model.think(rows, mask)
    return "answers are the same without it" if torch.equal(tuned, plain) else None


def _prompt(model: AnyGPT, published: Published) -> str | None:
    if published.tree is not LEGACY:
        return None
    ids = model.processor(normalise("hello")).ids
    return None if ids == LEGACY_HELLO else f"'hello' is read as {ids}, and was trained as {LEGACY_HELLO}"


class Scripted:
    """A model that answers what it is told to, and otherwise thinks as it does.

    Args:
        script: for each row, the token ids of its answer; a run of signal tokens is its first.
    """

    def __init__(self, model: AnyGPT, script: list[list[int]]) -> None:
        self.model = model
        self.script = [iter(row) for row in script]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def think(self, *arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """As `AnyGPT.think`, with the script's next token the only one that can be chosen."""
        logits, hidden = self.model.think(*arguments, **options)
        for row, script in zip(logits, self.script, strict=True):
            token = next(script)
            row[-1] = -torch.inf
            row[-1, token] = 0
        return logits, hidden


@torch.no_grad()
def _span(model: AnyGPT, modality: str) -> str | None:
    """A scripted answer with a medium in it: are the states those at its signal tokens, seen in one pass?"""
    words = model.tokenizer("Here it is", add_special_tokens=False)["input_ids"]
    run = model.signals.run(modality)
    prompt = model.processor(normalise("hello"))
    scripted: Any = Scripted(model, [[*words, run[0], 2]])
    answer = list(think(scripted, [prompt], Options(), Memory(scripted)))
    runs = [item for _, item in answer if isinstance(item, Run)]
    if len(runs) != 1 or runs[0].modality != modality:
        return f"{len(runs)} media were found in an answer with one"
    ids = [*prompt.ids, *words, *run]
    rows = torch.cat(model.embed(ids))[None]
    _, hidden = model.think(rows, torch.ones(1, len(ids), dtype=torch.long, device=rows.device))
    wanted = hidden[0, -len(run) :]
    error = float((runs[0].hidden - wanted).abs().max() / wanted.abs().max())
    if error > ALIKE.get(model.dtype, HALF):
        return f"its states are not those at its signal tokens (off by {error:.1e})"
    return None


@torch.no_grad()
def _speech(model: AnyGPT) -> str | None:
    prompt = model.processor(normalise("Describe the picture."))
    words = model.tokenizer(ENGLISH, add_special_tokens=False)["input_ids"]
    rows = torch.cat(model.embed([*prompt.ids, *words]))[None]
    logits, _ = model.think(rows, torch.ones(rows.shape[:2], dtype=torch.long, device=rows.device))
    said = logits[0, len(prompt.ids) - 1 : -1].float().log_softmax(-1)
    surprise = -float(said.gather(1, torch.tensor(words, device=said.device)[:, None]).mean())
    even = math.log(logits.shape[-1])
    if surprise > FLUENT * even:
        return (
            f"plain English surprises it ({surprise:.1f} a token, an even guess has {even:.1f}): the base is not the one that "
            "the checkpoint was trained on, or the tokenizer is another"
        )
    answer = str(model.chat("hello", max_new_tokens=24, max_media=0).text).split()  # type: ignore[union-attr]
    if len(answer) >= 8 and Counter(answer).most_common(1)[0][1] > len(answer) / 2:
        return f"its answer to 'hello' is one word again and again: {' '.join(answer)!r}"
    return None
