"""ImageBind: image, video, text, audio, depth, thermal and IMU in one embedding space."""

from encoders.imagebind.configuration import ImageBindConfig
from encoders.imagebind.encoder import ImageBindEncoder
from encoders.imagebind.model import ImageBindModel
from encoders.imagebind.preprocessing import ImageBindPreprocessor
from encoders.imagebind.tokenizer import ImageBindTokenizer

__all__ = [
    "ImageBindConfig",
    "ImageBindEncoder",
    "ImageBindModel",
    "ImageBindPreprocessor",
    "ImageBindTokenizer",
]
