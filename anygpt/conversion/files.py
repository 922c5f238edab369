"""Tensors out of other people's files: never code from a pickle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class ConversionError(ValueError):
    """A checkpoint that cannot be converted; the message says what is wrong with which file."""


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors by name in a .safetensors file or one that `torch.save` wrote; they stay on disk until needed.

    Raises:
        ConversionError: the file is missing or broken, or holds anything but tensors by name. What else it holds is
            not run.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # Before torch 1.6 files were no zip archives: these cannot be mapped, and torch says so in a RuntimeError.
        with path.open("rb") as file:
            mapped = file.read(2) == b"PK"
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise ConversionError(f"there is no file {path}") from None
    except UnpicklingError as error:
        reason = " ".join(str(error).split())[:160]
        raise ConversionError(
            f"{path} holds more than tensors, and nothing of it was run; a checkpoint of weights alone is wanted ({reason})"
        ) from None
    except Exception as error:  # torch's and safetensors' for broken files are of many kinds
        raise ConversionError(f"{path} cannot be read: {' '.join(str(error).split())[:160]}") from error
    if not isinstance(content, dict) or not content:
        raise ConversionError(f"{path} holds no tensors by name")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ConversionError(f"{path}: {name!r} is no tensor but of type {type(value).__name__}")
    return {name: value.detach() for name, value in content.items()}  # parameters were saved as such


def listed(names: list[str] | set[str], most: int = 3) -> str:
    """Some of the names, and how many there are."""
    shown = ", ".join(sorted(names)[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"


def compare(
    path: str, found: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]], whose: str
) -> None:
    """Make sure that a file holds the tensors wanted, of their shapes, and no other.

    Raises:
        ConversionError: naming the tensors.
    """
    if missing := wanted.keys() - found.keys():
        raise ConversionError(f"{path} lacks {listed(missing)}, which {whose} has")
    if unknown := found.keys() - wanted.keys():
        raise ConversionError(f"{path} has {listed(unknown)}, which {whose} has not; nothing was converted")
    for name, shape in wanted.items():
        if found[name] != shape:
            raise ConversionError(f"{path}: {name} is {found[name]}, and {whose} has {shape}")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place when the block ends without an error.

    Raises:
        ConversionError: `out` exists and is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConversionError(f"{out} is there already; name a folder that is new or empty")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    temporary.mkdir()
    try:
        yield temporary
        if out.is_dir():
            out.rmdir()
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
