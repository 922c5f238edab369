"""Measurements on the toy world: what a decoder or a whole model makes, read back from pixels, samples and words."""
