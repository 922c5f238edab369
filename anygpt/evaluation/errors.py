"""What a person can mend when measuring."""

from __future__ import annotations


class EvaluationError(ValueError):
    """A measurement that cannot be made as asked for; the message is one line that says what would do."""
