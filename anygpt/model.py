"""The model, from left to right: encode, adapt, think, project, decode."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygpt import checkpoint
from anygpt.adapters import Adapter
from anygpt.attention import block_ids, check_maskable, media_mask
from anygpt.checkpoint import find_checkpoint, find_part, read_config
from anygpt.config import AnyGPTConfig, ConfigError
from anygpt.cross_attention import CrossAttention
from anygpt.familiarity import Familiarity
from anygpt.frozen import fingerprint, load_llm
from anygpt.packing import check_packable, first_media, pack
from anygpt.processor import IGNORE, MEDIUM, Medium, Processor, Prompt, Target
from anygpt.projections import build_projection
from anygpt.signals import Signals

if TYPE_CHECKING:
    from anygpt.generation import Event, Reply, Session
    from decoders.diffusion import Decoder
    from encoders.encoder import Encoder


@dataclass
class SignalStates:
    """What the LLM thought at one modality's signal tokens, for N targets of T signal tokens each.

    Attributes:
        hidden: (N, T, hidden), the last layer's states where the input is the signal token.
        embeddings: (N, T, hidden), the signal tokens' input embeddings.
        targets: the N targets, with caption and medium.
    """

    hidden: Tensor
    embeddings: Tensor
    targets: list[Target]


@dataclass
class Output:
    """A training step's forward pass over prompts in B rows, padded on the right to L slots.

    Attributes:
        loss: mean cross-entropy of the labelled tokens.
        logits: (B, L, LLM's vocabulary + signal tokens).
        hidden: (B, L, hidden), the last layer's states.
        labels: (B, L), the token at each slot where it counts, -100 elsewhere (not shifted).
        signals: for each output modality that the prompts have targets of.
    """

    loss: Tensor
    logits: Tensor
    hidden: Tensor
    labels: Tensor
    signals: dict[str, SignalStates]


class AnyGPT(nn.Module):
    """A frozen LLM with trained ways in (adapters) and out (signal tokens, projections).

    Encoders and decoders are loaded when they are first needed: a chat in text alone never imports diffusers.

    Args:
        config: what the model is made of.
        llm: the language model; it is frozen here.
        tokenizer: the LLM's.
        root: the checkpoint's folder, beside which frozen parts may lie.
    """

    def __init__(self, config: AnyGPTConfig, llm: Any, tokenizer: Any, root: Path | None = None) -> None:
        super().__init__()
        self.root = root
        self.tokenizer = tokenizer
        self._encoders: dict[str, Encoder] = {}
        self._decoders: dict[str, Decoder] = {}
        self.llm: Any = llm.requires_grad_(False).eval()  # or a PeftModel around it
        self.llm_trains = False
        self.config = config
        self.config = self._with_sizes(config)
        rows = llm.get_input_embeddings().weight
        head = llm.get_output_embeddings().weight
        if len(rows) != len(head):
            raise ConfigError(
                f"this LLM reads {len(rows)} tokens and writes {len(head)}; they must be as many"
            )
        if config.media_attention == "bidirectional":
            check_maskable(llm.config)
        hidden = rows.shape[1]
        self.adapters = nn.ModuleDict(
            {m: Adapter(entry.adapter, entry.dim or 0, hidden) for m, entry in self.config.inputs.items()}
        )
        self.cross_attention: CrossAttention | None = None
        if config.cross_attention is not None:
            self.cross_attention = CrossAttention(config.cross_attention, llm, hidden)
            self.cross_attention.start_from(rows)
        if (gap := config.signals.gap) is not None and not 0 <= gap < len(rows):
            raise ConfigError(f"signals.gap must be a token of the LLM's {len(rows)}, not {gap}")
        self.signals = Signals(
            len(rows), hidden, {m: entry.signal_tokens for m, entry in config.outputs.items()}, gap
        )
        self.signals.start_from(rows, head)
        for modality, entry in self.config.outputs.items():
            if entry.signal_words is not None:
                words = tokenizer(entry.signal_words, add_special_tokens=False)["input_ids"]
                if len(words) != entry.signal_tokens:
                    raise ConfigError(
                        f"outputs.{modality}.signal_words is {len(words)} tokens for this LLM and must be as many as "
                        f"signal_tokens, {entry.signal_tokens}: {entry.signal_words!r}"
                    )
                self.signals.start_as(modality, rows[words])
        self.projections = nn.ModuleDict(
            {
                m: build_projection(entry.projection, hidden, entry.conditioning or (0, 0))
                for m, entry in self.config.outputs.items()
            }
        )
        self.familiarity: Familiarity | None = None
        self.stops = self._stop_tokens()
        self.stop_strings = self._stop_strings()
        self.processor = Processor(
            tokenizer,
            self.config,
            {modality: self.signals.run(modality) for modality in self.signals.ids},
            self.stops,
            self.encoder,
            self.stop_strings,
        )
        self.eval()

    # ── loading and saving ────────────────────────────────────────────────────────────────────────

    @classmethod
    def from_config(
        cls,
        config: AnyGPTConfig,
        root: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """A model with fresh adapters, signal tokens and projections on the frozen parts that `config` names.

        Args:
            root: the folder that relative names in the config start from.
            dtype: of all parameters in memory, whatever the files hold; encoders stay float32.
        """
        folder = Path(root).resolve() if root is not None else None
        llm, tokenizer = load_llm(find_part(config.llm, folder), dtype)
        return cls(config, llm, tokenizer, folder).to(device, dtype)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Load a checkpoint: a packaged name (`anygpt-tiny`), a folder, or a hub id.

        A preset, by its packaged name or its YAML file, is taken without the parts that only training makes of use: it
        reads text, and makes media through captions.

        Raises:
            ConfigError: no such checkpoint, or one whose files do not fit each other.
        """
        root = find_checkpoint(name)
        config = read_config(root)
        if root.is_file():
            return cls.from_config(config, root.parent, device=device, dtype=dtype)
        model = cls.from_config(config, root, device=device, dtype=dtype)
        checkpoint.load_trained(model, root)
        model.familiarity = Familiarity.load(root)
        if config.lora:
            from peft import PeftModel

            model.llm = PeftModel.from_pretrained(model.llm, str(root / config.lora.path), is_trainable=True)
        return model.to(device, dtype).eval()

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None, frozen: bool = False
    ) -> None:
        """Write config.json, model.safetensors (trained modules alone) and the LoRA folder.

        Args:
            dtype: of the trained weights in the file; None keeps them as they are in memory.
            frozen: also copy the frozen parts that lie in local folders, so that the checkpoint is whole by
                itself; otherwise the config names them, local ones by a path relative to `folder`.
        """
        checkpoint.save(self, Path(folder), dtype, frozen)

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> str:
        """Upload the checkpoint, whole (see `save_pretrained(frozen=True)`), and return its address."""
        return checkpoint.push(self, repo_id, private)

    # ── encode ────────────────────────────────────────────────────────────────────────────────────

    def encoder(self, modality: str) -> Encoder:
        """The frozen encoder of an input modality, loaded at the first call."""
        entry = self.config.inputs[modality]
        if entry.encoder not in self._encoders:
            from encoders import load_encoder

            with torch.device("cpu"):  # an outline on the meta device may have to ask it for its width
                encoder = load_encoder(find_part(entry.encoder, self.root))
            self._encoders[entry.encoder] = encoder.requires_grad_(False).eval()
        encoder = self._encoders[entry.encoder]
        if modality not in encoder.modalities:
            raise ConfigError(
                f"the encoder {entry.encoder!r} has no {modality}, only {', '.join(encoder.modalities)}"
            )
        if entry.dim not in (None, encoder.dim(modality)):
            raise ConfigError(
                f"the encoder {entry.encoder!r} gives {modality} features of width {encoder.dim(modality)}, "
                f"and the adapter was made for {entry.dim}"
            )
        # `to` walks every module, which at each medium would cost more than the encoding.
        at_home = next(encoder.parameters()).device == self.device
        return encoder if at_home else encoder.to(self.device)

    @torch.no_grad()
    def encode(self, media: Sequence[Medium]) -> None:
        """Give every medium its features (tokens, dim), those of one modality and shape in one batch."""
        waiting = [medium for medium in media if medium.features is None]
        for modality, items in _alike([(m, m.tensor) for m in waiting]):
            encoder = self.encoder(modality)
            run = encoder.pooled if self.config.inputs[modality].features == "pooled" else encoder.features
            features = run(modality, torch.stack([item.tensor for item in items]).to(self.device))
            for item, value in zip(items, features, strict=True):
                item.features = value

    @torch.no_grad()
    def knows(self, medium: Medium) -> bool:
        """Whether a medium is of the world that the model was trained on, as far as it can tell."""
        if self.familiarity is None:
            return True
        modality = medium.modality
        return self.familiarity.knows(self.encoder(modality), modality, medium.tensor.to(self.device))

    # ── adapt ──────────────────────────────────────────────────────────────────────────────────────

    def adapt(self, media: Sequence[Medium]) -> list[Tensor]:
        """Media → their LLM embeddings, each (slots, hidden); encodes what has no features yet."""
        self.encode(media)
        featured = [(m, m.features) for m in media if m.features is not None]
        adapted: dict[int, Tensor] = {}
        for modality, items in _alike(featured):
            batch = torch.stack([item.features for item in items if item.features is not None])
            embeddings = self.adapters[modality](batch.to(self.device, self.dtype))
            adapted |= {id(item): value for item, value in zip(items, embeddings, strict=True)}
        return [adapted[id(medium)] for medium in media]

    # ── think ──────────────────────────────────────────────────────────────────────────────────────

    def embed(self, ids: Sequence[int], media: Sequence[Tensor] = ()) -> list[Tensor]:
        """A prompt's ids → each one's embeddings (slots, hidden): one slot a token, `media` where they go.

        With cross-attention a medium goes nowhere, and the tag stands for it.
        """
        tokens = torch.tensor([max(i, 0) for i in ids], device=self.device)
        signal = tokens >= self.signals.base
        rows = self.llm.get_input_embeddings()(tokens.masked_fill(signal, 0))
        if signal.any():
            rows = torch.where(signal[:, None], self.signals.embed(tokens.clamp(min=self.signals.base)), rows)
        waiting = iter(media)
        if self.cross_attention is not None:
            waiting = itertools.repeat(self.cross_attention.tag[None])
        return [
            next(waiting) if token == MEDIUM else row for token, row in zip(ids, rows.split(1), strict=True)
        ]

    def think(
        self,
        embeddings: Tensor,
        mask: Tensor | None,
        blocks: Tensor | None = None,
        media: Sequence[Sequence[Tensor]] = (),
        **options: Any,
    ) -> tuple[Tensor, Tensor]:
        """Run the LLM.

        Args:
            embeddings: (B, L, hidden).
            mask: (B, slots in the cache + L), 0 at padding. None for packed rows without a cache: wherever
                `position_ids` do not go on by one, another conversation begins, which sees nothing of the one before.
            blocks: (B, slots in the cache + L), the number of the medium that a slot belongs to, counted from 0 in
                each row, and -1 for text; None where there are no media.
            media: each row's media as `adapt` gives them, those in the cache too; only cross-attention looks
                at them.
            options: `position_ids`, `cache`, `use_cache`, as transformers takes them.

        Returns:
            Logits (B, L, LLM's vocabulary + signal tokens) and the last layer's states (B, L, hidden).
        """
        attention: Any = mask
        positions = options.get("position_ids")
        if blocks is None:
            blocks = torch.full(embeddings.shape[:2], -1, device=embeddings.device)
            if mask is not None:
                blocks = torch.full_like(mask, -1)
        looking: AbstractContextManager[None] = nullcontext()
        if self.cross_attention is not None:
            media = media or [[]] * len(embeddings)
            first = first_media(blocks, positions) if mask is None and positions is not None else None
            looking = self.cross_attention.looking(media, blocks, embeddings.shape[1], first)
        elif self.config.media_attention == "bidirectional":
            cache = options.get("cache")
            attention = media_mask(self.llm.config, embeddings, mask, blocks, cache, positions)
        with looking:
            output = self.llm(
                inputs_embeds=embeddings, attention_mask=attention, output_hidden_states=True, **options
            )
        hidden = output.hidden_states[-1]
        return torch.cat([output.logits, self.signals.logits(hidden)], -1), hidden

    def forward(self, prompts: Sequence[Prompt], *, packing: bool = False) -> Output:
        """A training step's forward pass over prompts that `processor(…, training=True)` made.

        Args:
            packing: several short prompts in a row, none of which sees another, instead of a row padded for each. The
                loss is the same but for rounding.

        Raises:
            ConfigError: `packing` with an LLM that is not attention alone.
        """
        adapted = iter(self.adapt([medium for prompt in prompts for medium in prompt.media]))
        media = [list(itertools.islice(adapted, len(prompt.media))) for prompt in prompts]
        slots = [self.embed(prompt.ids, own) for prompt, own in zip(prompts, media, strict=True)]
        sizes = [[len(slot) for slot in row] for row in slots]
        lengths = [sum(row) for row in sizes]
        if packing:
            check_packable(self.llm.config)
        rows = pack(lengths) if packing else [[index] for index in range(len(prompts))]
        labels = [_labels(prompt, row, self.device) for prompt, row in zip(prompts, sizes, strict=True)]

        def laid_out(values: Sequence[Tensor], padding: int = 0) -> Tensor:
            joined = [torch.cat([values[index] for index in row]) for row in rows]
            return nn.utils.rnn.pad_sequence(joined, batch_first=True, padding_value=padding)

        embeddings = laid_out([torch.cat(own) for own in slots])
        target = laid_out(labels, IGNORE)
        positions = laid_out([torch.arange(length, device=self.device) for length in lengths])
        blocks = nn.utils.rnn.pad_sequence(
            [
                block_ids(
                    [size for index in row for size in sizes[index]],
                    [token == MEDIUM for index in row for token in prompts[index].ids],
                )
                for row in rows
            ],
            batch_first=True,
            padding_value=-1,
        ).to(self.device)
        seen = [[medium for index in row for medium in media[index]] for row in rows]
        if packing:
            logits, hidden = self.think(
                embeddings, None, blocks, seen, position_ids=positions, use_cache=False
            )
        else:
            mask = laid_out([torch.ones(length, dtype=torch.long, device=self.device) for length in lengths])
            logits, hidden = self.think(embeddings, mask, blocks, seen, use_cache=False)
        loss = F.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(),
            target[:, 1:].flatten(),
            ignore_index=IGNORE,
            reduction="sum",
        ) / (target[:, 1:] != IGNORE).sum().clamp(min=1)
        places = {
            index: (number, start)
            for number, row in enumerate(rows)
            for index, start in zip(row, itertools.accumulate((lengths[i] for i in row), initial=0))
        }
        states = self._signal_states(prompts, sizes, hidden, places)
        return Output(loss, logits, hidden, target, states)

    def _signal_states(
        self,
        prompts: Sequence[Prompt],
        sizes: Sequence[list[int]],
        hidden: Tensor,
        places: dict[int, tuple[int, int]],
    ) -> dict[str, SignalStates]:
        """`places`: each prompt's row of `hidden`, and where it begins there."""
        found: dict[str, list[tuple[int, int, Target]]] = {}
        for index, (prompt, own) in enumerate(zip(prompts, sizes, strict=True)):
            row, begin = places[index]
            starts = list(itertools.accumulate(own, initial=begin))
            for target in prompt.targets:
                found.setdefault(target.modality, []).append((row, starts[target.start], target))
        states = {}
        for modality, entries in found.items():
            run = self.signals.run(modality)
            thought = torch.stack([hidden[row, start : start + len(run)] for row, start, _ in entries])
            embeddings = self.signal_embeddings(modality).expand(len(entries), -1, -1)
            states[modality] = SignalStates(thought, embeddings, [target for *_, target in entries])
        return states

    def signal_embeddings(self, modality: str) -> Tensor:
        """The input embeddings (T, hidden) of a modality's run of signal tokens."""
        return torch.cat(self.embed(self.signals.run(modality)))

    # ── project ───────────────────────────────────────────────────────────────────────────────────

    def project(self, modality: str, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """A run's states and input embeddings, both (N, T, hidden) → conditioning (N, tokens, dim)."""
        return self.projections[modality](hidden, embeddings)

    # ── decode ────────────────────────────────────────────────────────────────────────────────────

    def decoder(self, modality: str) -> Decoder:
        """The frozen decoder of an output modality, loaded at the first call."""
        entry = self.config.outputs[modality]
        if modality not in self._decoders:
            from decoders.diffusion import Decoder

            with torch.device("cpu"):
                decoder = Decoder.from_pretrained(
                    find_part(entry.decoder, self.root), modality=modality, dtype=self.dtype
                )
            if entry.conditioning not in (None, tuple(decoder.conditioning_shape)):
                raise ConfigError(
                    f"the decoder {entry.decoder!r} takes conditioning {tuple(decoder.conditioning_shape)}, "
                    f"and the projection was made for {entry.conditioning}"
                )
            decoder.defaults.update(entry.generation)
            self._decoders[modality] = decoder
        return self._decoders[modality].to(self.device)

    @torch.no_grad()
    def decode(
        self,
        modality: str,
        conditioning: Tensor,
        seeds: list[int],
        callback: Callable[[int, int], None] | None = None,
        **settings: Any,
    ) -> list[Any]:
        """Conditioning (N, tokens, dim) → N media as `encoders.media` has them (a picture is a PIL image).

        Args:
            seeds: one for each medium; equal seeds give equal media.
            callback: called with (step, steps) as the decoder goes.
            settings: the decoder's, e.g. `num_inference_steps`, in place of the config's `generation`.
        """
        from encoders.media import Audio, Video

        decoder = self.decoder(modality)
        media = decoder(conditioning, seeds=seeds, callback=callback, **settings)
        if modality == "audio":
            return [Audio(samples, int(decoder.rate or 0)) for samples in media]
        if modality == "video":
            return [Video(frames, float(decoder.rate or 0)) for frames in media]
        return media

    # ── talking ───────────────────────────────────────────────────────────────────────────────────

    def chat(self, messages: Any, **options: Any) -> Reply | list[Reply]:
        """Answer a conversation (a string or a list of messages), or each of a list of conversations.

        Args:
            options: `max_new_tokens=160`, `temperature=0.0` (greedy), `top_p=1.0`, `seed=0`, `max_media=8`,
                and for each output modality a dictionary of its decoder's settings, e.g.
                `image={"num_inference_steps": 20}`.

        Raises:
            MessageError: a message that cannot be used.
            OptionError: an option that is unknown or out of range.
            MediaError: a file that is missing or cannot be read.
        """
        from anygpt import generation

        return generation.chat(self, messages, options)

    def stream(self, messages: Any, **options: Any) -> Iterator[Event]:
        """Answer one conversation, event by event (see `anygpt.generation`); options and errors as `chat`."""
        return self.session().continued(messages, **options)

    def session(self) -> Session:
        """A conversation that goes on over turns and remembers what the LLM has read."""
        from anygpt.generation import Session

        return Session(self)

    # ── training ──────────────────────────────────────────────────────────────────────────────────

    def add_lora(
        self,
        r: int = 8,
        alpha: int = 16,
        target_modules: list[str] | str = "all-linear",
        dropout: float = 0.0,
    ) -> None:
        """Put trainable LoRA matrices on the LLM's layers; the LLM's own weights stay frozen."""
        from peft import LoraConfig, TaskType, get_peft_model

        if self.has_lora:
            raise ConfigError("the model has LoRA already")
        settings = LoraConfig(
            r=r,
            lora_alpha=alpha,
            target_modules=target_modules,
            lora_dropout=dropout,
            task_type=TaskType.CAUSAL_LM,
        )
        device, dtype = self.device, self.dtype
        self.llm = get_peft_model(self.llm, settings)
        self.llm.to(device, dtype)

    def use_signals(self) -> None:
        """Have all media made by signal tokens from now on, as they are about to be trained."""
        outputs = {m: replace(output, way="signals") for m, output in self.config.outputs.items()}
        self.config = self.processor.config = replace(self.config, outputs=outputs)

    def unfreeze_llm(self) -> None:
        """Make the LLM's own weights a part that can be trained; checkpoints then hold the LLM itself.

        Raises:
            ConfigError: the model has LoRA, which is there so that the LLM need not train.
        """
        if self.has_lora:
            raise ConfigError("the model has LoRA, beside which the LLM's own weights stay as they are")
        self.llm_trains = True

    @property
    def has_lora(self) -> bool:
        """Whether the LLM carries LoRA matrices."""
        return hasattr(self.llm, "peft_config")

    def trainable_parts(self) -> dict[str, nn.Module]:
        """What can be trained, by name; `requires_grad_` and `parameters` of each say and show what is.

        Gated cross-attention is among the adapters: it is how their embeddings come in. Signal tokens' input and output
        rows are two parts: rows that start as words must move little, while the head starts from nothing.
        """
        cross = self.cross_attention
        parts: dict[str, nn.Module] = {
            "adapters": self.adapters if cross is None else nn.ModuleList([self.adapters, cross]),
            "signals": nn.ParameterList([self.signals.embedding]),
            "signal_head": nn.ParameterList([self.signals.head]),
            "projections": self.projections,
        }
        if self.has_lora:
            parts["lora"] = nn.ParameterList(p for name, p in self.llm.named_parameters() if "lora_" in name)
        if self.llm_trains:
            parts["llm"] = self.llm
        return parts

    def frozen_fingerprint(self) -> dict[str, str]:
        """A sha256 over the weights of each frozen part, to prove that none changed.

        LoRA matrices do not count as the LLM's. Loads the parts that have not been needed so far.
        """
        prints = {"llm": fingerprint(self.llm)}
        for modality, entry in self.config.inputs.items():
            if f"encoder {entry.encoder}" not in prints:
                prints[f"encoder {entry.encoder}"] = fingerprint(self.encoder(modality))
        for modality, output in self.config.outputs.items():
            prints[f"decoder {output.decoder}"] = fingerprint(nn.ModuleDict(self.decoder(modality).modules))
        return prints

    def train(self, mode: bool = True) -> Self:
        """Training mode for what trains; the frozen LLM stays in evaluation mode."""
        super().train(mode)
        self.llm.eval()
        for name, module in self.llm.named_modules():
            if "lora_" in name:
                module.train(mode)
        return self

    # ── about ─────────────────────────────────────────────────────────────────────────────────────

    def info(self) -> dict[str, Any]:
        """The parts as a tree: class, parameters, frozen, bytes (on disk if frozen, otherwise in memory)."""
        return checkpoint.info(self)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.llm.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the model's weights."""
        return self.llm.get_input_embeddings().weight.dtype

    def _with_sizes(self, config: AnyGPTConfig) -> AnyGPTConfig:
        """The config with the sizes filled in that it leaves to the encoders and decoders."""
        inputs = {m: e if e.dim else replace(e, dim=self.encoder(m).dim(m)) for m, e in config.inputs.items()}
        outputs = {
            m: e if e.conditioning else replace(e, conditioning=self.decoder(m).conditioning_shape)
            for m, e in config.outputs.items()
        }
        return replace(config, inputs=inputs, outputs=outputs)

    def _stop_tokens(self) -> set[int]:
        """The tokens that end an answer, by the LLM's generation settings and its tokenizer."""
        settings = getattr(self.llm, "generation_config", None)
        given = settings.eos_token_id if settings is not None else None
        stops = set(given if isinstance(given, list) else [given])
        return {int(i) for i in stops | {self.tokenizer.eos_token_id} if i is not None}

    def _stop_strings(self) -> tuple[str, ...]:
        """The texts that end an answer, by the LLM's generation settings."""
        given = getattr(getattr(self.llm, "generation_config", None), "stop_strings", None) or ()
        return (given,) if isinstance(given, str) else tuple(given)


def _alike(media: Sequence[tuple[Medium, Tensor]]) -> Iterator[tuple[str, list[Medium]]]:
    """Groups of one modality whose tensors have one shape, so that they can be stacked."""
    groups: dict[tuple[str, torch.Size], list[Medium]] = {}
    for medium, tensor in media:
        groups.setdefault((medium.modality, tensor.shape), []).append(medium)
    for (modality, _), items in groups.items():
        yield modality, items


def _labels(prompt: Prompt, sizes: Sequence[int], device: torch.device) -> Tensor:
    """The prompt's labels, one for each slot; nothing that comes before it leads to its first token."""
    labels = torch.tensor([IGNORE, *prompt.labels[1:]])
    return labels.repeat_interleave(torch.tensor(sizes)).to(device)
