"""Modality switching in figures: media asked for against media given, dialogues, and when the model says "I can't"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from anygpt.evaluation.running import Record
from anygpt.evaluation.scoring import Tally

NONE = "none"
DIALOGUE = "dialogue"


def set_name(media: Sequence[str]) -> str:
    """A set of media by one name: "audio + image", "none"; "2 image" where one comes twice."""
    counts = Counter(media)
    return " + ".join(f"{n} {name}" if n > 1 else name for name, n in sorted(counts.items())) or NONE


def summarise_switching(conversations: Sequence[Record]) -> dict[str, Any]:
    """Figures over conversations, each with its "cell" and "turns".

    Returns:
        "confusion": set asked for → set given → how often; "kinds": the share of right sets for each kind of request, and of
        right words; "right": that over all; "dialogues": the share of those with all turns right, by their length;
        "refusals": honest ones "outside" and needless ones "inside", with what they are out of; "worst" cases.
    """
    confusion: dict[str, Counter[str]] = {}
    kinds: dict[str, Tally] = {}
    everything = Tally()
    refused: dict[str, list[bool]] = {"outside": [], "inside": []}
    lengths: dict[str, list[bool]] = {}
    for conversation in conversations:
        turns = conversation["turns"]
        for record in turns:
            confusion.setdefault(set_name(record["asked"]), Counter())[set_name(record["given"])] += 1
            checks = {name: record["checks"][name] for name in ("media", "words") if name in record["checks"]}
            if record["refuse"]:
                checks["refusal"] = record["refused"]
            case = {"id": conversation["id"], "wanted": record["wanted"], "seen": record["seen"]}
            kind = record["kind"] or "given examples"
            within = f"{kind}, in a dialogue" if conversation["cell"] == DIALOGUE else kind
            kinds.setdefault(within, Tally()).add(checks, **case)
            everything.add(checks, **case)
            refused["outside" if record["refuse"] else "inside"].append(record["refused"])
        if conversation["cell"] == DIALOGUE:
            right = all(record["checks"]["media"] for record in turns)
            lengths.setdefault(f"{len(turns)} turns", []).append(right)
    whole = [right for rights in lengths.values() for right in rights]
    return {
        "confusion": {asked: dict(given.most_common()) for asked, given in sorted(confusion.items())},
        "kinds": {kind: tally.summary(0) for kind, tally in sorted(kinds.items())},
        "right": share(record["checks"]["media"] for c in conversations for record in c["turns"]),
        "dialogues": {
            **{length: share(rights) for length, rights in sorted(lengths.items())},
            **({"all": share(whole)} if whole else {}),
        },
        "refusals": {where: share(values) for where, values in refused.items() if values},
        "worst": everything.worst(20),
    }


def share(values: Any) -> dict[str, float]:
    """How many are true, with the standard error."""
    flags = np.array(list(values), float)
    mean = float(flags.mean()) if len(flags) else float("nan")
    error = float(np.sqrt(mean * (1 - mean) / len(flags))) if len(flags) else float("nan")
    return {"share": round(mean, 4), "error": round(error, 4), "of": len(flags)}
