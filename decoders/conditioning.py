"""What each diffusers pipeline wants as its conditioning, as a table.

A decoder is driven by one tensor (B, tokens, dim). The table says, by the name of the pipeline's class, what that
tensor means: which arguments of the pipeline it becomes, which arguments of the denoiser, and how a caption becomes
such a tensor. To support another pipeline, add an entry to `CONDITIONINGS`; nothing else knows pipelines by name.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from decoders.errors import DecoderError

Kwargs = dict[str, Any]


@dataclass(frozen=True)
class Conditioning:
    """How one tensor (B, tokens, dim) drives one class of pipelines.

    Attributes:
        modality: what the pipeline makes: "image", "audio" or "video".
        shape: pipeline → (tokens, dim) of one item.
        to_kwargs: conditioning → arguments of the pipeline's call. The same with `negative_` before each name is
            what the pipeline is guided away from.
        denoiser_kwargs: (pipeline, conditioning, latents) → arguments of the denoiser beside the noisy latents and
            the timestep; None where there is no denoising loss: no gradient could flow to the conditioning, or the
            denoiser takes packed latents or those of another VAE than `decoders.media` knows.
        encode_text: (pipeline, captions) → conditioning, exactly what the pipeline makes of the captions.
        negative: pipeline → the conditioning (1, tokens, dim) that the pipeline itself guides away from when it is
            given no negative prompt; None where the pipeline has its own way.
        options: the decoder's options that this pipeline takes, and its names for them.
        denoiser: the attribute of the pipeline that holds its denoising network.
    """

    modality: str
    shape: Callable[[Any], tuple[int, int]]
    to_kwargs: Callable[[Any, Tensor], Kwargs]
    denoiser_kwargs: Callable[[Any, Tensor, Tensor], Kwargs] | None
    encode_text: Callable[[Any, list[str]], Tensor]
    negative: Callable[[Any], Tensor] | None
    options: dict[str, str]
    denoiser: str = "unet"


def conditioning_for(pipeline: Any) -> Conditioning:
    """The table's entry for a pipeline, by its class or a class it derives from.

    Raises:
        DecoderError: no such entry.
    """
    for base in type(pipeline).__mro__:
        if base.__name__ in CONDITIONINGS:
            return CONDITIONINGS[base.__name__]
    raise DecoderError(
        f"{type(pipeline).__name__} is not a pipeline that a decoder can drive; these are: "
        f"{', '.join(CONDITIONINGS)} (add an entry to CONDITIONINGS in decoders/conditioning.py for another)"
    )


# --- a sequence of token embeddings: Stable Diffusion 1 and 2, text-to-video, AnimateDiff --------------------------


def _sequence_shape(pipeline: Any) -> tuple[int, int]:
    return pipeline.tokenizer.model_max_length, pipeline.unet.config.cross_attention_dim


def _sequence_text(pipeline: Any, captions: list[str]) -> Tensor:
    return pipeline.encode_prompt(captions, pipeline._execution_device, 1, False)[0]


def _sequence_kwargs(pipeline: Any, conditioning: Tensor) -> Kwargs:
    return {"prompt_embeds": conditioning}


def _sequence_denoiser(pipeline: Any, conditioning: Tensor, latents: Tensor) -> Kwargs:
    return {"encoder_hidden_states": conditioning}


def _frames_denoiser(pipeline: Any, conditioning: Tensor, latents: Tensor) -> Kwargs:
    """One row for each frame of the films' latents (B, C, frames, height, width)."""
    return {"encoder_hidden_states": conditioning.repeat_interleave(latents.shape[2], dim=0)}


def _empty_prompt(encode_text: Callable[[Any, list[str]], Tensor]) -> Callable[[Any], Tensor]:
    return lambda pipeline: encode_text(pipeline, [""])


# --- one pooled embedding: AudioLDM --------------------------------------------------------------------------------


def _pooled_shape(pipeline: Any) -> tuple[int, int]:
    return 1, pipeline.text_encoder.config.projection_dim


def _pooled_text(pipeline: Any, captions: list[str]) -> Tensor:
    """CLAP's text embeddings, of length 1."""
    return pipeline._encode_prompt(captions, pipeline._execution_device, 1, False)[:, None]


def _pooled_kwargs(pipeline: Any, conditioning: Tensor) -> Kwargs:
    return {"prompt_embeds": conditioning[:, 0]}


def _pooled_denoiser(pipeline: Any, conditioning: Tensor, latents: Tensor) -> Kwargs:
    return {"encoder_hidden_states": None, "class_labels": conditioning[:, 0]}


# --- a sequence and a pooled embedding: SDXL, Stable Diffusion 3 ---------------------------------------------------
# The pooled embedding is the last token; what it lacks in width is zeros.


def _join(sequence: Tensor, pooled: Tensor) -> Tensor:
    row = functional.pad(pooled, (0, sequence.shape[-1] - pooled.shape[-1]))
    return torch.cat([sequence, row[:, None]], dim=1)


def _xl_shape(pipeline: Any) -> tuple[int, int]:
    return pipeline.tokenizer_2.model_max_length + 1, pipeline.unet.config.cross_attention_dim


def _xl_text(pipeline: Any, captions: list[str]) -> Tensor:
    sequence, _, pooled, _ = pipeline.encode_prompt(captions, do_classifier_free_guidance=False)
    return _join(sequence, pooled)


def _xl_kwargs(pipeline: Any, conditioning: Tensor) -> Kwargs:
    width = pipeline.text_encoder_2.config.projection_dim
    return {"prompt_embeds": conditioning[:, :-1], "pooled_prompt_embeds": conditioning[:, -1, :width]}


def _xl_denoiser(pipeline: Any, conditioning: Tensor, latents: Tensor) -> Kwargs:
    split = _xl_kwargs(pipeline, conditioning)
    size = tuple(side * pipeline.vae_scale_factor for side in latents.shape[-2:])
    times = torch.tensor(
        [[*size, 0, 0, *size]], dtype=latents.dtype, device=latents.device
    )  # size, crop, size
    added = {"text_embeds": split["pooled_prompt_embeds"], "time_ids": times.expand(len(latents), -1)}
    return {"encoder_hidden_states": split["prompt_embeds"], "added_cond_kwargs": added}


def _xl_negative(pipeline: Any) -> Tensor:
    empty = _xl_text(pipeline, [""])
    return torch.zeros_like(empty) if pipeline.config.force_zeros_for_empty_prompt else empty


def _sd3_shape(pipeline: Any) -> tuple[int, int]:
    t5_tokens = 256  # the pipeline's own max_sequence_length
    return pipeline.tokenizer_max_length + t5_tokens + 1, pipeline.transformer.config.joint_attention_dim


def _sd3_text(pipeline: Any, captions: list[str]) -> Tensor:
    sequence, _, pooled, _ = pipeline.encode_prompt(captions, None, None, do_classifier_free_guidance=False)
    return _join(sequence, pooled)


def _sd3_kwargs(pipeline: Any, conditioning: Tensor) -> Kwargs:
    width = pipeline.transformer.config.pooled_projection_dim
    return {"prompt_embeds": conditioning[:, :-1], "pooled_prompt_embeds": conditioning[:, -1, :width]}


def _sd3_denoiser(pipeline: Any, conditioning: Tensor, latents: Tensor) -> Kwargs:
    split = _sd3_kwargs(pipeline, conditioning)
    return {
        "encoder_hidden_states": split["prompt_embeds"],
        "pooled_projections": split["pooled_prompt_embeds"],
    }


# --- a sequence of T5's and a pooled embedding of CLIP's: FLUX ------------------------------------------------------
# As above, the pooled embedding is the last token. Guidance is one of the denoiser's inputs: nothing is guided away from.


def _flux_shape(pipeline: Any) -> tuple[int, int]:
    t5_tokens = 512  # the pipeline's own max_sequence_length
    return t5_tokens + 1, pipeline.transformer.config.joint_attention_dim


def _flux_text(pipeline: Any, captions: list[str]) -> Tensor:
    sequence, pooled, _ = pipeline.encode_prompt(captions)
    return _join(sequence, pooled)


# --- a sequence with a mask: Wan, LTX-Video, Stable Audio ------------------------------------------------------------
# What the mask leaves out is zeros in the conditioning, and from there the mask is read off again.


def _mask(conditioning: Tensor) -> Tensor:
    """(B, tokens, dim) → (B, tokens): False where all is zeros."""
    return conditioning.ne(0).any(-1)


def _wan_shape(pipeline: Any) -> tuple[int, int]:
    t5_tokens = 512  # the call's own max_sequence_length
    return t5_tokens, pipeline.transformer.config.text_dim


def _wan_text(pipeline: Any, captions: list[str]) -> Tensor:
    """Wan's denoiser looks at the zeros, too, so it needs no mask."""
    tokens, _ = _wan_shape(pipeline)
    return pipeline.encode_prompt(captions, do_classifier_free_guidance=False, max_sequence_length=tokens)[0]


def _ltx_shape(pipeline: Any) -> tuple[int, int]:
    t5_tokens = 128  # the call's own max_sequence_length
    return t5_tokens, pipeline.transformer.config.caption_channels


def _ltx_text(pipeline: Any, captions: list[str]) -> Tensor:
    sequence, mask, _, _ = pipeline.encode_prompt(captions, do_classifier_free_guidance=False)
    return sequence * mask[..., None]


def _ltx_kwargs(pipeline: Any, conditioning: Tensor) -> Kwargs:
    return {"prompt_embeds": conditioning, "prompt_attention_mask": _mask(conditioning)}


def _stable_audio_shape(pipeline: Any) -> tuple[int, int]:
    """The sound's start and end in seconds are two more tokens, which the pipeline adds itself."""
    return pipeline.tokenizer.model_max_length, pipeline.text_encoder.config.d_model


def _stable_audio_text(pipeline: Any, captions: list[str]) -> Tensor:
    """T5's states before the pipeline's projection, which it applies to given embeddings as well."""
    tokens, _ = _stable_audio_shape(pipeline)
    read = pipeline.tokenizer(
        captions, padding="max_length", max_length=tokens, truncation=True, return_tensors="pt"
    ).to(pipeline._execution_device)
    sequence = pipeline.text_encoder(read.input_ids, attention_mask=read.attention_mask)[0]
    return sequence * read.attention_mask[..., None]


def _stable_audio_kwargs(pipeline: Any, conditioning: Tensor) -> Kwargs:
    return {"prompt_embeds": conditioning, "attention_mask": _mask(conditioning).long()}


# --- class labels: DiT ---------------------------------------------------------------------------------------------


def _label_shape(pipeline: Any) -> tuple[int, int]:
    return 1, pipeline.transformer.config.num_embeds_ada_norm


def _label_text(pipeline: Any, captions: list[str]) -> Tensor:
    """A caption is the name of a class; its conditioning is one-hot."""
    unknown = [caption for caption in captions if caption not in pipeline.labels]
    if unknown:
        raise DecoderError(f"{unknown[0]!r} is not one of this pipeline's {len(pipeline.labels)} classes")
    labels = torch.tensor(pipeline.get_label_ids(captions), device=pipeline._execution_device)
    classes = pipeline.transformer.config.num_embeds_ada_norm
    return functional.one_hot(labels, classes)[:, None].to(pipeline.dtype)


def _label_kwargs(pipeline: Any, conditioning: Tensor) -> Kwargs:
    """The conditioning scores the classes; the best one is drawn."""
    return {"class_labels": conditioning[:, 0].argmax(-1).tolist()}


_SIZE = {"height": "height", "width": "width"}

CONDITIONINGS: dict[str, Conditioning] = {
    "StableDiffusionPipeline": Conditioning(
        modality="image",
        shape=_sequence_shape,
        to_kwargs=_sequence_kwargs,
        denoiser_kwargs=_sequence_denoiser,
        encode_text=_sequence_text,
        negative=_empty_prompt(_sequence_text),
        options=_SIZE,
    ),
    "StableDiffusionXLPipeline": Conditioning(
        modality="image",
        shape=_xl_shape,
        to_kwargs=_xl_kwargs,
        denoiser_kwargs=_xl_denoiser,
        encode_text=_xl_text,
        negative=_xl_negative,
        options=_SIZE,
    ),
    "StableDiffusion3Pipeline": Conditioning(
        modality="image",
        shape=_sd3_shape,
        to_kwargs=_sd3_kwargs,
        denoiser_kwargs=_sd3_denoiser,
        encode_text=_sd3_text,
        negative=_empty_prompt(_sd3_text),
        options=_SIZE,
        denoiser="transformer",
    ),
    "FluxPipeline": Conditioning(
        modality="image",
        shape=_flux_shape,
        to_kwargs=_sd3_kwargs,
        denoiser_kwargs=None,
        encode_text=_flux_text,
        negative=None,
        options=_SIZE,
        denoiser="transformer",
    ),
    "DiTPipeline": Conditioning(
        modality="image",
        shape=_label_shape,
        to_kwargs=_label_kwargs,
        denoiser_kwargs=None,
        encode_text=_label_text,
        negative=None,
        options={},
        denoiser="transformer",
    ),
    "AudioLDMPipeline": Conditioning(
        modality="audio",
        shape=_pooled_shape,
        to_kwargs=_pooled_kwargs,
        denoiser_kwargs=_pooled_denoiser,
        encode_text=_pooled_text,
        negative=_empty_prompt(_pooled_text),
        options={"seconds": "audio_length_in_s"},
    ),
    "StableAudioPipeline": Conditioning(
        modality="audio",
        shape=_stable_audio_shape,
        to_kwargs=_stable_audio_kwargs,
        denoiser_kwargs=None,
        encode_text=_stable_audio_text,
        negative=None,
        options={"seconds": "audio_end_in_s"},
        denoiser="transformer",
    ),
    "WanPipeline": Conditioning(
        modality="video",
        shape=_wan_shape,
        to_kwargs=_sequence_kwargs,
        denoiser_kwargs=None,
        encode_text=_wan_text,
        negative=_empty_prompt(_wan_text),
        options={**_SIZE, "num_frames": "num_frames"},
        denoiser="transformer",
    ),
    "LTXPipeline": Conditioning(
        modality="video",
        shape=_ltx_shape,
        to_kwargs=_ltx_kwargs,
        denoiser_kwargs=None,
        encode_text=_ltx_text,
        negative=_empty_prompt(_ltx_text),
        options={**_SIZE, "num_frames": "num_frames"},
        denoiser="transformer",
    ),
    "TextToVideoSDPipeline": Conditioning(
        modality="video",
        shape=_sequence_shape,
        to_kwargs=_sequence_kwargs,
        denoiser_kwargs=_sequence_denoiser,
        encode_text=_sequence_text,
        negative=_empty_prompt(_sequence_text),
        options={**_SIZE, "num_frames": "num_frames"},
    ),
}
CONDITIONINGS["AnimateDiffPipeline"] = replace(
    CONDITIONINGS["TextToVideoSDPipeline"], denoiser_kwargs=_frames_denoiser
)
