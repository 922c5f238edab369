"""A stage's command line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from safetensors import SafetensorError

from anygpt.config import ConfigError
from stages import ray_precompute
from stages.checkpoints import CheckpointError
from stages.config import read_config
from stages.dry_run import dry_run
from stages.precompute import PRECOMPUTED, precompute, processes
from stages.stage import Stage
from stages.training import Interrupted, TrainingError, train


class _Arguments(argparse.ArgumentParser):
    """An argument parser whose errors are one line, as all others of the command line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def run(kind: type[Stage[Any]], arguments: Sequence[str] | None = None) -> int:
    """A stage's command line; returns the exit code.

    0, also where SIGTERM stopped the run and it was saved; 1 for a run that cannot go on, 2 for a mistake of the user's, 130
    after Ctrl-C.
    """
    about = (kind.__doc__ or "").partition("\n")[0]
    parser = _Arguments(prog=f"anygpt train {kind.name}", description=about)
    parser.add_argument("--config", required=True, metavar="FILE", help="the stage's settings, a YAML file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting in place of the file's"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint, where there is one"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would train, the memory of each part and the steps; no weights are loaded",
    )
    parser.add_argument(
        "--precompute",
        choices=PRECOMPUTED,
        help="do not train: compute these for the data, into the folder that `precomputed` names",
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="with --precompute, on a Ray cluster; unless an address is given, this machine's",
    )
    parser.add_argument(
        "--max-skipped",
        metavar="SHARE",
        help="of the data's items, may be left out; as --set max_skipped=SHARE",
    )
    try:
        given = parser.parse_args(arguments)
        changes = [*given.set, *([f"max_skipped={given.max_skipped}"] if given.max_skipped else [])]
        if given.ray is not None and not given.precompute:
            raise ConfigError("--ray is for anygpt precompute; training over several machines is torchrun's")
        stage = kind(read_config(kind.settings, given.config, changes))
        if given.dry_run:
            print(dry_run(stage, int(os.environ.get("WORLD_SIZE", "1"))))
        elif given.precompute:
            if given.ray is None:
                counts = precompute(given.precompute, stage)
            else:
                counts = ray_precompute.precompute(given.precompute, stage, given.ray or None)
            new = ", ".join(f"{modality} {count}" for modality, count in counts.items())
            processes().print(f"{given.precompute} in {stage.config.precomputed}, new ones: {new}")
        else:
            train(stage, resume=given.resume)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return 0 if stop.number == signal.SIGTERM else 128 + stop.number
    except KeyboardInterrupt:  # before the first step there is nothing to save
        return 128 + signal.SIGINT
    except (TrainingError, CheckpointError, SafetensorError) as error:  # the last: a full disk, at the end
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:  # OSError: transformers' for a frozen part that is not there
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0
