"""`anygpt data`: other people's data in our own schema, and a look at them before training."""

from __future__ import annotations

import sys
from pathlib import Path

from anygpt.cli.errors import CommandError
from anygpt.cli.files import check_output_dir
from anygpt.data import Source, open_source


def convert_data(source: Source, output: Path, most: float) -> None:
    """Write a source as JSON Lines; what is left out is told."""
    from anygpt.data.convert import convert

    check_output_dir(output.parent, "OUTPUT")
    if output.is_dir():
        raise CommandError(f"OUTPUT {output} is a folder; name a file, such as {output / 'train.jsonl'}")
    if output.resolve() == Path(source.path).resolve():
        raise CommandError(f"OUTPUT {output} is the file that is to be read; name another one")
    skipped = convert(open_source(source), output, most)
    print(f"{output}: {skipped.read - skipped.left_out} rows; their media are in {source.folder}")
    if skipped.left_out:
        print(f"{skipped.left_out} left out: {skipped.path}", file=sys.stderr)


def check_data(source: Source, report: Path) -> None:
    """Write a report on a source; its counts are told."""
    from anygpt.data.check import REPORT, check

    check_output_dir(report, "--report")
    findings = check(open_source(source), report)
    print(f"{findings.rows} rows, {findings.usable} usable")
    for reason, count in findings.reasons.most_common():
        print(f"{count} {reason}")
    print(report / REPORT)
