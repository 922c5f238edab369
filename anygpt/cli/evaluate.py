"""`anygpt evaluate`: measure a model, and write a report."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from anygpt.cli.errors import CommandError
from anygpt.cli.files import check_output_dir
from anygpt.cli.loading import find_model, load_model
from anygpt.evaluation import ALL
from anygpt.evaluation.in_context import MOST_SHOTS, SHOTS, SUITE
from anygpt.evaluation.suites import check_suites, evaluate, plan
from anygpt.fitting import read_loading


def run_suites(
    model: str,
    suite: str,
    *,
    data: Path | None,
    report: Path,
    count: int | None,
    seed: int,
    shots: str | None,
    features: str | None,
    load: Sequence[str] = (),
) -> None:
    """Run one suite or `ALL`, and write the report. All is checked before the model is loaded.

    Args:
        count: cases of each cell; None takes 100, and all of a file.
        shots: numbers of examples before a question, such as "0,1,2", for the suite in-context.
        features: an encoder by which FID and CLIPScore compare; None takes the model's own.
        load: how the model is loaded (see `anygpt.fitting.read_loading`).
    """
    loading = read_loading(load)
    suites = ALL if suite == "all" else (suite,)
    check_suites(suites, data)
    numbers = _numbers(shots, suites)
    check_output_dir(report, "--report")
    folder, config = find_model(model)
    count = count if count is not None else (0 if data else 100)
    for name in suites:
        plan(name, config, count, seed, data, numbers)
    anygpt = load_model(folder, config, loading)
    from anygpt.evaluation.literature import features_of
    from anygpt.evaluation.report import write_report
    from encoders import load_encoder

    compared = features_of(load_encoder(features), features) if features else None
    try:
        evaluate(
            anygpt,
            suites,
            report,
            count=count,
            seed=seed,
            data=data,
            shots=numbers,
            features=compared,
            settings={
                "model": model,
                "weights": _weights(folder),
                **({"load": sorted(load)} if load else {}),
            },
        )
    except KeyboardInterrupt:
        print("stopped; what is done is kept, the same command goes on", file=sys.stderr)
        raise
    print(write_report(report))


def _numbers(shots: str | None, suites: Sequence[str]) -> tuple[int, ...]:
    """The numbers of shots in an option such as "0,1,2,4,8"."""
    if shots is None:
        return SHOTS
    if SUITE not in suites:
        raise CommandError(f"--shots is for the suite {SUITE}")
    words = [word.strip() for word in shots.split(",")]
    if not all(word.isascii() and word.isdigit() and int(word) <= MOST_SHOTS for word in words):
        raise CommandError(f"--shots takes numbers from 0 to {MOST_SHOTS} such as 0,1,2,4,8, not {shots!r}")
    return tuple(sorted({int(word) for word in words}))


def _weights(folder: Path) -> str:
    """A digest of a checkpoint's files by name, size and time: another one, other answers."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        facts = path.stat()
        digest.update(f"{path.relative_to(folder)} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
