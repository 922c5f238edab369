"""A decoder: one frozen diffusers pipeline, driven by one conditioning tensor instead of a prompt."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from decoders.conditioning import conditioning_for
from decoders.errors import DecoderError
from decoders.media import MEDIA
from decoders.noising import noising_for

Callback = Callable[[int, int], None]
# by which of these a scheduler is configured says what kind of noise schedule it has: steps of variance, flow, or EDM's
SCHEDULES = ("beta_schedule", "shift", "sigma_data")


class Decoder:
    """Conditioning (B, tokens, dim) → pictures, sounds or films.

    Attributes:
        pipeline: the diffusers pipeline; all its parameters are frozen.
        modality: "image", "audio" or "video".
        conditioning_shape: (tokens, dim) of one item: (77, 768) for Stable Diffusion 1.5, (1, 512) for AudioLDM.
        defaults: settings used where a call names none, by the names of the call's arguments, and a film's "fps";
            the pipeline's own where this has none.
    """

    def __init__(self, pipeline: Any):
        self.pipeline = pipeline
        self.conditioning = conditioning_for(pipeline)
        self.modality = self.conditioning.modality
        self.conditioning_shape = self.conditioning.shape(pipeline)
        self.defaults: dict[str, Any] = {}
        self._medium = MEDIA[self.modality]
        self._noising = noising_for(
            pipeline.scheduler
        )  # of training: a sampling scheduler set later changes nothing
        self._negative: Tensor | None = None
        for module in self.modules.values():
            module.requires_grad_(False).eval()

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str | Path,
        modality: str | None = None,
        dtype: torch.dtype = torch.float32,
        **loading: Any,
    ) -> "Decoder":
        """Load a pipeline from a hub-style folder or the hub; safetensors only.

        Args:
            modality: what the decoder must make; None takes what the pipeline makes.
            dtype: weights are cast to it, whatever they were saved in.
            loading: as diffusers' `from_pretrained` takes it, e.g. `quantization_config`.

        Raises:
            DecoderError: no pipeline there, one that no decoder can drive, or one of another modality.
        """
        from diffusers import DiffusionPipeline

        import decoders.vocoder  # noqa: F401  diffusers finds a component outside its own only if it is imported

        if Path(path_or_hub_id).is_dir() and not (Path(path_or_hub_id) / "model_index.json").is_file():
            raise DecoderError(f"{path_or_hub_id} holds no diffusers pipeline: it has no model_index.json")
        with _quiet():
            try:
                pipeline = DiffusionPipeline.from_pretrained(
                    str(path_or_hub_id), dtype=dtype, use_safetensors=True, **loading
                )
            except (OSError, ValueError, ImportError, RuntimeError) as error:
                reason = str(error).strip().splitlines()[0]
                raise DecoderError(f"cannot load a decoder from {path_or_hub_id}: {reason}") from error
        decoder = cls(pipeline)
        if modality not in (None, decoder.modality):
            kind = type(pipeline).__name__
            raise DecoderError(f"{path_or_hub_id} ({kind}) makes {decoder.modality}, not {modality}")
        return decoder

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The pipeline's networks by name (vae, text_encoder, unet, …), all frozen."""
        return {name: part for name, part in self.pipeline.components.items() if isinstance(part, nn.Module)}

    @property
    def rate(self) -> float | None:
        """Sound: Hz. Film: frames per second (`defaults["fps"]`, otherwise 8). Picture: None."""
        return self._medium.rate(self.pipeline, self.defaults)

    @property
    def device(self) -> torch.device:
        """Where the networks work; they may wait elsewhere."""
        return self.pipeline._execution_device

    def to(self, device: torch.device | str) -> "Decoder":
        self.pipeline.to(device)
        return self

    def tile(self) -> None:
        """Have the VAE make media one by one and piece by piece, where it can: slower, in less memory."""
        for name in ("enable_slicing", "enable_tiling"):
            if hasattr(self.pipeline.vae, name):
                getattr(self.pipeline.vae, name)()

    def set_scheduler(self, name: str) -> None:
        """Sample with another scheduler, by the name of its diffusers class, on the same noise schedule.

        Raises:
            DecoderError: there is none of that name, or it knows noise schedules of another kind.
        """
        import diffusers

        config, kind = self.pipeline.scheduler.config, getattr(diffusers, name, None)
        if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
            near = ", ".join(scheduler.__name__ for scheduler in self.pipeline.scheduler.compatibles)
            raise DecoderError(f"{name!r} is not a scheduler of diffusers; this pipeline's are: {near}")
        scheduler: Any = kind
        known = signature(scheduler.__init__).parameters
        if [key in config for key in SCHEDULES] != [key in known for key in SCHEDULES]:
            own = type(self.pipeline.scheduler).__name__
            raise DecoderError(f"{name} has another kind of noise schedule than this pipeline's {own}")
        self.pipeline.scheduler = scheduler.from_config(config)

    @torch.no_grad()
    def encode_text(self, captions: list[str]) -> Tensor:
        """Captions → (B, tokens, dim), what the pipeline itself would make of them. No gradient."""
        return self.conditioning.encode_text(self.pipeline, list(captions))

    def encode_media(self, media: list[Any], generator: torch.Generator | None = None) -> Tensor:
        """Media → scaled VAE latents, batch first, in the size of `defaults` or the pipeline's own. No gradient.

        Args:
            media: pictures as PIL images; sounds as float arrays (channels, samples) at `rate` in [-1, 1], mixed to
                mono, cut or filled with silence; films as uint8 arrays (frames, height, width, 3).
            generator: on the CPU; for the sample of the VAE's posterior.
        """
        return self._medium.latents(self.pipeline, self._denoiser, media, self.defaults, generator)

    def denoising_loss(
        self, conditioning: Tensor, media: list[Any] | Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """How well the conditioning (B, tokens, dim) lets the frozen denoiser recover the media: a scalar.

        Mean squared error of the denoiser's prediction, of the kind that the pipeline's scheduler says, at random
        timesteps. Gradients flow to the conditioning only.

        Args:
            media: as `encode_media` takes it, or the latents it gave.
            generator: on the CPU.
        """
        self._check_shape(conditioning)
        if self.conditioning.denoiser_kwargs is None:
            raise DecoderError(f"{type(self.pipeline).__name__} has no denoising loss here")
        if len(media) != len(conditioning):
            raise DecoderError(f"{len(media)} media for {len(conditioning)} rows of conditioning")
        latents = media if isinstance(media, Tensor) else self.encode_media(media, generator)
        latents = latents.to(self.device, self._denoiser.dtype)
        noisy, timesteps, target = self._noising(latents, generator)
        kwargs = self.conditioning.denoiser_kwargs(self.pipeline, conditioning.to(latents), latents)
        prediction = self._denoiser(noisy, timestep=timesteps, **kwargs).sample
        return nn.functional.mse_loss(prediction.float(), target.float())

    def __call__(
        self,
        conditioning: Tensor,
        *,
        seeds: list[int],
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        seconds: float | None = None,
        callback: Callback | None = None,
    ) -> list[Any]:
        """Decode conditioning (B, tokens, dim), one seed an item; an item does not depend on its neighbours.

        Args:
            seeds: the same seed gives the same noise in any batch and on any device.
            guidance_scale: how far to move away from the empty prompt; 1 or less is no guidance.
            height, width: pixels.
            seconds: of sound.
            callback: called as callback(step, steps) after each denoising step, from 1 on.

        Returns:
            Pictures: PIL RGB. Sounds: float32 (channels, samples) in [-1, 1]. Films: uint8 (frames, height, width, 3).

        Raises:
            DecoderError: a wrong shape, a wrong number of seeds, or a setting that the pipeline does not have.
        """
        self._check_shape(conditioning)
        if len(seeds) != len(conditioning):
            raise DecoderError(
                f"{len(seeds)} seeds for {len(conditioning)} rows of conditioning; one a row is wanted"
            )
        given = {
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "height": height,
            "width": width,
            "num_frames": num_frames,
            "seconds": seconds,
        }
        settings = self._settings(given)
        kwargs = {self._options[name]: value for name, value in settings.items() if name in self._options}
        kwargs |= self._conditioning_kwargs(conditioning.detach())
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        with _steps(self.pipeline, callback):
            output = self.pipeline(**kwargs, **self._medium.arguments, generator=generators)
        return self._medium.results(output)

    @property
    def has_denoising_loss(self) -> bool:
        """Whether `denoising_loss` can be computed for this pipeline."""
        return self.conditioning.denoiser_kwargs is not None

    @property
    def _denoiser(self) -> Any:
        return getattr(self.pipeline, self.conditioning.denoiser)

    @property
    def _options(self) -> dict[str, str]:
        """The settings that the pipeline's call takes, and its names for them."""
        steering = {name: name for name in ("num_inference_steps", "guidance_scale")}
        return steering | self.conditioning.options

    def _settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """The defaults, with what a call gave over them; all must be settings that this pipeline has."""
        settings = {**self.defaults, **{name: value for name, value in given.items() if value is not None}}
        allowed = (*self._options, *self._medium.settings)
        for name, value in settings.items():
            if name not in allowed:
                kind = type(self.pipeline).__name__
                raise DecoderError(f"{kind} has no setting {name!r}; it has {', '.join(allowed)}")
            if value <= 0 and name != "guidance_scale":
                raise DecoderError(f"{name} must be above 0; got {value}")
        return settings

    def _conditioning_kwargs(self, conditioning: Tensor) -> dict[str, Any]:
        """The pipeline's arguments for the conditioning and for what it is guided away from."""
        conditioning = conditioning.to(self.device, self._denoiser.dtype)
        kwargs = self.conditioning.to_kwargs(self.pipeline, conditioning)
        if self.conditioning.negative is not None:
            if self._negative is None:
                with torch.no_grad():
                    self._negative = self.conditioning.negative(self.pipeline)
            negative = self._negative.to(conditioning).expand_as(conditioning)
            opposite = self.conditioning.to_kwargs(self.pipeline, negative)
            kwargs |= {f"negative_{name}": value for name, value in opposite.items()}
        return kwargs

    def _check_shape(self, conditioning: Tensor) -> None:
        if conditioning.dim() != 3 or tuple(conditioning.shape[1:]) != self.conditioning_shape:
            tokens, dim = self.conditioning_shape
            raise DecoderError(
                f"conditioning of shape {tuple(conditioning.shape)} for {type(self.pipeline).__name__}; "
                f"wanted (batch, {tokens}, {dim})"
            )


class _Steps:
    """Stands where a pipeline's progress bar stands: every pipeline reports its steps there, whatever else it has."""

    def __init__(self, iterable: Iterable[Any] | None, total: int | None, callback: Callback | None):
        self.items = [] if iterable is None else list(iterable)
        self.total = len(self.items) if total is None else total
        self.callback = callback
        self.done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __iter__(self) -> Iterator[Any]:
        for item in self.items:
            yield item
            self.update()

    def update(self, n: int = 1) -> None:
        self.done += n
        if self.callback is not None:
            self.callback(self.done, self.total)


@contextmanager
def _steps(pipeline: Any, callback: Callback | None) -> Iterator[None]:
    """While it lasts, the pipeline draws no bar and calls back after each step."""
    pipeline.progress_bar = lambda iterable=None, total=None: _Steps(iterable, total, callback)
    try:
        yield
    finally:
        del pipeline.progress_bar


@contextmanager
def _quiet() -> Iterator[None]:
    """Load without the libraries' progress bars and their notes about older pipelines; then as it was."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity(logging.ERROR)
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, (verbosity, bars) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()
