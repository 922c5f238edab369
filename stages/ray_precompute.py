"""`stages.precompute` on the machines of a Ray cluster, by Ray Data: the same functions, on blocks of the data's rows.

All machines must have anygpt installed and see the same files under the same paths, the `precomputed` folder among them. A worker opens
the model once, on a GPU of its own where the cluster has any, and writes shards of its own.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from anygpt.config import ConfigError
from stages.config import TrainingConfig
from stages.precompute import PRECOMPUTED, totals
from stages.stage import Stage

BLOCK = 1024  # rows that a worker takes at once


class _Worker:
    """One of the processes among which Ray deals out the rows."""

    def __init__(self, kind: type[Stage[Any]], config: TrainingConfig, what: str, folder: Path) -> None:
        os.chdir(folder)  # relative paths are the person's
        self.work = PRECOMPUTED[what](kind(config))

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        [first], [end] = block["first"], block["end"]
        counts = self.work.run(range(int(first), int(end)))
        return {modality: np.array([count]) for modality, count in counts.items()}


def precompute(what: str, stage: Stage[Any], address: str | None = None) -> Counter[str]:
    """As `stages.precompute.precompute`, on a cluster.

    A file that several workers meet is computed by each of them, and counted so.

    Args:
        address: the cluster's, as `ray.init` takes it; without it, the one that runs on this machine, or a new one of it alone.

    Raises:
        ConfigError: as there, or no Ray.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--ray needs Ray: pip install 'anygpt[ray]'") from error
    work = PRECOMPUTED[what](stage)  # what is wrong with the settings is told before any machine is asked
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise ConfigError(f"no Ray cluster answers at {address}: {error}") from error
    try:
        there = ray.cluster_resources()
        cores = 1 + stage.config.workers
        gpus = int(there.get("GPU", 0))
        workers = gpus or max(int(there["CPU"]) // cores, 1)
        rows = range(0, len(work), BLOCK)
        # made here, not read by tasks: the workers may take all cores, and tasks would wait for one
        blocks = ray.data.from_items(
            [{"first": first, "end": min(first + BLOCK, len(work))} for first in rows],
            override_num_blocks=len(rows),
        )
        counts = blocks.map_batches(
            _Worker,
            fn_constructor_args=(type(stage), stage.config, what, Path.cwd()),
            batch_size=1,
            concurrency=min(workers, len(rows)),
            num_cpus=min(cores, int(there["CPU"])),
            num_gpus=1 if gpus else 0,
        )
        return totals([*counts.iter_rows(), work.found])
    finally:
        ray.shutdown()
