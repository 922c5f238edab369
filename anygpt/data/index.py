"""Arrays of pairs of numbers kept in a hidden file beside the one that they are about, so opening that again is quick.

They are mapped into memory, and made anew when the file's size or time has changed. Where the folder cannot be written to, they are
made at every opening.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm


def indexed(path: Path, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array (n, 2) that `make` returns, int64, from the file `.PATH.NAME.npy` where it is of this very `path`."""
    status = path.stat()
    stamp = np.array([[status.st_size, status.st_mtime_ns]], dtype=np.int64)
    place = path.with_name(f".{path.name}.{name}.npy")
    array = _load(place)
    if array is None or not np.array_equal(array[:1], stamp):
        array = np.concatenate([stamp, make()])
        with suppress(OSError):  # a folder that cannot be written to
            _save(place, array)
    return array[1:]


def progress(path: Path, total: int, unit: str) -> tqdm[Any]:
    """The bar that is shown while an index is made."""
    return tqdm(
        total=total,
        unit=unit,
        unit_scale=True,
        desc=f"indexing {path.name}",
        delay=2,
        leave=False,
        disable=None,
    )


def _load(path: Path) -> np.ndarray | None:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    return array if array.dtype == np.int64 and array.ndim == 2 and array.shape[1] == 2 else None


def _save(path: Path, array: np.ndarray) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.save(file, array)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
