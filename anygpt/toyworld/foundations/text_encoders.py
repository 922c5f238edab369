"""The decoders' text encoders: CLIP's for pictures and films, CLAP's for sounds.

Each learns to tell from a caption what the scene or sound holds (attribute heads on its pooled output), and is
frozen before its UNet is trained: the UNet then meets the same embeddings from its first step on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import (
    ClapTextConfig,
    ClapTextModelWithProjection,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    RobertaTokenizer,
)

from anygpt.toyworld.foundations.attributes import (
    STILL_PICTURE,
    AttributeHeads,
    collate,
    scene_targets,
    tone_targets,
)
from anygpt.toyworld.foundations.captions import (
    CONTEXT,
    build_clip_tokenizer,
    build_roberta_tokenizer,
    film_caption,
    picture_caption,
    sound_caption,
)
from anygpt.toyworld.foundations.fitting import fit
from anygpt.toyworld.scenes import random_scene
from anygpt.toyworld.sounds import random_tone

TEXT_DIM = 128
SOUND_DIM = 64


def tokenize(tokenizer: CLIPTokenizer | RobertaTokenizer, captions: list[str]) -> dict[str, torch.Tensor]:
    return dict(
        tokenizer(captions, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
    )


def train_clip(work_dir: Path, steps: int = 700, size: int = 96) -> tuple[CLIPTextModel, CLIPTokenizer]:
    torch.manual_seed(0)
    tokenizer = build_clip_tokenizer()
    end = tokenizer.eos_token_id
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_DIM,
        intermediate_size=4 * TEXT_DIM,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        projection_dim=TEXT_DIM,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end,
        pad_token_id=end,
    )
    model = CLIPTextModel(config)
    names = (*STILL_PICTURE, "motion")
    training = nn.ModuleDict({"model": model, "heads": AttributeHeads(TEXT_DIM, names)})

    def make_batch(step: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        rng = np.random.default_rng([6, step])
        captions, targets = [], []
        for index in range(size):
            film = index % 2 == 1
            scene = random_scene(rng, two_things=0 if film else 0.4, moving=film)
            caption, said = (film_caption if film else picture_caption)(rng, scene)
            captions.append(caption)
            targets.append(scene_targets(scene, names, said if film else said - {"motion"}))
        return tokenize(tokenizer, captions)["input_ids"], collate(targets)

    def loss_of(batch: tuple[torch.Tensor, dict[str, torch.Tensor]], step: int) -> torch.Tensor:
        loss, right = training["heads"](model(input_ids=batch[0]).pooler_output, batch[1])
        if step % 100 == 99:
            print({name: round(share, 2) for name, share in right.items()}, flush=True)
        return loss

    fit(
        "clip-text",
        training,
        loss_of,
        make_batch,
        steps=steps,
        learning_rate=2e-3,
        work_dir=work_dir,
        ema_decay=0.99,
    )
    return model.requires_grad_(False), tokenizer


def train_clap(
    work_dir: Path, steps: int = 400, size: int = 96
) -> tuple[ClapTextModelWithProjection, RobertaTokenizer]:
    torch.manual_seed(0)
    tokenizer = build_roberta_tokenizer()
    config = ClapTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=3,
        max_position_embeddings=CONTEXT + 2,
        projection_dim=SOUND_DIM,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = ClapTextModelWithProjection(config)
    training = nn.ModuleDict(
        {"model": model, "heads": AttributeHeads(SOUND_DIM, ("shape", "pitch", "contour"))}
    )

    def make_batch(step: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        rng = np.random.default_rng([7, step])
        tones = [random_tone(rng) for _ in range(size)]
        return tokenize(tokenizer, [sound_caption(rng, tone) for tone in tones]), collate(
            [tone_targets(tone) for tone in tones]
        )

    def loss_of(batch: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]], step: int) -> torch.Tensor:
        embeddings = nn.functional.normalize(model(**batch[0]).text_embeds, dim=-1)  # as AudioLDM takes them
        loss, right = training["heads"](embeddings * SOUND_DIM**0.5, batch[1])
        if step % 100 == 99:
            print({name: round(share, 2) for name, share in right.items()}, flush=True)
        return loss

    fit(
        "clap-text",
        training,
        loss_of,
        make_batch,
        steps=steps,
        learning_rate=2e-3,
        work_dir=work_dir,
        ema_decay=0.99,
    )
    return model.requires_grad_(False), tokenizer
