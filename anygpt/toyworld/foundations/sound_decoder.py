"""The sound decoder: a small `AudioLDMPipeline` for 2 s at 16 kHz, spectrograms of 128 bands × 128 frames.

The vocoder has no weights: it finds the phases (`decoders.vocoder`). A HiFi-GAN of this size would lose the timbre.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AudioLDMPipeline, AutoencoderKL, UNet2DConditionModel
from tqdm import tqdm
from transformers import ClapTextModelWithProjection, RobertaTokenizer

from anygpt.toyworld.foundations.captions import sound_caption
from anygpt.toyworld.foundations.denoising import build_scheduler, train_denoiser
from anygpt.toyworld.foundations.fitting import fit
from anygpt.toyworld.foundations.text_encoders import SOUND_DIM, tokenize
from anygpt.toyworld.phrases import caption_sound
from anygpt.toyworld.scenes import SHAPES
from anygpt.toyworld.sounds import CONTOURS, PITCHES, Tone, play
from decoders.vocoder import GriffinLimVocoder, GriffinLimVocoderConfig

VARIATIONS = 16  # of each of the 144 tones
CROP = 32  # frames, of 128


def build_vae() -> AutoencoderKL:
    channels = (8, 16, 32, 48)
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=2,
        sample_size=128,
        mid_block_add_attention=False,
    )


def build_unet() -> UNet2DConditionModel:
    """Conditioned as AudioLDM's: the sound's embedding beside the timestep's, no cross-attention."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        cross_attention_dim=96,
        attention_head_dim=4,
        norm_num_groups=8,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=SOUND_DIM,
        class_embeddings_concat=True,
    )


def spectrograms(work_dir: Path, vocoder: GriffinLimVocoder) -> tuple[list[Tone], torch.Tensor]:
    """Every tone in several volumes and phases, and their normalised log-mels, float16 (N, 1, 128 frames, 128 bands)."""
    tones = [
        Tone(shape, pitch, contour)
        for _ in range(VARIATIONS)
        for shape in SHAPES
        for pitch in PITCHES
        for contour in CONTOURS
    ]
    stored = work_dir / "sound-spectrograms.pt"
    if stored.exists():
        return tones, torch.load(stored, weights_only=True)
    rng = np.random.default_rng(10)
    mels = torch.cat(
        [
            vocoder.mel(torch.from_numpy(play(tone, rng))[None]).half()
            for tone in tqdm(tones, desc="playing sounds")
        ]
    )
    work_dir.mkdir(parents=True, exist_ok=True)
    torch.save(mels[:, None], stored)
    return tones, mels[:, None]


def train_vae(work_dir: Path, mels: torch.Tensor, steps: int = 1500) -> AutoencoderKL:
    """On crops in time, which are cheaper; the last quarter sees whole spectrograms every other step."""
    torch.manual_seed(0)
    vae = build_vae()

    def make_batch(step: int) -> torch.Tensor:
        rng = np.random.default_rng([11, step])
        if step > 3 * steps // 4 and step % 2 == 0:
            return mels[rng.integers(len(mels), size=5)]
        rows = [
            mels[i, :, start : start + CROP]
            for i, start in zip(
                rng.integers(len(mels), size=16), rng.integers(128 - CROP + 1, size=16), strict=True
            )
        ]
        return torch.stack(rows)

    def loss_of(batch: torch.Tensor, step: int) -> torch.Tensor:
        batch = batch.float()
        posterior = vae.encode(batch).latent_dist
        error = vae.decode(posterior.sample()).sample - batch
        return error.abs().mean() + error.square().mean() + 1e-6 * posterior.kl().mean()

    fit(
        "sound-vae",
        vae,
        loss_of,
        make_batch,
        steps=steps,
        learning_rate=2e-3,
        work_dir=work_dir,
        ema_decay=0.995,
    )
    vae.requires_grad_(False)
    vae.register_to_config(
        scaling_factor=float(1 / vae.encode(mels[:: len(mels) // 100].float()).latent_dist.mean.std())
    )
    return vae


def train(
    work_dir: Path, text_encoder: ClapTextModelWithProjection, tokenizer: RobertaTokenizer, steps: int = 2000
) -> AudioLDMPipeline:
    torch.manual_seed(0)
    vocoder = GriffinLimVocoder(GriffinLimVocoderConfig())
    tones, mels = spectrograms(work_dir, vocoder)
    vae = train_vae(work_dir, mels)
    with torch.no_grad():
        latents = torch.cat(
            [
                vae.encode(chunk.float()).latent_dist.mean
                for chunk in tqdm(mels.split(16), desc="encoding sounds")
            ]
        )
    latents *= vae.config.scaling_factor
    unet = build_unet()

    def embed(captions: list[str]) -> torch.Tensor:
        return torch.nn.functional.normalize(
            text_encoder(**tokenize(tokenizer, captions)).text_embeds, dim=-1
        )

    train_denoiser(
        "sound-unet",
        unet,
        latents.half(),
        lambda rng, index: (
            caption_sound(tones[index]) if rng.random() < 0.8 else sound_caption(rng, tones[index])
        ),
        embed,
        lambda noisy, time, conditioning: unet(noisy, time, None, class_labels=conditioning).sample,
        work_dir=work_dir,
        steps=steps,
        size=32,
    )
    return AudioLDMPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        vocoder=vocoder,
    )
