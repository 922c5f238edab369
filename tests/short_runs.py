"""Short runs of the stages on a tiny model that takes all six modalities."""

from pathlib import Path
from typing import Any

from anygpt.config import AdapterConfig, InputConfig
from stages.decoder_alignment import DecoderAlignment
from stages.encoding_alignment import EncodingAlignment
from stages.modality_switching import ModalitySwitching
from stages.stage import Stage

INPUTS = {
    modality: InputConfig("imagebind", "pooled", AdapterConfig("linear", tokens=2))
    for modality in ("image", "audio", "video", "depth", "thermal", "imu")
}
STAGES: dict[str, type[Stage[Any]]] = {
    kind.name: kind for kind in (EncodingAlignment, DecoderAlignment, ModalitySwitching)
}


def stage_on(kind: type[Stage[Any]], checkpoint: Path, output: Path, **changes: Any) -> Stage[Any]:
    """A stage with settings small enough for a test."""
    settings: dict[str, Any] = {
        "model": str(checkpoint),
        "output": str(output),
        "steps": 2,
        "batch_size": 4,
        "learning_rate": 1e-2,
        "workers": 0,
        "log_steps": 1,
        "validation_examples": 2,
        "measured_examples": 2,
        **changes,
    }
    return kind(kind.settings(**settings))
