"""What NExT-GPT's two source trees write, and the names it has here.

legacy    the published weights: one pytorch_model.pt, of any of its three stages
current   LLaVA's way: mm_input_projector.bin, mm_output_projector.bin, a PEFT folder with non_lora_trainables.bin

Names here: `adapter.*`, `projections.<modality>.*` (the keys of `anygpt.projections`), `embedding`, `head` (the LLM's whole
input and output rows) and `lora.*` (the keys of a PEFT folder).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anygpt.conversion.files import ConversionError, compare, listed, load_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from anygpt.config import AnyGPTConfig

BASE_ROWS = 32_000  # LLaMA's vocabulary
MODALITIES = ("image", "video", "audio")  # in the order of their signal ids
LORA = "lora.base_model.model."


@dataclass(frozen=True)
class Tree:
    """One of the source trees.

    Attributes:
        added: tokens that it adds to LLaMA's vocabulary before the signal tokens.
        names: (beginning of a name there, of the name here), the first that fits; stage 1 and 2 before stage 3.
        inner: the same for the names within a projector.
    """

    name: str
    added: tuple[str, ...]
    names: tuple[tuple[str, str], ...]
    inner: tuple[tuple[str, str], ...] = ()

    def here(self, name: str) -> str | None:
        """The name here of a tensor there; None for one that is nothing the tree writes."""
        for there, ours in self.names:
            if name.startswith(there):
                rest = name[len(there) :]
                if ours.startswith("projections."):
                    for old, new in self.inner:
                        rest = new + rest[len(old) :] if rest.startswith(old) else rest
                # A live PEFT model names its adapter, a PEFT folder does not.
                return ours + (rest.replace(".default.", ".") if ours == LORA else rest)
        return None

    def there(self, name: str, lora: bool) -> str:
        """The name there of a tensor that is missing here."""
        for there, ours in reversed(self.names) if lora else self.names:
            if name.startswith(ours):
                rest = name[len(ours) :]
                if ours.startswith("projections."):
                    for old, new in self.inner:
                        rest = old + rest[len(new) :] if rest.startswith(new) else rest
                if ours == LORA and self is LEGACY:
                    rest = rest.replace(".weight", ".default.weight")
                return there + rest
        raise AssertionError(f"{name} is no name of this module's")


LEGACY = Tree(
    "legacy",
    ("<Img>", "</Img>"),
    (
        ("llama_proj.", "adapter."),
        ("gen_text_hidden_fcs.0.", "projections.image."),
        ("gen_text_hidden_fcs_video.0.", "projections.video."),
        ("gen_text_hidden_fcs_audio.0.", "projections.audio."),
        ("llama_model.model.embed_tokens.weight", "embedding"),
        ("llama_model.lm_head.weight", "head"),
        ("llama_model.base_model.model.model.embed_tokens.weight", "embedding"),
        ("llama_model.base_model.model.lm_head.weight", "head"),
        ("llama_model.base_model.model.", LORA),
    ),
)
CURRENT = Tree(
    "current",
    (),
    (
        ("model.mm_input_projector.layer.", "adapter."),
        ("model.mm_input_projector.", "adapter."),
        ("model.mm_output_img_projector.", "projections.image."),
        ("model.mm_output_vid_projector.", "projections.video."),
        ("model.mm_output_aud_projector.", "projections.audio."),
        ("model.embed_tokens.weight", "embedding"),
        ("lm_head.weight", "head"),
        ("base_model.model.", LORA),
    ),
    (("in_fc.", "fc."), ("out_fc.", "model.")),
)
FILES = {
    "pytorch_model.pt": LEGACY,
    "mm_input_projector.bin": CURRENT,
    "mm_output_projector.bin": CURRENT,
    "non_lora_trainables.bin": CURRENT,
    "adapter_model.safetensors": CURRENT,
    "adapter_model.bin": CURRENT,
}
TOWER = "model.multimodal_tower."  # the frozen encoder, which some of the current tree's files carry along


@dataclass
class Published:
    """What was read.

    Attributes:
        weights: the tensors, by their names here.
        lora: r, lora_alpha, lora_dropout and target_modules of its LoRA, where it has one.
        left_over: names, as in the files, of tensors that are not wanted here.
        source: the files, for messages.
    """

    tree: Tree
    weights: dict[str, Tensor] = field(default_factory=dict)
    lora: dict[str, Any] = field(default_factory=dict)
    left_over: list[str] = field(default_factory=list)
    source: str = ""

    def under(self, start: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `start`, without it."""
        return {name[len(start) :]: value for name, value in self.weights.items() if name.startswith(start)}


def read(checkpoints: Sequence[Path]) -> Published:
    """Read files, or the known files in folders. What several hold, the last one's is.

    Raises:
        ConversionError: no such files, of both trees at once, or a tensor that neither tree writes.
    """
    files = [file for path in checkpoints for file in _files(path)]
    trees = {_tree(file).name: _tree(file) for file in files}
    if len(trees) > 1:
        raise ConversionError("these are files of NExT-GPT's legacy and of its current tree; give one tree's")
    (tree,) = trees.values()
    published = Published(tree, source=", ".join(str(file) for file in files))
    wrapped = False
    for file in files:
        for name, value in load_tensors(file).items():
            inner = name
            if tree is CURRENT and file.name == "non_lora_trainables.bin":
                inner = name.removeprefix("base_model.model.")
            wrapped = wrapped or name.startswith("llama_model.base_model.")
            if inner.startswith(TOWER):
                published.left_over.append(name)
            elif (ours := tree.here(inner)) is None:
                raise ConversionError(
                    f"{file} has {name}, which NExT-GPT's {tree.name} tree does not write; nothing was converted"
                )
            else:
                published.weights[ours] = value
    _read_lora(published, files, wrapped)
    return published


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = [path / name for name in FILES if (path / name).is_file()]
    if not found:
        raise ConversionError(f"{path} is no file, nor a folder with one of {', '.join(FILES)}")
    return found


def _tree(file: Path) -> Tree:
    return FILES.get(file.name, LEGACY if file.suffix in (".pt", ".pth") else CURRENT)


def _read_lora(published: Published, files: Sequence[Path], wrapped: bool) -> None:
    """Fill in the LoRA's settings.

    Raises:
        ConversionError: it should be there and is not, or was never trained.
    """
    matrices = published.under("lora.")
    settings = next(
        (f.with_name("adapter_config.json") for f in files if f.name.startswith("adapter_")), None
    )
    if not matrices:
        if wrapped or settings is not None:
            raise ConversionError(
                f"the LLM in {published.source} was wrapped for LoRA, and no LoRA matrices (lora_A, lora_B) are in it: "
                "without them it would answer as if it had not been tuned; take a checkpoint that has them"
            )
        return
    idle = [name for name, value in matrices.items() if ".lora_B." in name and not value.any()]
    if idle:
        raise ConversionError(
            f"the LoRA in {published.source} does nothing: {listed(idle)} are zero, as before training"
        )
    if published.tree is LEGACY:  # configured in its code
        targets = sorted({name.split(".")[-3] for name in matrices if ".lora_" in name})
        rank = max((value.shape[0] for name, value in matrices.items() if ".lora_A." in name), default=0)
        published.lora = {"r": rank, "lora_alpha": rank, "lora_dropout": 0.1, "target_modules": targets}
        return
    if settings is None or not settings.is_file():
        raise ConversionError(f"{settings or published.source} is missing: it has the LoRA's scale")
    values = json.loads(settings.read_text(encoding="utf-8"))
    try:
        published.lora = {key: values[key] for key in ("r", "lora_alpha", "lora_dropout", "target_modules")}
    except KeyError as error:
        raise ConversionError(f"{settings} lacks {error.args[0]}") from None


def check(published: Published, plan: AnyGPTConfig, llm: Any) -> None:
    """Make sure that the tensors are those that `plan` asks for, all of them and no other.

    Args:
        plan: sizes of adapters, projections and runs of signal tokens.
        llm: the base; only its shapes are looked at.

    Raises:
        ConversionError: naming what is wrong, in the file's own names.
    """
    tree, found = published.tree, {name: tuple(value.shape) for name, value in published.weights.items()}
    _check_projectors(published, plan)
    wanted = wanted_shapes(published, plan, llm)
    for name, rows in (("embedding", "embed_tokens"), ("head", "lm_head")):
        if name in found and name in wanted and found[name] != wanted[name]:
            added = wanted[name][0] - BASE_ROWS
            raise ConversionError(
                f"{rows} in {published.source} is {found[name]}; LLaMA's {BASE_ROWS:,} tokens and {added} added ones make "
                f"{wanted[name]}: this checkpoint was made on another base, and its ids would mean other tokens"
            )
    lora = bool(published.lora)

    def there(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        return {tree.there(name, lora): shape for name, shape in shapes.items()}

    compare(published.source, there(found), there(wanted), f"NExT-GPT's {tree.name} tree")


def wanted_shapes(published: Published, plan: AnyGPTConfig, llm: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors that a complete checkpoint of this kind holds, by their names here."""
    import torch

    from anygpt.projections import build_projection

    hidden = llm.get_input_embeddings().weight.shape[1]
    signals = sum(plan.outputs[m].signal_tokens for m in MODALITIES)
    rows = BASE_ROWS + len(published.tree.added) + signals
    wanted: dict[str, tuple[int, ...]] = {"embedding": (rows, hidden), "head": (rows, hidden)}
    legacy = published.tree is LEGACY
    if legacy or (published.under("adapter.")):
        dim = plan.inputs["image"].dim or 0
        if "adapter.0.weight" in published.weights:
            wanted |= {"adapter.0.weight": (hidden, dim), "adapter.0.bias": (hidden,)}
            wanted |= {"adapter.2.weight": (hidden, hidden), "adapter.2.bias": (hidden,)}
        else:
            wanted |= {"adapter.weight": (hidden, dim), "adapter.bias": (hidden,)}
    if legacy or published.under("projections."):
        for modality in MODALITIES:
            entry = plan.outputs[modality]
            with torch.device("meta"):
                projection = build_projection(entry.projection, hidden, entry.conditioning or (0, 0))
            for name, value in projection.state_dict().items():
                wanted[f"projections.{modality}.{name}"] = tuple(value.shape)
    if published.lora:
        rank = published.lora["r"]
        targets = set(published.lora["target_modules"])
        for name, module in llm.named_modules():
            # the head is never among them, whatever the settings say
            if name.split(".")[-1] in targets and re.search(r"\.layers\.\d+\.", name):
                out, into = module.weight.shape
                wanted[f"{LORA}{name}.lora_A.weight"] = (rank, into)
                wanted[f"{LORA}{name}.lora_B.weight"] = (out, rank)
    return wanted


def _check_projectors(published: Published, plan: AnyGPTConfig) -> None:
    """Raises ConversionError for projectors of another kind, and for those that have changed places."""
    if "adapter.in_fc.weight" in published.weights:
        raise ConversionError(
            f"the input projector in {published.source} is of the kind 'group' (GroupViT's blocks), which this project "
            "does not have; linear and mlp ones can be converted"
        )
    makes = {m: plan.outputs[m].conditioning for m in MODALITIES}
    for modality in MODALITIES:
        weights = published.under(f"projections.{modality}.")
        if "query_embs" not in weights or "model.weight" not in weights:
            continue  # `compare` says what is missing
        made = (weights["query_embs"].shape[1], weights["model.weight"].shape[0])
        if made == makes[modality]:
            continue
        other = next((m for m in MODALITIES if makes[m] == made), None)
        where = published.tree.there(f"projections.{modality}.", bool(published.lora)) + "*"
        if other is not None:
            raise ConversionError(
                f"{where} in {published.source} makes {made}, which is the {other} decoder's conditioning and not the "
                f"{modality} decoder's {makes[modality]}: have the projectors changed places?"
            )
        raise ConversionError(
            f"{where} in {published.source} makes {made}, and the {modality} decoder takes {makes[modality]}: another "
            "decoder was meant; give --preset with that one"
        )
