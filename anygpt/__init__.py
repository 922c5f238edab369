"""AnyGPT: one language model that reads and writes text, pictures, sound and film.

    from anygpt import AnyGPT
    reply = AnyGPT.from_pretrained("anygpt-tiny").chat("draw a red circle")

Nothing heavy is imported until a name is used: `import anygpt` does not import torch.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anygpt.config import AnyGPTConfig
    from anygpt.generation import Done, MediaDone, MediaProgress, MediaStarted, Reply, Session, TextDelta
    from anygpt.messages import MessageError
    from anygpt.model import AnyGPT
    from anygpt.pipeline import pipeline

__version__ = "0.1.0"

_HOME = {
    "AnyGPT": "anygpt.model",
    "AnyGPTConfig": "anygpt.config",
    "Done": "anygpt.generation",
    "MediaDone": "anygpt.generation",
    "MediaProgress": "anygpt.generation",
    "MediaStarted": "anygpt.generation",
    "MessageError": "anygpt.messages",
    "Reply": "anygpt.generation",
    "Session": "anygpt.generation",
    "TextDelta": "anygpt.generation",
    "pipeline": "anygpt.pipeline",
}
__all__ = [
    "AnyGPT",
    "AnyGPTConfig",
    "Done",
    "MediaDone",
    "MediaProgress",
    "MediaStarted",
    "MessageError",
    "Reply",
    "Session",
    "TextDelta",
    "pipeline",
]


def _check_neighbours() -> None:
    """Our neighbours `encoders`, `decoders` and `stages` have plain names: make sure that ours are found."""
    home = Path(__file__).resolve().parents[1]
    for name in ("encoders", "decoders", "stages"):
        spec = find_spec(name)
        if spec is None:
            raise ImportError(f"anygpt's own package '{name}' is missing from {home}: install anygpt again.")
        found = (
            Path(spec.origin).parent
            if spec.origin
            else Path(next(iter(spec.submodule_search_locations or ["?"])))
        )
        if found.resolve() != home / name:
            raise ImportError(
                f"'{found}' shadows anygpt's own package '{name}' ({home / name}): rename your '{name}', "
                "or start Python from another folder."
            )


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'anygpt' has no attribute '{name}'")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_check_neighbours()
