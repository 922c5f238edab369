"""The sizes of an ImageBind model: the reference constructor's arguments, and its constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

MODALITIES = ("vision", "text", "audio", "depth", "thermal", "imu")


@dataclass(frozen=True)
class ImageBindConfig:
    """Sizes of an `ImageBindModel`; the names and defaults are those of the reference constructor.

    The last five fields are constants in the reference (224, 2000, 49408, 77 and 0.5), settable here so that
    a model can be tiny. Lengths are in the unit of the input: pixels, mel bands, spectrogram frames, samples.

    Raises:
        ValueError: a width that its heads do not divide, or a kernel larger than what it looks at.
    """

    video_frames: int = 2
    kernel_size: tuple[int, int, int] = (2, 14, 14)  # frames, rows, columns
    audio_kernel_size: int = 16
    audio_stride: int = 10
    out_embed_dim: int = 768
    vision_embed_dim: int = 1024
    vision_num_blocks: int = 24
    vision_num_heads: int = 16
    audio_embed_dim: int = 768
    audio_num_blocks: int = 12
    audio_num_heads: int = 12
    audio_num_mel_bins: int = 128
    audio_target_len: int = 204
    audio_drop_path: float = 0.1
    text_embed_dim: int = 768
    text_num_blocks: int = 12
    text_num_heads: int = 12
    depth_embed_dim: int = 384
    depth_kernel_size: int = 16
    depth_num_blocks: int = 12
    depth_num_heads: int = 8
    depth_drop_path: float = 0.0
    thermal_embed_dim: int = 768
    thermal_kernel_size: int = 16
    thermal_num_blocks: int = 12
    thermal_num_heads: int = 12
    thermal_drop_path: float = 0.0
    imu_embed_dim: int = 512
    imu_kernel_size: int = 8  # taken and not used, as in the reference: an IMU patch is always 8 samples
    imu_num_blocks: int = 6
    imu_num_heads: int = 8
    imu_drop_path: float = 0.7
    image_size: int = 224  # side of the square behind the position tables of vision, depth and thermal
    imu_length: int = 2000
    vocab_size: int = 49408
    context_length: int = 77
    imu_head_dropout: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel_size", tuple(self.kernel_size))  # JSON has lists
        for modality in MODALITIES:
            width, heads = self.embed_dim(modality), self.num_heads(modality)
            if width % heads:
                raise ValueError(
                    f"{modality}_embed_dim {width} is not a multiple of {modality}_num_heads {heads}"
                )
        if len(self.kernel_size) != 3:
            raise ValueError(f"kernel_size must be (frames, rows, columns), not {self.kernel_size}")
        for modality in ("vision", "audio", "depth", "thermal"):
            if min(self.layout(modality)) < 1:
                raise ValueError(
                    f"the {modality} kernel is larger than its input: patch layout {self.layout(modality)}"
                )
        if self.imu_length < 8:
            raise ValueError(f"imu_length must be at least one patch of 8 samples, not {self.imu_length}")

    def embed_dim(self, modality: str) -> int:
        """Width of a modality's trunk."""
        return getattr(self, f"{modality}_embed_dim")

    def num_blocks(self, modality: str) -> int:
        """Number of transformer blocks of a modality's trunk."""
        return getattr(self, f"{modality}_num_blocks")

    def num_heads(self, modality: str) -> int:
        """Number of attention heads of a modality's trunk."""
        return getattr(self, f"{modality}_num_heads")

    def drop_path(self, modality: str) -> float:
        """Drop path rate of the last block; vision and text have none."""
        return getattr(self, f"{modality}_drop_path", 0.0)

    def layout(self, modality: str) -> tuple[int, ...]:
        """Patches along each axis: (frames, rows, columns) of vision, else (rows, columns)."""
        side = self.image_size
        if modality == "vision":
            frames, rows, columns = self.kernel_size
            return self.video_frames // frames, side // rows, side // columns
        if modality == "audio":
            kernel, stride = self.audio_kernel_size, self.audio_stride
            return tuple((n - kernel) // stride + 1 for n in (self.audio_num_mel_bins, self.audio_target_len))
        kernel = getattr(self, f"{modality}_kernel_size")
        return side // kernel, side // kernel

    @classmethod
    def huge(cls) -> ImageBindConfig:
        """The published `imagebind_huge`: 1.2 billion parameters, embeddings of 1024."""
        return cls(
            out_embed_dim=1024,
            vision_embed_dim=1280,
            vision_num_blocks=32,
            vision_num_heads=16,
            text_embed_dim=1024,
            text_num_blocks=24,
            text_num_heads=16,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageBindConfig:
        """The config of a `config.json`; names it does not know raise ValueError."""
        given = {name: value for name, value in values.items() if name != "model_type"}
        unknown = given.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown ImageBind settings: {', '.join(sorted(unknown))}")
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """The content of a `config.json`, with its `model_type`."""
        return {"model_type": "imagebind"} | asdict(self)
