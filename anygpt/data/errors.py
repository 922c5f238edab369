"""What can be wrong with data: a mistake of the person's, or one bad item among good ones."""

from __future__ import annotations

REASONS = (
    "missing",
    "empty",
    "truncated",
    "wrong type",
    "wrong size",
    "damaged",
    "too long",
    "undecodable text",
    "outside the folder",
    "malformed row",
    "not for this model",
)


class DataError(ValueError):
    """Data that cannot be used at all; the message is one line that says what would do."""


class BadItem(ValueError):
    """One item that cannot be used; the others may be.

    Attributes:
        reason: one of `REASONS`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
