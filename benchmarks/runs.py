"""What benchmarks of several runs have in common: tables with the spread over seeds, and an ending that can go on."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence

from stages.training import Interrupted, TrainingError

Figures = dict[str, float]


def tables(title: str, found: dict[tuple[str, str], list[Figures]], about: str) -> str:
    """Figures of each (group, name), a row of the seeds' mean and standard deviation, as Markdown."""
    text = [f"# {title}\n\n{about}"]
    for group in dict.fromkeys(group for group, _ in found):
        rows = {name: figures for (of, name), figures in found.items() if of == group}
        if rows:
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
