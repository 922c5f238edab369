"""A whole model on the toy world: new requests and questions, answered and read back by the judge.

python -m anygpt.evaluation.toyworld --model anygpt-tiny --count 300 --output-dir out [--only image,audio]
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anygpt.evaluation.answers import read_answer
from anygpt.evaluation.requests import MAKERS, Case, new_cases
from anygpt.evaluation.scoring import Checks, Tally, judge, table, write_json, write_text
from anygpt.evaluation.sheets import Item, contact_sheet
from anygpt.toyworld.scenes import Scene, relation

if TYPE_CHECKING:
    from anygpt.generation import Reply
    from anygpt.model import AnyGPT

# Which media an answer holds does not depend on how well they are made.
QUICK = {modality: {"num_inference_steps": 1} for modality in ("image", "audio", "video")}


def check(case: Case, reply: Reply) -> tuple[Checks, str, list[Item]]:
    """What is right in an answer, what is in it in words, and its pictures and films for the contact sheet."""
    made = [part["type"] for part in reply.content if part["type"] != "text"]
    checks: Checks = {"media": Counter(made) == Counter(case.media)}
    found = read_answer(reply.text)
    said = {name: found.get(name) == {value} for name, value in case.said.items()}
    if case.truths:
        checks |= {"words": all(said.values())} if said else {}
    else:
        checks |= said
    seen, items = f"{', '.join(made) or 'no media'}: {reply.text}", []
    for modality, truth in zip(case.media, case.truths, strict=False):
        medium = next((part[modality] for part in reply.content if part["type"] == modality), None)
        if medium is None:
            checks["all"] = False
            continue
        bare = {"audio": lambda m: m.samples, "video": lambda m: m.frames}.get(modality, lambda m: m)(medium)
        results, words = judge(modality, bare, getattr(medium, "rate", None), truth)
        if isinstance(truth, Scene) and len(truth.things) == 2:
            results = _check_pair(results, bare, truth)
        checks |= results
        seen = f"{words} | {seen}"
        if modality != "audio":
            items.append((modality, bare, case.wanted, results["all"]))
    return checks, seen, items


def _check_pair(results: Checks, picture: Any, truth: Scene) -> Checks:
    """Of two things the request says no places, but how they stand to each other."""
    from anygpt.evaluation.judge import see_picture
    from anygpt.toyworld.scenes import Thing

    results = {name: good for name, good in results.items() if name not in ("place", "all")}
    seen = {thing.colour: thing for thing in see_picture(picture).things}
    first, second = (seen.get(thing.colour) for thing in truth.things)
    if first and second:
        stand_ins = [Thing("", "", "", "", centre=thing.centre) for thing in (first, second)]
        results["relation"] = relation(stand_ins[0], stand_ins[1]) == relation(*truth.things)
    else:
        results["relation"] = False
    return results | {"all": all(results.values())}


def measure(
    model: AnyGPT,
    count: int,
    only: tuple[str, ...] = tuple(MAKERS),
    *,
    seed: int = 0,
    batch_size: int = 16,
    options: dict[str, Any] | None = None,
) -> tuple[dict[str, Tally], list[Item]]:
    """Answer `count` new requests of each measurement in `only` and judge the answers.

    Args:
        only: names of `MAKERS`.
        options: of `model.chat`.

    Returns:
        A tally for each group of cases (seen and held-out apart) and for each measurement as a whole; pictures and
        films with their words.
    """
    from tqdm import tqdm

    tallies: dict[str, Tally] = {}
    items: list[Item] = []
    with tqdm(total=count * len(only), unit="answer") as bar:
        for name in only:
            bar.set_description(name)
            cases = new_cases(name, count, np.random.default_rng([seed, list(MAKERS).index(name)]))
            settings = {**(options or {}), **(QUICK if name == "media" else {})}
            for start in range(0, count, batch_size):
                batch = cases[start : start + batch_size]
                replies: Any = model.chat([case.messages for case in batch], seed=seed + start, **settings)
                for case, reply in zip(batch, replies, strict=True):
                    checks, seen, shown = check(case, reply)
                    for group in (name, case.group):
                        tallies.setdefault(group, Tally()).add(checks, wanted=case.wanted, seen=seen)
                    items += shown
                bar.update(len(batch))
    return tallies, items


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="anygpt-tiny", help="a packaged name, a folder or a hub id")
    parser.add_argument("--count", type=int, default=300, help="cases of each measurement")
    parser.add_argument("--only", default=",".join(MAKERS), help=f"some of {','.join(MAKERS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument(
        "--output-dir", type=Path, required=True, help="where results.json, results.md and sheet.png go"
    )
    arguments = parser.parse_args()
    only = tuple(arguments.only.split(","))
    if unknown := [name for name in only if name not in MAKERS]:
        parser.error(f"unknown measurement {unknown[0]!r}; there are {', '.join(MAKERS)}")

    from anygpt.model import AnyGPT

    model = AnyGPT.from_pretrained(arguments.model)
    tallies, items = measure(
        model, arguments.count, only, seed=arguments.seed, batch_size=arguments.batch_size
    )
    summaries = {name: tally.summary() for name, tally in tallies.items()}
    text = table({name: summary["shares"] for name, summary in summaries.items()})
    print(text)
    settings = {"model": str(arguments.model), "count": arguments.count, "seed": arguments.seed}
    write_json(arguments.output_dir / "results.json", {**settings, "measurements": summaries})
    write_text(arguments.output_dir / "results.md", text)
    contact_sheet(_mixed(items), arguments.output_dir / "sheet.png")


def _mixed(items: list[Item], most: int = 48) -> list[Item]:
    """The first pictures and the first films, so many of each at most."""
    return [item for kind in ("image", "video") for item in [i for i in items if i[0] == kind][:most]]


if __name__ == "__main__":
    main()
