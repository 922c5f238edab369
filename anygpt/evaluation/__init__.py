"""Measurements: what a model makes and says, read back from pixels, samples and words, or compared with references."""

ALL = (  # what `--suite all` runs
    "toyworld",
    "switching",
    "in-context",
    "image-caption",
    "vqa",
    "text-to-image",
    "text-to-audio",
    "text-to-video",
)
SUITES = (*ALL, "ways-out", "grounding")
