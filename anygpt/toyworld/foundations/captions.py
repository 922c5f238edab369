"""Captions as the decoders' and ImageBind's text encoders read them: tokenizers in CLIP's and RoBERTa's formats."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.random import Generator
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer, RobertaTokenizer

from anygpt.toyworld.phrases import (
    caption_film,
    caption_picture,
    caption_sound,
    describe_sound,
    say_scene,
    say_sound,
)
from anygpt.toyworld.scenes import Scene, random_scene
from anygpt.toyworld.sounds import Tone, random_tone

CONTEXT = 28  # tokens of a caption, with its start and end
VOCABULARY = 640
EVERYTHING = frozenset({"shape", "colour", "size", "place", "motion", "background"})


def picture_caption(rng: Generator, scene: Scene) -> tuple[str, frozenset[str]]:
    """A caption and what it names: mostly the canonical one, which names all; else a paraphrase, at times a partial one."""
    return _caption(rng, scene, film=False)


def film_caption(rng: Generator, scene: Scene) -> tuple[str, frozenset[str]]:
    return _caption(rng, scene, film=True)


def _caption(rng: Generator, scene: Scene, film: bool) -> tuple[str, frozenset[str]]:
    if rng.random() < 0.6:
        return (caption_film if film else caption_picture)(scene), EVERYTHING
    said = EVERYTHING
    if rng.random() < 0.5:
        said = frozenset(name for name in sorted(EVERYTHING) if rng.random() < 0.7) | {"shape"}
    caption = say_scene(rng, scene, said, film)
    # Two things are told by shape, colour and relation; their places stay open.
    return caption, said if len(scene.things) == 1 else frozenset({"background"} & said)


def sound_caption(rng: Generator, tone: Tone) -> str:
    form = rng.random()
    if form < 0.6:
        return caption_sound(tone)
    return describe_sound(tone) if form < 0.8 else say_sound(rng, tone, EVERYTHING)


def _corpus(count: int) -> list[str]:
    rng = np.random.default_rng(3)
    lines = []
    for _ in range(count):
        lines.append(picture_caption(rng, random_scene(rng, two_things=0.3))[0])
        lines.append(film_caption(rng, random_scene(rng, moving=True))[0])
        lines.append(sound_caption(rng, random_tone(rng)))
    return lines


def build_clip_tokenizer() -> CLIPTokenizer:
    """CLIP's kind of byte-pair encoding, learned on captions; the end token is the last id, as CLIP's models expect."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    words = pre_tokenizers.Split(Regex(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(4000), trainer)
    vocabulary, merges = _vocabulary(tokenizer)
    for token in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[token] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT)


def build_roberta_tokenizer() -> RobertaTokenizer:
    """RoBERTa's kind, for the CLAP text encoder of AudioLDM."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(4000), trainer)
    vocabulary, merges = _vocabulary(tokenizer)
    return RobertaTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT)


def _vocabulary(tokenizer: Tokenizer) -> tuple[dict[str, int], Any]:
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]
