"""What the process before the replicas has of the model: all that reads, and nothing that thinks or makes media."""

from __future__ import annotations

from pathlib import Path

import torch

from anygpt.checkpoint import find_part, load_trained, read_config
from anygpt.familiarity import Familiarity
from anygpt.frozen import load_llm
from anygpt.model import AnyGPT


def load_front(folder: Path) -> AnyGPT:
    """The model of a checkpoint with its LLM on the meta device: shapes without weights, however large it is.

    Tokenizer, encoders and adapters are those of the whole model. A preset is taken whole, as nobody has written its sizes down;
    and so is an LLM with eyes of its own, which read.
    """
    config = read_config(folder)
    if folder.is_file() or config.adapted.keys() != config.inputs.keys():
        return AnyGPT.from_pretrained(folder)
    llm, tokenizer = load_llm(find_part(config.llm, folder), torch.float32, outline=True)
    with torch.device("meta"):
        model = AnyGPT(config, llm, tokenizer, folder)
    for name, part in model.named_children():
        if name != "llm":
            part.to_empty(device="cpu")
    load_trained(model, folder)
    model.familiarity = Familiarity.load(folder)
    return model
