"""How good a decoder is by itself: driven by its own text encoder with canonical captions, read back by the judge.

python -m anygpt.evaluation.decoders FOLDER --modality image --count 100 --guidance 1.5 --steps 20
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import Generator

from anygpt.evaluation.scoring import Tally, judge, table, write_json, write_text
from anygpt.evaluation.sheets import Item, contact_sheet
from anygpt.toyworld.phrases import caption_film, caption_picture, caption_sound
from anygpt.toyworld.scenes import Scene, random_scene
from anygpt.toyworld.sounds import Tone, random_tone

if TYPE_CHECKING:
    from decoders.diffusion import Decoder


def random_truth(modality: str, rng: Generator, two_things: float = 0.0) -> tuple[Scene | Tone, str]:
    """What to make, and its canonical caption."""
    if modality == "audio":
        tone = random_tone(rng)
        return tone, caption_sound(tone)
    if modality == "video":
        scene = random_scene(rng, moving=True)
        return scene, caption_film(scene)
    scene = random_scene(rng, two_things=two_things)
    return scene, caption_picture(scene)


def measure_decoder(
    decoder: Decoder,
    count: int,
    *,
    seed: int = 0,
    batch_size: int = 16,
    two_things: float = 0.0,
    settings: dict[str, Any] | None = None,
) -> tuple[Tally, list[Item]]:
    """Decode `count` canonical captions and judge the results.

    Args:
        two_things: share of pictures with two things.
        settings: of the decoder's call, such as num_inference_steps and guidance_scale.

    Returns:
        The tally, and the pictures or films with their words for a contact sheet.
    """
    from tqdm import tqdm

    rng = np.random.default_rng(seed)
    tally, items = Tally(), []
    with tqdm(total=count, unit=decoder.modality, desc="decoding") as bar:
        for start in range(0, count, batch_size):
            wanted = [
                random_truth(decoder.modality, rng, two_things) for _ in range(min(batch_size, count - start))
            ]
            conditioning = decoder.encode_text([caption for _, caption in wanted])
            seeds = [seed + start + index for index in range(len(wanted))]
            media = decoder(conditioning, seeds=seeds, **(settings or {}))
            for (truth, caption), medium in zip(wanted, media, strict=True):
                checks, words = judge(decoder.modality, medium, decoder.rate, truth)
                tally.add(checks, wanted=caption, seen=words)
                items.append((decoder.modality, medium, caption, checks["all"]))
            bar.update(len(wanted))
    return tally, items


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="a diffusers pipeline's folder, or its hub id")
    parser.add_argument("--modality", choices=("image", "audio", "video"), help="what it must make")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--two-things", type=float, default=0.0, help="share of pictures with two things")
    parser.add_argument("--output-dir", type=Path, help="where results.json, results.md and sheet.png go")
    arguments = parser.parse_args()

    from decoders.diffusion import Decoder

    decoder = Decoder.from_pretrained(arguments.folder, arguments.modality)
    given = {"guidance_scale": arguments.guidance, "num_inference_steps": arguments.steps}
    tally, items = measure_decoder(
        decoder,
        arguments.count,
        seed=arguments.seed,
        batch_size=arguments.batch_size,
        two_things=arguments.two_things,
        settings={name: value for name, value in given.items() if value is not None},
    )
    text = table({decoder.modality: tally.shares()})
    print(text)
    for case in tally.summary(10)["worst"]:
        print(json.dumps(case))
    if arguments.output_dir:
        write_json(arguments.output_dir / "results.json", tally.summary())
        write_text(arguments.output_dir / "results.md", text)
        contact_sheet(items[:64], arguments.output_dir / "sheet.png")


if __name__ == "__main__":
    main()
