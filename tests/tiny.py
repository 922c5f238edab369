"""Tiny random pipelines of the real classes, saved as hub-style folders, for the tests of every room."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

WORDS = ("red", "blue", "circle", "square", "large", "small", "rising", "tone", "a", "the")


def byte_alphabet() -> list[str]:
    """The 256 printable characters that stand for bytes in the vocabulary files of GPT-2's family."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    return [chr(byte) for byte in kept] + [chr(256 + index) for index in range(len(others))]


def _write_bpe(folder: Path, vocabulary: list[str], merges: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")


def _word_merges(start: str = "", end: str = "") -> tuple[list[str], list[str]]:
    """Pieces and merges that build each of `WORDS` from its letters."""
    pieces: list[str] = []
    merges: list[str] = []
    for word in WORDS:
        letters = [*(start + word)]
        letters[-1] += end
        left = letters[0]
        for letter in letters[1:]:
            if f"{left} {letter}" not in merges:
                merges.append(f"{left} {letter}")
                pieces.append(left + letter)
            left += letter
    return pieces, merges


def clip_tokenizer(folder: Path, length: int = 16) -> Any:
    from transformers import CLIPTokenizer

    alphabet = byte_alphabet()
    pieces, merges = _word_merges(end="</w>")
    tokens = [
        *alphabet,
        *(letter + "</w>" for letter in alphabet),
        *pieces,
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    _write_bpe(folder, tokens, merges)
    return CLIPTokenizer.from_pretrained(folder, model_max_length=length)


def roberta_tokenizer(folder: Path, length: int = 16) -> Any:
    from transformers import RobertaTokenizer

    pieces, merges = _word_merges(start="Ġ")
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *byte_alphabet(), *pieces, "<mask>"]
    _write_bpe(folder, tokens, merges)
    return RobertaTokenizer.from_pretrained(folder, model_max_length=length)


def t5_tokenizer(length: int = 16) -> Any:
    from transformers import T5Tokenizer

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters = [(chr(code), -5.0) for code in range(ord("a"), ord("z") + 1)]
    words = [("▁" + word, -1.0) for word in WORDS if len(word) > 1]
    return T5Tokenizer(vocab=[*special, ("▁", -4.0), *letters, *words], extra_ids=0, model_max_length=length)


def clip_text_encoder(tokenizer: Any, dim: int = 32, projection: int | None = None) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=dim,
        intermediate_size=2 * dim,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=projection or dim,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)


def vae(channels: int = 3, latent: int = 4, **more: Any) -> Any:
    """Two levels: latents are half as high and as wide."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=latent,
        norm_num_groups=4,
        sample_size=16,
        **more,
    )


def unet(**more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    settings: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "attention_head_dim": 8,
        "cross_attention_dim": 32,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    return UNet2DConditionModel(**{**settings, **more})


def zero_snr_scheduler() -> Any:
    """Predicts v, and its last step is pure noise."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,  # the pipelines ask for it; trailing timesteps do not use it
    )


def stable_diffusion(work: Path) -> Any:
    from diffusers import StableDiffusionPipeline

    tokenizer = clip_tokenizer(work / "clip")
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=unet(),
        scheduler=zero_snr_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(work: Path) -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    tokenizer = clip_tokenizer(work / "clip")
    return StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=clip_text_encoder(tokenizer, 32),
        text_encoder_2=clip_text_encoder(tokenizer, 32, projection=24),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet(
            cross_attention_dim=64,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 24,
        ),
        scheduler=EulerDiscreteScheduler(),
        add_watermarker=False,
    )


def stable_diffusion_3(work: Path) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import T5Config, T5EncoderModel

    tokenizer, tokenizer_3 = clip_tokenizer(work / "clip"), t5_tokenizer()
    t5 = T5Config(vocab_size=len(tokenizer_3), d_model=64, d_kv=16, d_ff=64, num_layers=1, num_heads=4)
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=8,
            patch_size=1,
            in_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=64,
            caption_projection_dim=32,
            pooled_projection_dim=40,
            out_channels=4,
            pos_embed_max_size=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(shift_factor=0.1),
        text_encoder=clip_text_encoder(tokenizer, 32, projection=20),
        tokenizer=tokenizer,
        text_encoder_2=clip_text_encoder(tokenizer, 32, projection=20),
        tokenizer_2=tokenizer,
        text_encoder_3=T5EncoderModel(t5),
        tokenizer_3=tokenizer_3,
    )


def t5_encoder(tokenizer: Any, dim: int = 32, kind: str = "T5") -> Any:
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer), d_model=dim, d_kv=8, d_ff=dim, num_layers=1, num_heads=4
    )
    return getattr(transformers, f"{kind}EncoderModel")(config)


def flux(work: Path) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    tokenizer, tokenizer_2 = clip_tokenizer(work / "clip"), t5_tokenizer()
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=48,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 2, 2),
            guidance_embeds=True,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae(shift_factor=0.1),
        text_encoder=clip_text_encoder(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=t5_encoder(tokenizer_2, 48),
        tokenizer_2=tokenizer_2,
    )


def stable_audio(work: Path) -> Any:
    """64 latent frames of 40 samples in stereo: 0.16 s at 16 kHz. T5's states are projected, and masked after that."""
    from diffusers import (
        AutoencoderOobleck,
        EDMDPMSolverMultistepScheduler,
        StableAudioDiTModel,
        StableAudioPipeline,
        StableAudioProjectionModel,
    )

    tokenizer = t5_tokenizer()
    return StableAudioPipeline(
        vae=AutoencoderOobleck(
            encoder_hidden_size=4,
            downsampling_ratios=[4, 10],
            channel_multiples=[1, 2],
            decoder_channels=4,
            decoder_input_channels=8,
            sampling_rate=16000,
        ),
        text_encoder=t5_encoder(tokenizer),
        projection_model=StableAudioProjectionModel(
            text_encoder_dim=32, conditioning_dim=16, min_value=0.0, max_value=8.0
        ),
        tokenizer=tokenizer,
        transformer=StableAudioDiTModel(
            sample_size=64,
            in_channels=8,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            num_key_value_attention_heads=2,
            out_channels=8,
            cross_attention_dim=16,
            time_proj_dim=8,
            global_states_input_dim=32,
            cross_attention_input_dim=16,
        ),
        scheduler=EDMDPMSolverMultistepScheduler(prediction_type="v_prediction", sigma_data=1.0),
    )


def wan(work: Path) -> Any:
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        WanPipeline,
        WanTransformer3DModel,
    )

    tokenizer = t5_tokenizer()
    return WanPipeline(
        tokenizer=tokenizer,
        text_encoder=t5_encoder(tokenizer, kind="UMT5"),
        vae=AutoencoderKLWan(
            base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        transformer=WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            text_dim=32,
            freq_dim=16,
            ffn_dim=32,
            num_layers=1,
            rope_max_seq_len=32,
        ),
    )


def ltx_video(work: Path) -> Any:
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )

    tokenizer = t5_tokenizer()
    return LTXPipeline(
        tokenizer=tokenizer,
        text_encoder=t5_encoder(tokenizer),
        vae=AutoencoderKLLTXVideo(
            latent_channels=8,
            block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            layers_per_block=(1, 1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1, 1),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        transformer=LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            num_layers=1,
            caption_channels=32,
        ),
    )


def dit(work: Path) -> Any:
    from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    transformer = DiTTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        num_embeds_ada_norm=1000,
        norm_elementwise_affine=False,
    )
    return DiTPipeline(
        transformer, vae(), DDIMScheduler(), id2label={1: "red circle", 7: "blue square, square"}
    )


def griffin_lim() -> Any:
    from decoders.vocoder import GriffinLimVocoder, GriffinLimVocoderConfig

    return GriffinLimVocoder(
        GriffinLimVocoderConfig(model_in_dim=16, n_fft=256, upsample_rates=[4, 10], n_iter=4)
    )


def hifi_gan() -> Any:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    return SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=16,
            upsample_initial_channel=16,
            upsample_rates=[4, 10],
            upsample_kernel_sizes=[8, 20],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1]],
            normalize_before=False,
        )
    )


def audio_ldm(work: Path, vocoder: Callable[[], Any] = griffin_lim) -> Any:
    """32 latent rows of 2 frames of 40 samples: 0.16 s at 16 kHz."""
    from diffusers import AudioLDMPipeline
    from transformers import ClapTextConfig, ClapTextModelWithProjection

    tokenizer = roberta_tokenizer(work / "roberta")
    text = ClapTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length + 2,
        projection_dim=24,
        pad_token_id=tokenizer.pad_token_id,
    )
    return AudioLDMPipeline(
        vae=vae(channels=1),
        text_encoder=ClapTextModelWithProjection(text),
        tokenizer=tokenizer,
        unet=unet(
            sample_size=32,
            cross_attention_dim=(16, 32),
            class_embed_type="simple_projection",
            projection_class_embeddings_input_dim=24,
            class_embeddings_concat=True,
        ),
        scheduler=zero_snr_scheduler(),
        vocoder=vocoder(),
    )


def audio_ldm_hifi_gan(work: Path) -> Any:
    return audio_ldm(work, hifi_gan)


def text_to_video(work: Path) -> Any:
    from diffusers import TextToVideoSDPipeline, UNet3DConditionModel

    tokenizer = clip_tokenizer(work / "clip")
    return TextToVideoSDPipeline(
        vae=vae(),
        text_encoder=clip_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=UNet3DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=8,
            attention_head_dim=8,
            cross_attention_dim=32,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        ),
        scheduler=zero_snr_scheduler(),
    )


def animate_diff(work: Path) -> Any:
    from diffusers import AnimateDiffPipeline, MotionAdapter, UNetMotionModel

    tokenizer = clip_tokenizer(work / "clip")
    pictures = unet(cross_attention_dim=32)
    modules = MotionAdapter(
        block_out_channels=pictures.config["block_out_channels"],
        motion_layers_per_block=pictures.config["layers_per_block"],
        motion_num_attention_heads=2,
        motion_norm_num_groups=8,
        motion_max_seq_length=16,
    )
    return AnimateDiffPipeline(
        vae=vae(),
        text_encoder=clip_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=UNetMotionModel.from_unet2d(pictures, modules),
        motion_adapter=None,
        scheduler=zero_snr_scheduler(),
    )


PIPELINES: dict[str, Callable[[Path], Any]] = {
    "stable-diffusion": stable_diffusion,
    "stable-diffusion-xl": stable_diffusion_xl,
    "stable-diffusion-3": stable_diffusion_3,
    "flux": flux,
    "dit": dit,
    "audio-ldm": audio_ldm,
    "audio-ldm-hifi-gan": audio_ldm_hifi_gan,
    "text-to-video": text_to_video,
    "animate-diff": animate_diff,
    "stable-audio": stable_audio,
    "wan": wan,
    "ltx-video": ltx_video,
}


def save_pipeline(name: str, folder: Path, seed: int = 0) -> Path:
    """Build one of `PIPELINES` with seeded random weights and save it as a hub-style folder."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = PIPELINES[name](folder.with_name(f"{folder.name}-files"))
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            _spread(part, seed)
    pipeline.save_pretrained(folder)
    if (
        name == "dit"
    ):  # published checkpoints name their classes in the index; the library does not write them
        index = json.loads((folder / "model_index.json").read_text())
        index["id2label"] = {1: "red circle", 7: "blue square, square"}
        (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _spread(module: torch.nn.Module, seed: int) -> None:
    """Layers that start at zero would hide the conditioning; a random network must depend on all its inputs."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if parameter.requires_grad and not parameter.detach().any():
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
