"""Frozen models that turn media into features: ImageBind, and any vision or audio encoder of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from encoders.encoder import Encoder


def load_encoder(path_or_id: str | Path) -> Encoder:
    """The encoder in a local folder or on the hub, of the kind that its `config.json` names.

    Raises:
        ValueError: there is no such checkpoint, or it is incomplete or of another kind.
    """
    # Imported here, so that reading media (`encoders.media`) costs no import of torch.
    from encoders.encoder import find_checkpoint, read_json
    from encoders.imagebind import ImageBindEncoder
    from encoders.transformers_encoder import TransformersEncoder

    path = find_checkpoint(path_or_id)
    if path.suffix == ".pth" or (path / "imagebind_huge.pth").is_file():
        return ImageBindEncoder.from_pretrained(path)
    kinds: dict[str, type[Encoder]] = {"imagebind": ImageBindEncoder}
    model_type = read_json(path / "config.json").get("model_type", "")
    return kinds.get(model_type, TransformersEncoder).from_pretrained(path)


__all__ = ["load_encoder"]
