"""Whether a model is as good as the project promises: every measurement of the toy world against its bar.

python benchmarks/quality.py --model anygpt-tiny --count 300 --output-dir out

Exit code 1 if a share is below its bar.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from anygpt.evaluation.scoring import write_json
from anygpt.evaluation.toyworld import measure

ANSWERS = ("image", "video", "audio", "depth", "thermal", "imu")
BARS: dict[str, dict[str, float]] = {
    "image": {"colour": 0.95, "shape": 0.85, "size": 0.95, "place": 0.90, "background": 0.95},
    "audio": {"pitch": 0.95, "contour": 0.90},
    "video": {"motion": 0.85, "colour": 0.95, "shape": 0.80},
    "media": {"media": 0.97},
}
ANSWER_BAR = 0.90  # for every attribute that a given medium carries


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="anygpt-tiny")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path)
    arguments = parser.parse_args()

    from anygpt.model import AnyGPT

    model = AnyGPT.from_pretrained(arguments.model)
    names = (*BARS, *(f"about-{modality}" for modality in ANSWERS))
    tallies, _ = measure(model, arguments.count, names, seed=arguments.seed)
    good = True
    for name in names:
        shares = tallies[name].shares()
        bars = BARS.get(name) or {attribute: ANSWER_BAR for attribute in shares if attribute != "media"}
        for attribute, bar in bars.items():
            good &= shares[attribute] >= bar
            verdict = "ok" if shares[attribute] >= bar else "BELOW"
            print(f"{name:14} {attribute:12} {shares[attribute]:.3f}  at least {bar:.2f}  {verdict}")
    if arguments.output_dir:
        write_json(
            arguments.output_dir / "quality.json", {name: tally.summary() for name, tally in tallies.items()}
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
