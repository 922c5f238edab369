"""ImageBind in today's torch: six modalities, one embedding space, the official state-dict keys.

Facts kept from the reference (facebookresearch/ImageBind), each visible in its recorded outputs:
- pre-norm blocks, exact GELU, no norm after the trunk but the head's, epsilon 1e-5 in stems, else 1e-6;
- audio, depth, thermal and IMU attend to one learned key and value besides their tokens;
- text is read at its largest token id, everything else at the class token;
- embeddings are unit vectors times the modality's scale (vision has none); clips are averaged after that.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoders.imagebind.configuration import MODALITIES, ImageBindConfig
from encoders.imagebind.trunk import Trunk

STILL_FRAMES = 2  # a still picture is shown to the video stem twice
IMU_CHANNELS, IMU_PATCH = 6, 8
LOGIT_SCALES = {"text": 1 / 0.07, "audio": 20.0, "depth": 5.0, "thermal": 10.0, "imu": 5.0}
MAX_LOGIT_SCALE = 100.0


class RepeatStill(nn.Module):
    """Pictures (B, C, H, W), or films of one frame, become films (B, C, 2, H, W); films pass."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            x = x.unsqueeze(2)
        return x.repeat(1, 1, STILL_FRAMES, 1, 1) if x.shape[2] == 1 else x


class Stem(nn.Module):
    """Patches to vectors: (B, C, [T,] H, W) → (B, patches, width), row-major."""

    def __init__(self, projection: nn.Module, norm: nn.Module | None) -> None:
        super().__init__()
        self.proj = projection
        self.norm_layer = norm

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x).flatten(2).transpose(1, 2)
        return x if self.norm_layer is None else self.norm_layer(x)


class PositionTable(nn.Module):
    """One learned vector per token; a square grid of other size gets the table resized bicubically."""

    def __init__(self, width: int, layout: tuple[int, ...], resizable: bool) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + math.prod(layout), width) * width**-0.5)
        self.layout = layout
        self.resizable = resizable

    def forward(self, patches: int) -> Tensor:
        """Positions (1, 1 + patches, width) of the class token and of `patches` patches."""
        if patches == self.pos_embed.shape[1] - 1:
            return self.pos_embed
        rows, columns = self.layout[-2:]
        if not self.resizable or rows != columns:
            raise ValueError(
                f"{patches} patches given where the model has {math.prod(self.layout)}: wrong input size"
            )
        # A film's later frames have positions of their own; other sizes take those of the first frame.
        class_token, grid = self.pos_embed.split([1, self.pos_embed.shape[1] - 1], dim=1)
        grid = grid[:, : rows * columns]
        if patches != rows * columns:
            grid = grid.reshape(1, rows, columns, -1).permute(0, 3, 1, 2)
            # `size=` would sample at slightly other places than the reference's scale factor.
            low = grid.dtype in (torch.bfloat16, torch.float16)
            resized = F.interpolate(
                grid.float() if low else grid,
                scale_factor=math.sqrt(patches / (rows * columns)),
                mode="bicubic",
            ).to(grid.dtype)
            grid = resized.flatten(2).transpose(1, 2)
        if grid.shape[1] != patches:
            raise ValueError(f"pictures must be square: {patches} patches are no square grid")
        return torch.cat([class_token, grid], dim=1)


class PatchTokens(nn.Module):
    """Vision, audio, depth and thermal: class token and patches, with positions, (B, 1 + patches, width).

    The stem's attribute is `rgbt_stem` but for depth: the names of the published weights.
    """

    def __init__(self, config: ImageBindConfig, modality: str) -> None:
        super().__init__()
        width = config.embed_dim(modality)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * width**-0.5)
        if modality == "vision":
            kernel = config.kernel_size
            stem = Stem(
                nn.Sequential(RepeatStill(), nn.Conv3d(3, width, kernel, stride=kernel, bias=False)), None
            )
        else:
            size = getattr(config, f"{modality}_kernel_size")
            stride = config.audio_stride if modality == "audio" else size
            stem = Stem(nn.Conv2d(1, width, size, stride=stride, bias=False), nn.LayerNorm(width))
        self.stem_name = "depth_stem" if modality == "depth" else "rgbt_stem"
        self.add_module(self.stem_name, stem)
        self.pos_embedding_helper = PositionTable(
            width, config.layout(modality), resizable=modality == "vision"
        )

    def forward(self, x: Tensor) -> Tensor:
        patches = self.get_submodule(self.stem_name)(x)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1)
        return tokens + self.pos_embedding_helper(patches.shape[1])


class TextTokens(nn.Module):
    """Token ids (B, context) → (B, context, width), and the causal mask of their trunk."""

    mask: Tensor

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        width, length = config.text_embed_dim, config.context_length
        self.pos_embed = nn.Parameter(torch.randn(1, length, width) * 0.01)
        self.register_buffer("mask", torch.full((length, length), -math.inf).triu(1))
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        if ids.shape[-1] != self.pos_embed.shape[1]:
            raise ValueError(
                f"text must have {self.pos_embed.shape[1]} token ids (padded with 0), not {ids.shape[-1]}"
            )
        return self.token_embedding(ids) + self.pos_embed


class ImuTokens(nn.Module):
    """Signals (B, 6, samples) → class token and patches of 8 samples, (B, 1 + samples / 8, width)."""

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        width, patches = config.imu_embed_dim, config.imu_length // IMU_PATCH
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + patches, width) * width**-0.5)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * width**-0.5)
        projection = nn.Linear(IMU_CHANNELS * IMU_PATCH, width, bias=False)
        self.imu_stem = nn.ModuleDict({"proj": projection, "norm_layer": nn.LayerNorm(width)})

    def forward(self, x: Tensor) -> Tensor:
        patches = (
            x.unfold(-1, IMU_PATCH, IMU_PATCH).transpose(1, 2).flatten(2)
        )  # (B, patches, 6 * 8), channel-major
        if patches.shape[1] != self.pos_embed.shape[1] - 1:
            expected = (self.pos_embed.shape[1] - 1) * IMU_PATCH
            raise ValueError(f"an IMU signal must have {expected} samples, not {x.shape[-1]}")
        patches = self.imu_stem["norm_layer"](self.imu_stem["proj"](patches))
        return torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1) + self.pos_embed


class TextHead(nn.Module):
    """Norm and projection of text, under the published name."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.LayerNorm(width, eps=1e-6), nn.Linear(width, out, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Normalize(nn.Module):
    """Unit length along the last axis."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


class LogitScale(nn.Module):
    """Times the modality's scale, exp(log_logit_scale) and at most 100; only text learns it."""

    log_logit_scale: Tensor

    def __init__(self, scale: float, learnable: bool) -> None:
        super().__init__()
        value = torch.tensor(math.log(scale))
        if learnable:
            self.log_logit_scale = nn.Parameter(value)
        else:
            self.register_buffer("log_logit_scale", value)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.log_logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)


class ImageBindModel(nn.Module):
    """The whole model. Inputs, by the reference's modality names (B = batch, S = clips):

    - vision: pictures (B, 3, H, W), or films (B, S, 3, 2, H, W), normalised as CLIP's;
    - audio: log-mel pictures (B, 1, mel, frames) or (B, S, 1, mel, frames);
    - depth, thermal: (B, 1, H, W);  imu: (B, 6, samples);  text: token ids (B, context).

    Anything with five axes or more is taken as having clips in axis 1, so a film always needs six.
    """

    config_class = ImageBindConfig

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        self.config = config
        preprocessors: dict[str, nn.Module] = {"text": TextTokens(config), "imu": ImuTokens(config)}
        heads: dict[str, nn.Module] = {"text": TextHead(config.text_embed_dim, config.out_embed_dim)}
        postprocessors: dict[str, nn.Module] = {"vision": Normalize()}
        for modality in MODALITIES:
            if modality not in preprocessors:
                preprocessors[modality] = PatchTokens(config, modality)
            if modality not in heads:
                heads[modality] = self._head(modality)
            if modality not in postprocessors:
                scale = LogitScale(LOGIT_SCALES[modality], learnable=modality == "text")
                postprocessors[modality] = nn.Sequential(Normalize(), scale)
        self.modality_preprocessors = nn.ModuleDict(preprocessors)
        self.modality_trunks = nn.ModuleDict({modality: Trunk(config, modality) for modality in MODALITIES})
        self.modality_heads = nn.ModuleDict(heads)
        self.modality_postprocessors = nn.ModuleDict(postprocessors)

    def _head(self, modality: str) -> nn.Module:
        width = self.config.embed_dim(modality)
        # The second layer stands where the reference picks the class token, for the sake of the key numbers.
        layers: list[nn.Module] = [nn.LayerNorm(width, eps=1e-6), nn.Identity()]
        if modality == "imu":
            layers.append(nn.Dropout(self.config.imu_head_dropout))
        return nn.Sequential(*layers, nn.Linear(width, self.config.out_embed_dim, bias=False))

    def tokens(self, modality: str, media: Tensor) -> Tensor:
        """What the trunk receives, (B, tokens, width); media without a clip axis."""
        return self.modality_preprocessors[modality](media)

    def trunk(self, modality: str, tokens: Tensor) -> Tensor:
        """What the trunk returns, (B, tokens, width)."""
        mask = self.modality_preprocessors[modality].mask if modality == "text" else None
        return self.modality_trunks[modality](tokens, mask)

    def head(self, modality: str, hidden: Tensor) -> Tensor:
        """Norm and projection of trunk outputs, (…, width) → (…, out_embed_dim), before any scaling."""
        return self.modality_heads[modality](hidden)

    def select(self, modality: str, hidden: Tensor, media: Tensor) -> Tensor:
        """The trunk output that stands for the whole input, (B, width)."""
        if modality == "text":
            return hidden[torch.arange(len(hidden), device=hidden.device), media.argmax(dim=-1)]
        return hidden[:, 0]

    def clip_embeddings(self, modality: str, media: Tensor) -> Tensor:
        """One scaled embedding per clip, (B, clips, out_embed_dim); media without clips count as one clip."""
        flat, batch = self._flatten_clips(modality, media)
        hidden = self.trunk(modality, self.tokens(modality, flat))
        return self._embeddings(modality, hidden, flat).unflatten(0, (batch, -1))

    def clip_patch_tokens(self, modality: str, media: Tensor) -> Tensor:
        """NExT-GPT's reading of ImageBind: a vector per clip and patch, (B, clips, patches, out_embed_dim).

        The head is applied to every token but the class token. Audio's scale is left out. Text has one patch.
        """
        if modality == "text":
            return self.clip_embeddings(modality, media).unsqueeze(2)
        flat, batch = self._flatten_clips(modality, media)
        hidden = self.trunk(modality, self.tokens(modality, flat))
        return self._patches(modality, hidden).unflatten(0, (batch, -1))

    def clip_features(self, modality: str, media: Tensor) -> tuple[Tensor, Tensor]:
        """`clip_embeddings` and `clip_patch_tokens` from one run of the trunk."""
        if modality == "text":
            return self.clip_embeddings(modality, media), self.clip_patch_tokens(modality, media)
        flat, batch = self._flatten_clips(modality, media)
        hidden = self.trunk(modality, self.tokens(modality, flat))
        made = self._embeddings(modality, hidden, flat), self._patches(modality, hidden)
        return made[0].unflatten(0, (batch, -1)), made[1].unflatten(0, (batch, -1))

    def patch_tokens(self, modality: str, media: Tensor) -> Tensor:
        """Vectors per patch, averaged over clips, (B, patches, out_embed_dim)."""
        return self.clip_patch_tokens(modality, media).mean(dim=1)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Embeddings (B, out_embed_dim) of each modality given: scaled unit vectors, averaged over clips.

        Raises:
            ValueError: a modality that ImageBind does not have, or an input of the wrong shape.
        """
        return {
            modality: self.clip_embeddings(modality, media).mean(dim=1) for modality, media in inputs.items()
        }

    def _embeddings(self, modality: str, hidden: Tensor, media: Tensor) -> Tensor:
        return self.modality_postprocessors[modality](
            self.head(modality, self.select(modality, hidden, media))
        )

    def _patches(self, modality: str, hidden: Tensor) -> Tensor:
        scale = Normalize() if modality == "audio" else self.modality_postprocessors[modality]
        return scale(self.head(modality, hidden[:, 1:]))

    @staticmethod
    def _flatten_clips(modality: str, media: Tensor) -> tuple[Tensor, int]:
        if modality not in MODALITIES:
            raise ValueError(f"ImageBind has no modality {modality!r}, only {', '.join(MODALITIES)}")
        return (media.flatten(0, 1) if media.ndim >= 5 else media), len(media)
