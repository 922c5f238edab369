"""The one error of this room."""


class DecoderError(ValueError):
    """A decoder was given something it cannot use; the message is one line that says what it accepts."""
