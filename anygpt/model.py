"""The model, from left to right: encode, adapt, think, project, decode."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from anygpt import checkpoint
from anygpt.adapters import Adapter
from anygpt.attention import check_maskable, media_mask
from anygpt.checkpoint import find_checkpoint, find_part, read_config
from anygpt.config import AnyGPTConfig, ConfigError
from anygpt.cross_attention import CrossAttention
from anygpt.decoding import decode, load_decoder
from anygpt.encoding import Seen, alike
from anygpt.familiarity import Familiarity
from anygpt.fitting import Fitting
from anygpt.frozen import fingerprint, load_llm, weight_of
from anygpt.learning import Output, learn
from anygpt.own_senses import OwnSenses
from anygpt.packing import first_media
from anygpt.processor import MEDIUM, Medium, Processor, Prompt
from anygpt.projections import build_projection
from anygpt.signals import Signals

if TYPE_CHECKING:
    from anygpt.generation import Event, Reply, Session
    from decoders.diffusion import Decoder
    from encoders.encoder import Encoder


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
        self.fitting = Fitting()
        self.llm_hook: Any = None  # accelerate's, where the LLM leaves the device while others work there
        self._encoders: dict[str, Encoder] = {}
        self._decoders: dict[str, Decoder] = {}
        self._seen = Seen()
        self.llm: Any = llm.requires_grad_(False).eval()  # or a PeftModel around it
        self.llm_trains = False
        rows = weight_of(llm.get_input_embeddings())
        head = weight_of(llm.get_output_embeddings())
        if len(rows) != len(head):
            raise ConfigError(
                f"this LLM reads {len(rows)} tokens and writes {len(head)}; they must be as many"
            )
        if config.media_attention == "bidirectional":
            check_maskable(llm.config)
        hidden = rows.shape[1]
        if (gap := config.signals.gap) is not None and not 0 <= gap < len(rows):
            raise ConfigError(f"signals.gap must be a token of the LLM's {len(rows)}, not {gap}")
        self.signals = Signals(
            len(rows), hidden, {m: entry.signal_tokens for m, entry in config.outputs.items()}, gap
        )
        self.config = config
        self.config = self._with_sizes(config)
        self.adapters = nn.ModuleDict(
            {m: Adapter(entry.adapter, entry.dim or 0, hidden) for m, entry in self.config.adapted.items()}
        )
        self.senses: OwnSenses | None = None
        if len(config.adapted) < len(config.inputs):
            self.senses = OwnSenses(llm, find_part(config.llm, root))
        self.cross_attention: CrossAttention | None = None
        if config.cross_attention is not None:
            self.cross_attention = CrossAttention(config.cross_attention, llm, hidden)
            self.cross_attention.start_from(rows)
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
            self.reader,
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
        fitting: Fitting | None = None,
    ) -> Self:
        """A model with fresh adapters, signal tokens and projections on the frozen parts that `config` names.

        Args:
            root: the folder that relative names in the config start from.
            device, dtype, fitting: as in `from_pretrained`.
        """
        model = cls._loaded(config, root, torch.device(device), dtype, fitting or Fitting())
        model.fitting.place(model, torch.device(device), dtype)
        return model

    @classmethod
    def _loaded(
        cls,
        config: AnyGPTConfig,
        root: str | os.PathLike[str] | None,
        device: torch.device,
        dtype: torch.dtype,
        fitting: Fitting,
    ) -> Self:
        """The model before it is placed."""
        fitting.check(device)
        folder = Path(root).resolve() if root is not None else None
        arguments = fitting.llm_arguments(device, dtype)
        model = cls(config, *load_llm(find_part(config.llm, folder), dtype, **arguments), folder)
        model.fitting = fitting
        for name, part in model.named_children():
            if name != "llm":  # before its weights come, so that none of their digits is lost
                part.to(dtype=dtype)
        return model

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        fitting: Fitting | None = None,
    ) -> Self:
        """Load a checkpoint: a packaged name (`anygpt-tiny`), a folder, or a hub id.

        A preset, by its packaged name or its YAML file, is taken without the parts that only training makes of use: it
        reads text, and makes media through captions.

        Args:
            device: where the work is done.
            dtype: of all parameters in memory, whatever the files hold; encoders stay float32.
            fitting: how it is fitted into memory where that is scarce (see `anygpt.fitting`).

        Raises:
            ConfigError: no such checkpoint, one whose files do not fit each other, or a fitting that this machine has not.
        """
        root = find_checkpoint(name)
        config = read_config(root)
        given = torch.device(device), dtype, fitting or Fitting()
        if root.is_file():
            return cls.from_config(config, root.parent, device=device, dtype=dtype, fitting=fitting)
        model = cls._loaded(config, root, *given)
        checkpoint.load_trained(model, root)
        model.familiarity = Familiarity.load(root)
        if config.lora:
            from peft import PeftModel

            model.llm = PeftModel.from_pretrained(model.llm, str(root / config.lora.path), is_trainable=True)
        model.fitting.place(model, *given[:2])
        return model.eval()

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

    def reader(self, modality: str) -> Encoder | OwnSenses:
        """What an input modality's media are given to: an encoder, or the LLM's own senses."""
        if modality in self.config.adapted:
            return self.encoder(modality)
        assert self.senses is not None, "they are there where an input says so"
        if modality not in self.senses.modalities:
            raise ConfigError(
                f"inputs.{modality}.way: this LLM's own senses are {', '.join(self.senses.modalities)}"
            )
        return self.senses

    def encoder(self, modality: str) -> Encoder:
        """The frozen encoder of an input modality, loaded at the first call."""
        entry = self.config.inputs[modality]
        if modality not in self.config.adapted:
            raise ConfigError(f"inputs.{modality} has no encoder: the LLM takes it in with its own senses")
        if entry.encoder not in self._encoders:
            from encoders import load_encoder

            with torch.device("cpu"):  # an outline on the meta device may have to ask it for its width
                encoder = load_encoder(find_part(entry.encoder, self.root))
            self.fitting.place_encoder(encoder, entry.encoder, self.device)
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
        at_home = next(encoder.parameters()).device in (self.device, torch.device("meta"))
        return encoder if at_home else encoder.to(self.device)

    @torch.no_grad()
    def encode(self, media: Sequence[Medium]) -> None:
        """Give every medium its features (tokens, dim), those of one modality and shape in one batch.

        Outside of training, media that were encoded a short while ago are not encoded again.
        """
        if not self.training:
            self._seen.recall(media)
        waiting = [medium for medium in media if medium.features is None]
        for modality, items in alike([(m, m.tensor) for m in waiting]):
            encoder = self.reader(modality)
            read = encoder.features
            if not isinstance(encoder, OwnSenses):
                forms = {"pooled": encoder.pooled, "patches": encoder.features, "both": encoder.both}
                read = forms[self.config.inputs[modality].features]
            features = read(modality, torch.stack([item.tensor for item in items]).to(self.device))
            for item, value in zip(items, features, strict=True):
                item.features = value
            if self.fitting.takes_turns and not isinstance(encoder, OwnSenses):
                encoder.to("cpu")
        if not self.training:
            self._seen.remember(waiting)

    @torch.no_grad()
    def knows(self, medium: Medium) -> bool:
        """Whether a medium is of the world that the model was trained on, as far as it can tell."""
        modality = medium.modality
        if self.familiarity is None or modality not in self.config.adapted:
            return True
        return self.familiarity.knows(self.encoder(modality), modality, medium.tensor.to(self.device))

    # ── adapt ──────────────────────────────────────────────────────────────────────────────────────

    def adapt(self, media: Sequence[Medium]) -> list[Tensor]:
        """Media → their LLM embeddings, each (slots, hidden); encodes what has no features yet."""
        self.encode(media)
        featured = [(m, m.features) for m in media if m.features is not None]
        adapted: dict[int, Tensor] = {}
        for modality, items in alike(featured):
            batch = torch.stack([item.features for item in items if item.features is not None])
            embeddings = batch.to(self.device, self.dtype)
            if modality in self.adapters:
                embeddings = self.adapters[modality](embeddings)
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
        """A training step's forward pass over prompts that `processor(…, training=True)` made; see `anygpt.learning`."""
        return learn(self, prompts, packing)

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
        if modality not in self._decoders:
            self._decoders[modality] = load_decoder(
                modality,
                self.config.outputs[modality],
                self.root,
                device=self.device,
                dtype=self.dtype,
                fitting=self.fitting,
            )
        if self.llm_hook is not None:
            self.llm_hook.offload()
        decoder = self._decoders[modality]
        return decoder if self.fitting.offload else decoder.to(self.device)

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
        return decode(self.decoder(modality), conditioning, seeds, callback=callback, **settings)

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
        for modality, entry in self.config.adapted.items():
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
        return self.signals.embedding.device  # the LLM may wait elsewhere

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the model's weights."""
        return self.llm.get_input_embeddings().weight.dtype

    def _with_sizes(self, config: AnyGPTConfig) -> AnyGPTConfig:
        """The config with the sizes filled in that it leaves to the encoders and decoders."""
        asked = {m: entry for m, entry in config.adapted.items() if entry.dim is None}
        inputs = config.inputs | {m: replace(e, dim=self.encoder(m).dim(m)) for m, e in asked.items()}
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
