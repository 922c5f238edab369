"""What the memory of stage 3 with LoRA is made of, part by part, found out on the meta device: no weights, no GPU.

    python -m benchmarks.memory [PRESET]

The LLM and the decoders are in bfloat16, encoders and all that trains in float32, as `dtype: bfloat16` has them. What a step takes besides is
measured on one example (see `anygpt.footprint`); gradients and AdamW's averages are as large as what trains.
"""

from __future__ import annotations

import argparse

from anygpt.checkpoint import ASSETS, find_preset, read_preset
from anygpt.cli.loading import be_quiet
from anygpt.footprint import ADAM, TRAINING_TOKENS, count, decoder_parts, training_peak
from anygpt.outline import outline
from stages.modality_switching import ModalitySwitching, ModalitySwitchingConfig

HALF, FULL = 2, 4  # bytes of a number
GIB = 2**30


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("preset", nargs="?", default="nextgpt")
    given = parser.parse_args()
    path = find_preset(given.preset)
    if path is None:
        parser.error(f"there is no preset {given.preset!r}")
    be_quiet()
    whole = outline(read_preset(path), ASSETS / path.stem if (ASSETS / path.stem).is_dir() else path.parent)
    groups = ModalitySwitching(ModalitySwitchingConfig(given.preset, "", 1)).prepare(whole.model)
    trained = [parameter for group in groups.values() for parameter in group]
    numbers = {name: sum(p.numel() for p in group) for name, group in groups.items()}
    peak = training_peak(whole, trained, encoders=True, decoders=True)
    llm = count([whole.model.llm], buffers=True) - numbers["lora"]
    rows = {
        "LLM, frozen, bfloat16": llm * HALF,
        "encoders, frozen, float32": count(whole.encoders.values(), buffers=True) * FULL,
        "decoders, frozen, bfloat16": count(decoder_parts(whole), buffers=True) * HALF,
        **{f"{name}, trained, float32": number * FULL for name, number in numbers.items()},
        "their gradients": sum(numbers.values()) * FULL,
        "AdamW's averages": sum(numbers.values()) * FULL * ADAM,
        f"a step, one example of {TRAINING_TOKENS} tokens": peak.work * HALF,
    }
    print(f"| stage 3 of {given.preset} | GiB |\n| --- | ---: |")
    for name, size in rows.items():
        print(f"| {name} | {size / GIB:.2f} |")
    print(f"| all | {sum(rows.values()) / GIB:.2f} |")


if __name__ == "__main__":
    main()
