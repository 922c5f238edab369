"""What benchmarks of several runs have in common: arguments, tables with the spread over seeds, an ending that can go on."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stages.training import Interrupted, TrainingError

Figures = dict[str, float]


def read_arguments(description: str | None, steps: int, of_what: str, output: str) -> argparse.Namespace:
    """`--steps`, `--seeds`, `--requests` and `--output`, checked.

    Args:
        steps: unless others are given, so many `of_what`.
        output: the folder of the results.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=steps, help=f"of each {of_what}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=8, help="for each medium, which are judged")
    parser.add_argument("--output", type=Path, default=Path(output))
    given = parser.parse_args()
    if min(given.steps, given.seeds, given.requests) < 1:
        parser.error("--steps, --seeds and --requests are at least 1")
    return given


def tables(title: str, found: dict[tuple[str, str], list[Figures]], about: str) -> str:
    """Figures of each (group, name), a row of the seeds' mean and standard deviation, as Markdown."""
    text = [f"# {title}\n\n{about}"]
    for group in dict.fromkeys(group for group, _ in found):
        rows = {name: figures for (of, name), figures in found.items() if of == group}
        names = list(next(iter(rows.values()))[0])
        text.append(f"\n## {group[0].upper()}{group[1:]}\n")
        text += [f"| | {' | '.join(names)} | seeds |", "| --- |" + " ---: |" * (len(names) + 1)]
        for row, figures in rows.items():
            cells = [told([figure[name] for figure in figures]) for name in names]
            text.append(f"| {row} | {' | '.join(cells)} | {len(figures)} |")
    return "\n".join(text) + "\n"


def told(values: Sequence[float]) -> str:
    """The mean, and the standard deviation where there are several."""
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def exit_code(work: Callable[[], None]) -> int:
    """Of a benchmark that goes on where it was stopped: 0, 130 after Ctrl-C or SIGTERM, 1 where it cannot go on."""
    try:
        work()
    except (Interrupted, KeyboardInterrupt):
        print("stopped; what is done is kept, the same command goes on", file=sys.stderr)
        return 130
    except (TrainingError, ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0
