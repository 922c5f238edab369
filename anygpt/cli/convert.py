"""`anygpt convert`: published checkpoints → folders that this project loads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anygpt.cli.errors import CommandError
from anygpt.cli.loading import be_quiet

if TYPE_CHECKING:
    import torch


def nextgpt(checkpoints: Sequence[Path], llm: str, out: Path, preset: Path | None) -> None:
    """Convert NExT-GPT's weights, then ask the converted model for known answers.

    Raises:
        CommandError: the folder was written, and an answer is wrong.
    """
    be_quiet()
    from anygpt.conversion.nextgpt import convert_nextgpt

    published = convert_nextgpt(checkpoints, llm, out, preset, _say)
    print(f"{len(published.weights)} tensors of NExT-GPT's {published.tree.name} tree are in {out}")
    for name in published.left_over:
        print(f"left over: {name}")
    from anygpt.conversion.answers import findings
    from anygpt.model import AnyGPT

    _say("asking it what is known")
    model = AnyGPT.from_pretrained(out, dtype=_dtype(out))
    wrong = 0
    for finding in findings(model, published):
        wrong += finding.problem is not None
        print(f"{'WRONG' if finding.problem else 'ok':5}  {finding.what}" + _after(finding.problem))
    if wrong:
        raise CommandError(f"{out} was written, and {wrong} of its known answers are wrong, see above")


def imagebind(path: Path, out: Path, even: bool) -> None:
    """Convert the published ImageBind."""
    be_quiet()
    from anygpt.conversion.imagebind import convert_imagebind

    _say("reading and writing the weights")
    convert_imagebind(path, out, "even" if even else "ends")
    print(f"ImageBind is in {out}")


def transformers(source: str, out: Path) -> None:
    """Convert LLaVA 1.5 or BLIP-2."""
    be_quiet()
    from anygpt.conversion.vision_language import convert_vision_language

    _say("reading and writing the parts")
    config = convert_vision_language(source, out)
    print(f"{source} is in {out}; its adapter is of the kind {config.inputs['image'].adapter.kind!r}")


def _say(step: str) -> None:
    print(f"{step} …", file=sys.stderr, flush=True)


def _after(problem: str | None) -> str:
    return f": {problem}" if problem else ""


def _dtype(folder: Path) -> torch.dtype:
    """The precision of the language model's files: a second copy in float32 would need twice the memory."""
    import json

    import torch

    values = json.loads((folder / "llm" / "config.json").read_text(encoding="utf-8"))
    return getattr(torch, values.get("dtype") or "float32")
