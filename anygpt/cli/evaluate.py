"""`anygpt evaluate`: measure a model, and write a report."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from anygpt.cli.files import check_output_dir
from anygpt.cli.loading import find_model, load_model
from anygpt.evaluation import SUITES
from anygpt.evaluation.suites import check_suites, evaluate, plan


def run_suites(
    model: str,
    suite: str,
    *,
    data: Path | None,
    report: Path,
    count: int | None,
    seed: int,
    features: str | None,
) -> None:
    """Run one suite or all, and write the report. All is checked before the model is loaded.

    Args:
        count: cases of each cell; None takes 100, and all of a file.
        features: an encoder by which FID and CLIPScore compare; None takes the model's own.
    """
    suites = SUITES if suite == "all" else (suite,)
    check_suites(suites, data)
    check_output_dir(report, "--report")
    folder, config = find_model(model)
    count = count if count is not None else (0 if data else 100)
    for name in suites:
        plan(name, config, count, seed, data)
    anygpt = load_model(folder, config)
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
            features=compared,
            settings={"model": model, "weights": _weights(folder)},
        )
    except KeyboardInterrupt:
        print("stopped; what is done is kept, the same command goes on", file=sys.stderr)
        raise
    print(write_report(report))


def _weights(folder: Path) -> str:
    """A digest of a checkpoint's files by name, size and time: another one, other answers."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        facts = path.stat()
        digest.update(f"{path.relative_to(folder)} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
