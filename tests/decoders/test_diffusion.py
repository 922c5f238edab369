"""Decoders over tiny random pipelines of the real classes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from decoders import Decoder, DecoderError
from decoders.media import hifigan_mel
from tests.tiny import PIPELINES

CAPTIONS = ["red circle", "square"]
SHAPES = {
    "stable-diffusion": (16, 32),
    "stable-diffusion-xl": (17, 64),
    "stable-diffusion-3": (16 + 256 + 1, 64),
    "dit": (1, 1000),
    "audio-ldm": (1, 24),
    "audio-ldm-hifi-gan": (1, 24),
    "text-to-video": (16, 32),
    "animate-diff": (16, 32),
    "flux": (512 + 1, 48),
    "stable-audio": (16, 32),
    "wan": (512, 32),
    "ltx-video": (128, 32),
}
SOUNDS, FILMS = (1, 2560), (16, 16, 16, 3)
FORMS = {
    "stable-audio": (2, 2560),
    "wan": (5, 16, 16, 3),
    "ltx-video": (9, 32, 32, 3),
}  # where others than SOUNDS or FILMS
everywhere = pytest.mark.parametrize("decoder", PIPELINES, indirect=True)
where_text_encoders_are = pytest.mark.parametrize(
    "decoder", [n for n in PIPELINES if n != "dit"], indirect=True
)
where_a_denoising_loss_is = pytest.mark.parametrize(
    "decoder",
    [n for n in PIPELINES if n not in ("dit", "flux", "stable-audio", "wan", "ltx-video")],
    indirect=True,
)
one_each = pytest.mark.parametrize(
    "decoder", ["stable-diffusion", "audio-ldm", "text-to-video"], indirect=True
)


def array(media: Any) -> np.ndarray:
    return np.asarray(media, dtype=np.float64)


def draw(decoder: Decoder, seeds: tuple[int, ...] = (1, 2), **settings: Any) -> list[Any]:
    conditioning = decoder.encode_text(CAPTIONS[: len(seeds)])
    return decoder(conditioning, seeds=list(seeds), **{"num_inference_steps": 2, **settings})


@everywhere
def test_media_have_the_promised_form(decoder: Decoder, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["decoder"]
    assert decoder.conditioning_shape == SHAPES[name]
    assert decoder.encode_text(CAPTIONS).shape == (2, *SHAPES[name])
    for media in draw(decoder):
        if decoder.modality == "image":
            assert isinstance(media, Image.Image) and media.mode == "RGB" and media.size == (16, 16)
            assert decoder.rate is None
        elif decoder.modality == "audio":
            assert media.dtype == np.float32 and media.shape == FORMS.get(name, SOUNDS)
            assert np.abs(media).max() <= 1
            assert decoder.rate == 16000
        else:
            assert media.dtype == np.uint8 and media.shape == FORMS.get(name, FILMS)
            assert decoder.rate == 8


@everywhere
def test_a_seed_means_one_result(decoder: Decoder) -> None:
    first, again, other = (array(draw(decoder, (seed,))[0]) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("decoder", [n for n in PIPELINES if n != "audio-ldm"], indirect=True)
def test_an_item_does_not_depend_on_its_batch(decoder: Decoder) -> None:
    conditioning = decoder.encode_text(CAPTIONS)
    together = decoder(conditioning, seeds=[1, 2], num_inference_steps=3)
    for index, media in enumerate(together):
        (alone,) = decoder(conditioning[index : index + 1], seeds=[index + 1], num_inference_steps=3)
        tolerance = 1e-5 if decoder.modality == "audio" else 1.0  # one level of 255: rounding
        assert np.abs(array(alone) - array(media)).max() <= tolerance


@where_text_encoders_are
def test_encoded_text_drives_like_the_prompt(decoder: Decoder) -> None:
    (ours,) = draw(decoder, (3,), guidance_scale=3.0)
    generator = torch.Generator().manual_seed(3)
    form = "pil" if decoder.modality == "image" else "np"
    output = decoder.pipeline(
        CAPTIONS[:1],
        num_inference_steps=2,
        guidance_scale=3.0,
        generator=generator,
        output_type=form,
        **decoder.defaults,
    )
    theirs = {"image": "images", "audio": "audios", "video": "frames"}[decoder.modality]
    (reference,) = getattr(output, theirs)
    scale = 255 if decoder.modality == "video" else 1
    tolerance = 1e-5 if decoder.modality == "audio" else 1.0
    assert np.abs(array(ours).squeeze() - array(reference).squeeze() * scale).max() <= tolerance


def test_class_names_become_class_labels(pipeline_folder: Callable[[str], Path]) -> None:
    decoder = Decoder.from_pretrained(pipeline_folder("dit"))
    assert decoder.encode_text(["square", "red circle"])[:, 0].argmax(-1).tolist() == [7, 1]
    (ours,) = decoder(decoder.encode_text(["square"]), seeds=[0], num_inference_steps=2)
    generator = torch.Generator().manual_seed(0)
    reference = decoder.pipeline([7], num_inference_steps=2, generator=generator).images[0]
    assert np.array_equal(array(ours), array(reference))
    with pytest.raises(DecoderError, match="'cat' is not one of this pipeline's 3 classes"):
        decoder.encode_text(["cat"])
    with pytest.raises(DecoderError, match="no denoising loss"):
        decoder.denoising_loss(torch.zeros(1, 1, 1000), [ours])


@where_a_denoising_loss_is
def test_denoising_loss_reaches_the_conditioning_alone(decoder: Decoder) -> None:
    frozen = {
        f"{name}.{key}": value.clone()
        for name, module in decoder.modules.items()
        for key, value in module.state_dict().items()
    }
    conditioning = decoder.encode_text(CAPTIONS).requires_grad_()
    media = draw(decoder)
    loss = decoder.denoising_loss(conditioning, media, torch.Generator().manual_seed(0))
    loss.backward()
    assert loss.dim() == 0 and 0 < loss.item() < 100
    assert conditioning.grad is not None and conditioning.grad.flatten(1).abs().sum(1).min() > 0
    for name, module in decoder.modules.items():
        for key, parameter in module.named_parameters():
            assert not parameter.requires_grad and parameter.grad is None, key
        for key, value in module.state_dict().items():
            assert torch.equal(value, frozen[f"{name}.{key}"])
    again = decoder.denoising_loss(conditioning, media, torch.Generator().manual_seed(0))
    other = decoder.denoising_loss(conditioning, media, torch.Generator().manual_seed(1))
    assert again == loss and other != loss


@one_each
def test_denoising_loss_takes_prepared_latents(decoder: Decoder) -> None:
    media = draw(decoder)
    conditioning = decoder.encode_text(CAPTIONS)
    latents = decoder.encode_media(media, torch.Generator().manual_seed(0))
    one, two = (
        decoder.denoising_loss(conditioning, latents, torch.Generator().manual_seed(s)) for s in (0, 0)
    )
    assert one == two
    with pytest.raises(DecoderError, match="2 media for 1 rows"):
        decoder.denoising_loss(conditioning[:1], media)


@pytest.mark.parametrize("decoder", ["stable-diffusion"], indirect=True)
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_denoising_target_is_the_scheduler_s(decoder: Decoder, kind: str) -> None:
    decoder.pipeline.scheduler.register_to_config(prediction_type=kind)
    decoder = Decoder(decoder.pipeline)
    latents = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    noisy, timesteps, target = decoder._noising(latents, torch.Generator().manual_seed(1))
    alpha = decoder.pipeline.scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    noise = (noisy - alpha.sqrt() * latents) / (1 - alpha).sqrt()
    wanted = {
        "epsilon": noise,
        "sample": latents,
        "v_prediction": alpha.sqrt() * noise - (1 - alpha).sqrt() * latents,
    }
    assert torch.allclose(target, wanted[kind], atol=1e-4)


def test_flow_matching_target_is_the_velocity(pipeline_folder: Callable[[str], Path]) -> None:
    decoder = Decoder.from_pretrained(pipeline_folder("stable-diffusion-3"))
    latents = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    noisy, timesteps, velocity = decoder._noising(latents, torch.Generator().manual_seed(1))
    sigma = (timesteps / 1000).view(-1, 1, 1, 1)
    assert torch.allclose(noisy - sigma * velocity, latents, atol=1e-5)


@pytest.mark.parametrize("decoder", [n for n in PIPELINES if n != "flux"], indirect=True)
def test_guidance_changes_the_result(decoder: Decoder) -> None:
    plain, none, strong = (array(draw(decoder, (1,), guidance_scale=scale)[0]) for scale in (1.0, 0.0, 8.0))
    assert np.array_equal(plain, none)
    assert not np.array_equal(plain, strong)


def test_flux_is_guided_by_an_input_of_its_denoiser(pipeline_folder: Callable[[str], Path]) -> None:
    decoder = Decoder.from_pretrained(pipeline_folder("flux"))
    sizes = {"height": 16, "width": 16}
    weak, strong = (array(draw(decoder, (1,), guidance_scale=s, **sizes)[0]) for s in (1.0, 8.0))
    assert not np.array_equal(weak, strong)


@everywhere
def test_callback_once_a_step(decoder: Decoder) -> None:
    steps: list[tuple[int, int]] = []
    draw(decoder, (1,), num_inference_steps=3, callback=lambda step, total: steps.append((step, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_sizes_and_defaults_are_honoured(pipeline_folder: Callable[[str], Path]) -> None:
    image = Decoder.from_pretrained(pipeline_folder("stable-diffusion"))
    assert draw(image, (1,), height=24, width=32)[0].size == (32, 24)
    image.defaults = {"height": 32, "width": 16, "num_inference_steps": 1}
    steps: list[int] = []
    (picture,) = image(
        image.encode_text(["square"]), seeds=[1], callback=lambda step, total: steps.append(total)
    )
    assert picture.size == (16, 32) and steps == [1]
    assert image.encode_media([picture]).shape == (1, 4, 16, 8)

    audio = Decoder.from_pretrained(pipeline_folder("audio-ldm"))
    assert draw(audio, (1,), seconds=0.1)[0].shape == (1, 1600)
    audio.defaults = {"seconds": 0.2}
    assert draw(audio, (1,))[0].shape == (1, 3200)
    assert audio.encode_media([np.zeros((2, 1000), np.float32)]).shape == (1, 4, 40, 8)

    video = Decoder.from_pretrained(pipeline_folder("text-to-video"))
    assert draw(video, (1,), num_frames=4, height=24, width=16)[0].shape == (4, 24, 16, 3)
    video.defaults = {"num_frames": 3, "fps": 4}
    assert video.rate == 4
    (film,) = draw(video, (1,))
    assert film.shape == (3, 16, 16, 3)
    assert video.encode_media([np.repeat(film, 3, axis=0)]).shape == (1, 4, 3, 8, 8)


@everywhere
def test_another_scheduler(decoder: Decoder) -> None:
    name = type(decoder.pipeline.scheduler).__name__
    kinds = {"Flow": "FlowMatchLCMScheduler", "EDMD": "EDMEulerScheduler"}
    other = kinds.get(name[:4], "DPMSolverMultistepScheduler")
    before = array(draw(decoder, (1,), num_inference_steps=3)[0])
    decoder.set_scheduler(other)
    steps: list[int] = []
    (media,) = draw(decoder, (1,), num_inference_steps=3, callback=lambda step, total: steps.append(step))
    after = array(media)
    assert after.shape == before.shape and np.isfinite(after).all() and not np.array_equal(after, before)
    assert steps == [1, 2, 3]
    with pytest.raises(DecoderError, match="'Fast' is not a scheduler"):
        decoder.set_scheduler("Fast")
    foreign = "DDIMScheduler" if name.startswith("Flow") else "FlowMatchEulerDiscreteScheduler"
    with pytest.raises(DecoderError, match=f"{foreign} has another kind of noise schedule"):
        decoder.set_scheduler(foreign)


@one_each
def test_half_precision_weights_are_cast(decoder: Decoder, tmp_path: Path) -> None:
    decoder.pipeline.to(torch.float16).save_pretrained(tmp_path)
    loaded = Decoder.from_pretrained(tmp_path)
    assert {p.dtype for module in loaded.modules.values() for p in module.parameters()} == {torch.float32}
    (media,) = draw(loaded, (1,))
    assert np.isfinite(array(media)).all()


@one_each
def test_wrong_conditioning_is_named(decoder: Decoder) -> None:
    tokens, dim = decoder.conditioning_shape
    wrong = torch.zeros(1, tokens + 1, dim)
    with pytest.raises(DecoderError, match=rf"\(1, {tokens + 1}, {dim}\).*\(batch, {tokens}, {dim}\)"):
        decoder(wrong, seeds=[0])
    with pytest.raises(DecoderError, match="wanted"):
        decoder.denoising_loss(wrong, [None])
    with pytest.raises(DecoderError, match="2 seeds for 1 rows"):
        decoder(torch.zeros(1, tokens, dim), seeds=[0, 1])


def test_wrong_settings_are_named(pipeline_folder: Callable[[str], Path]) -> None:
    decoder = Decoder.from_pretrained(pipeline_folder("stable-diffusion"))
    with pytest.raises(
        DecoderError, match="no setting 'seconds'; it has num_inference_steps, guidance_scale, height"
    ):
        draw(decoder, (1,), seconds=2)
    with pytest.raises(DecoderError, match="num_inference_steps must be above 0; got -1"):
        draw(decoder, (1,), num_inference_steps=-1)
    decoder.defaults = {"steps": 3}
    with pytest.raises(DecoderError, match="no setting 'steps'"):
        draw(decoder, (1,))


@pytest.mark.parametrize(
    ("name", "media", "message"),
    [
        ("stable-diffusion", np.zeros((8, 8, 3), np.uint8), "PIL images; got ndarray"),
        ("audio-ldm", np.zeros(100, np.float32), r"\(channels, samples\)"),
        ("text-to-video", np.zeros((4, 8, 8, 3), np.float32), "uint8"),
    ],
)
def test_wrong_media_are_named(
    pipeline_folder: Callable[[str], Path], name: str, media: Any, message: str
) -> None:
    with pytest.raises(DecoderError, match=message):
        Decoder.from_pretrained(pipeline_folder(name)).encode_media([media])


def test_wrong_folders_are_named(pipeline_folder: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(DecoderError, match="no model_index.json"):
        Decoder.from_pretrained(tmp_path)
    with pytest.raises(DecoderError, match="cannot load a decoder from"):
        Decoder.from_pretrained(tmp_path / "missing" / "folder")
    with pytest.raises(DecoderError, match="makes image, not audio"):
        Decoder.from_pretrained(pipeline_folder("stable-diffusion"), "audio")


def test_unknown_pipeline_is_named(tmp_path: Path) -> None:
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    network = UNet2DModel(
        sample_size=8,
        block_out_channels=(8,),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    )
    pipeline: Any = DDPMPipeline(network, DDPMScheduler())
    pipeline.save_pretrained(tmp_path)
    with pytest.raises(DecoderError, match="DDPMPipeline is not.*StableDiffusionPipeline.*CONDITIONINGS"):
        Decoder.from_pretrained(tmp_path)


def test_hifi_gan_front_end_hears_a_tone() -> None:
    """AudioLDM's: 64 bands up to 8 kHz, hop 160, the loudest sample at 0.5."""
    from transformers import SpeechT5HifiGanConfig

    config = SpeechT5HifiGanConfig(model_in_dim=64, upsample_rates=[5, 4, 2, 2, 2])
    wave = 0.1 * torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)
    mel = hifigan_mel(wave[None], config)
    assert mel.shape == (1, 101, 64)
    # Slaney's scale is linear up to 1000 Hz = 15 mel, and 8000 Hz = 45.2 mel: band 15 / 45.2 * 65 - 1
    assert mel[0, 50].argmax().item() in (20, 21)
    assert torch.allclose(mel.exp(), hifigan_mel(5 * wave[None], config).exp(), rtol=1e-3, atol=1e-4)
