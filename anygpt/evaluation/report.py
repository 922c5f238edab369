"""The report: `results.json` and the cases told in Markdown, with a gallery of what was made and the worst cases."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anygpt.evaluation.gallery import as_picture
from anygpt.evaluation.requests import CARRIED
from anygpt.evaluation.running import CASES, Record, folder_name
from anygpt.evaluation.scoring import SHOWN, table, write_text
from anygpt.evaluation.suites import RESULTS

REPORT, GALLERY = "report.md", "gallery"
SHOWN_A_CELL = 4  # pictures of each cell
WORST_A_CELL = 2
WORST = 12
MEANINGS = {
    "BLEU-4": "0 to 1",
    "ROUGE-L": "0 to 1",
    "CIDEr": "0 to 10 (CIDEr-D)",
    "VQA accuracy": "0 to 1",
    "media": "share of answers with the right set of media",
    "CLIPScore": "0 to 100, the more the better",
    "FID": "0 is best",
    "FAD": "0 is best",
    "FVD": "0 is best",
}


def write_report(folder: Path) -> Path:
    """Write `report.md` and the gallery beside the results in `folder`; the report's path."""
    results = json.loads((folder / RESULTS).read_bytes())
    records = {record["id"]: record for record in map(json.loads, (folder / CASES).read_bytes().splitlines())}
    about = results["about"]
    source = f"the data in `{about['data']}`" if about["data"] else "new cases from the toy world"
    text = [
        f"# How good {about.get('model', 'the model')} is",
        f"Measured on {source}, seed {about['seed']}.",
    ]
    for suite, figures in results["suites"].items():
        text += [f"## {suite}", _sample(figures["count"]), *SECTIONS.get(suite, _literature)(figures)]
        mine = [record for record in records.values() if record["id"].startswith(f"{suite}/")]
        text += _gallery(mine, folder)
    write_text(folder / REPORT, "\n\n".join(part.rstrip() for part in text if part) + "\n")
    return folder / REPORT


def _sample(count: int) -> str:
    return f"Cases of each cell: {count}." if count else "All cases of the file."


def _matrix(figures: dict[str, Any]) -> list[str]:
    cells = figures["cells"]
    rows = [
        [
            given,
            *(
                _share(cells[name]) if (name := f"{given} to {made}") in cells else ""
                for made in ("text", *SHOWN)
            ),
        ]
        for given in ("text", *CARRIED)
        if any(name.startswith(f"{given} to") for name in cells)
    ]
    columns = ("right", "error", "seen", "held-out", "chance", "ceiling", "halves")
    details = {
        name: {key: cell[key] for key in columns if cell[key] is not None} for name, cell in cells.items()
    }
    worst = [
        f"- {name}: wanted “{case['wanted']}”, got “{case['seen']}”; wrong: {', '.join(case['wrong'])}"
        for name, cell in cells.items()
        for case in cell["attributes"]["all"]["worst"][:WORST_A_CELL]
    ]
    return [
        "The share of attributes that are right, with its standard error: down what is given, across what is asked for.",
        _table(["given", "text", *SHOWN], rows),
        "Seen and held-out things apart, beside chance (an even guess among an attribute's values), the ceiling of the frozen "
        "parts alone (a linear probe of the encoder times the decoder driven by its own text encoder), and what the cell's two "
        "halves let expect (the model's own answers about the given medium times its media on request).",
        table(details),
        "Attribute by attribute:",
        table({name: cell["attributes"]["all"]["shares"] for name, cell in cells.items()}),
        "The frozen parts by themselves:",
        table(figures["ceilings"]),
        "### Worst cases",
        "\n".join(worst) or "None.",
    ]


def _share(cell: Mapping[str, Any]) -> str:
    if cell["right"] is None:  # nothing that the given medium carries is shown: the medium alone counts
        return f"media {cell['attributes']['all']['shares']['media']:.3f}"
    return f"{cell['right']:.3f} ± {cell['error']:.3f}"


def _switching(figures: dict[str, Any]) -> list[str]:
    confusion: dict[str, dict[str, int]] = figures["confusion"]
    given = sorted(
        {name for row in confusion.values() for name in row}, key=lambda name: (name not in confusion, name)
    )
    rows = [[asked, *(str(row.get(name, "")) for name in given)] for asked, row in confusion.items()]
    dialogues = [[length, *_counted(figure)] for length, figure in figures["dialogues"].items()]
    meant = {"outside": "honest, outside the world", "inside": "needless, inside it"}
    refusals = [[meant[where], *_counted(figure)] for where, figure in figures["refusals"].items()]
    right = figures["right"]
    return [
        f"The right set of media in {right['share']:.3f} ± {right['error']:.3f} of {right['of']} answers.",
        "Down the media asked for, across those given:",
        _table(["asked \\ given", *given], rows),
        "By kind of request (words: the answer names what was asked for, and nothing else):",
        table({kind: summary["shares"] for kind, summary in figures["kinds"].items()}),
        "Dialogues:" if dialogues else "",
        _table(["", "all turns right", "of"], dialogues) if dialogues else "",
        "Refusals (“I can't”, without a medium):",
        _table(["", "refused", "of"], refusals),
        "### Worst cases",
        "\n".join(
            f"- wanted “{case['wanted']}”, got “{case['seen']}”; wrong: {', '.join(case['wrong'])}"
            for case in figures["worst"][:WORST]
        )
        or "None.",
    ]


def _in_context(figures: dict[str, Any]) -> list[str]:
    text = ["The share of answers that are right, by how many examples stand before the question."]
    for task, cells in figures["tasks"].items():
        chance = ", ".join(f"{name} {share}" for name, share in figures["chance"][task].items())
        names = list(next(iter(cells.values()))["shares"])
        rows = [
            [number, *(f"{cell['shares'][n]:.3f} ± {cell['errors'][n]:.3f}" for n in names)]
            for number, cell in cells.items()
        ]
        text += [f"### {task}", _table(["shots", *names], rows), f"By chance: {chance}." if chance else ""]
    cases = [[case["wanted"], case["seen"]] for case in figures["worst"][:WORST]]
    return [*text, "### Worst cases", _table(["wanted", "seen"], cases)]


def _ways_out(figures: dict[str, Any]) -> list[str]:
    cells: dict[str, dict[str, Any]] = figures["cells"]
    rows = [
        [
            *name.rsplit(", ", 1),
            f"{cell['media']:.3f}",
            f"{cell['right']:.3f} ± {cell['error']:.3f}",
            f"{cell['difference']:+.3f} ± {cell['difference error']:.3f}",
            f"{cell['text']:.2f}",
            f"{cell['medium']:.2f}" if cell["medium"] is not None else "",
        ]
        for name, cell in cells.items()
    ]
    worst = [
        [name, case["wanted"], case["seen"], ", ".join(case["wrong"])]
        for name, cell in cells.items()
        for case in cell["attributes"]["worst"][:WORST_A_CELL]
    ]
    return [
        "The way from the answer to the decoders, on the same requests and with the same noise. Signals: the model's own, signal "
        "tokens and output projections. Captions: the answer's words, read by the decoder's text encoder. Router: keywords choose "
        "the medium, and the request's words (or the LLM's description of a given medium) go to that text encoder.",
        "`media` is the share of answers with the right set of media; `right` the share of attributes right, a medium that is "
        "missing having none; `difference` that to signals, request by request. Seconds are medians of one request at a time.",
        _table(
            ["cell", "way", "media", "right", "difference", "s to the text", "s a medium beyond it"], rows
        ),
        "Attribute by attribute:",
        table({name: cell["attributes"]["shares"] for name, cell in cells.items()}),
        "### Worst cases",
        _table(["cell", "wanted", "seen", "wrong"], worst),
    ]


def _grounding(figures: dict[str, Any]) -> list[str]:
    cells: dict[str, dict[str, Any]] = figures["cells"]
    rows = [
        [name, f"{cell['IoU']:.3f} ± {cell['error']:.3f}"] for name, cell in cells.items() if "IoU" in cell
    ]
    cases = [[case["wanted"], case["seen"], ", ".join(case["wrong"])] for case in figures["worst"][:WORST]]
    return [
        "How far the box that the answer names and the thing's own one cover each other (IoU, 0 to 1; an answer without a box "
        "has 0), and the share of answers that are right.",
        _table(["cell", "mean IoU"], rows),
        table({name: cell["attributes"]["shares"] for name, cell in cells.items()}),
        "### Worst cases",
        _table(["wanted", "seen", "wrong"], cases),
    ]


def _counted(figure: Mapping[str, Any]) -> list[str]:
    return [f"{figure['share']:.3f} ± {figure['error']:.3f}", str(figure["of"])]


def _literature(figures: dict[str, Any]) -> list[str]:
    rows = [[name, f"{value:.4g}", MEANINGS.get(name, "")] for name, value in figures["figures"].items()]
    cases = [[f"{c['score']:.4g}", c["wanted"], c["seen"]] for c in figures["worst"][:WORST]]
    compared = (
        f" Features of {figures['features']}: figures of others cannot be compared."
        if "features" in figures
        else ""
    )
    return [
        f"{figures['of']} cases.{compared}",
        _table(["metric", "value", ""], rows),
        "### Worst cases",
        _table(["score", "wanted", "seen"], cases),
    ]


SECTIONS = {
    "toyworld": _matrix,
    "switching": _switching,
    "in-context": _in_context,
    "ways-out": _ways_out,
    "grounding": _grounding,
}


def _gallery(records: Sequence[Record], folder: Path) -> list[str]:
    """Some media of each cell as PNG files, the first ones and the worst, with what was wanted and what is wrong."""
    chosen: list[Record] = []
    cells: dict[str, list[Record]] = {}
    for record in records:
        if any(turn.get("files") for turn in record["turns"]):
            cells.setdefault(record["id"].rsplit("/", 1)[0], []).append(record)
    for of_cell in cells.values():
        first = of_cell[:SHOWN_A_CELL]
        worst = sorted(of_cell[SHOWN_A_CELL:], key=lambda record: -len(_wrong(record["turns"])))
        chosen += first + [record for record in worst if _wrong(record["turns"])][:WORST_A_CELL]
    rows = [row for record in chosen for row in _pictures(record, folder)]
    return ["### Gallery", _table(["", "wanted", "wrong"], rows)] if rows else []


def _pictures(record: Record, folder: Path) -> Iterable[list[str]]:
    from encoders import media

    for turn in record["turns"]:
        for file in turn.get("files", ()):
            path = Path(GALLERY) / f"{folder_name(record['id'])}-{Path(file).stem}.png"
            if not (folder / path).exists():
                modality = Path(file).name.split("_")[0]
                picture = as_picture(modality, media.read(modality, folder / file))
                (folder / GALLERY).mkdir(exist_ok=True)
                temporary = (folder / path).with_suffix(".part")
                picture.save(temporary, format="PNG")
                temporary.replace(folder / path)
            yield [f"![{file}]({path.as_posix()})", turn["wanted"], ", ".join(_wrong([turn])) or "nothing"]


def _wrong(turns: Sequence[Record]) -> list[str]:
    return [name for turn in turns for name, good in turn["checks"].items() if not good and name != "all"]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(str(cell).replace("|", "/").split()) for cell in cells) + " |"

    return "\n".join([line(head), "|" + " --- |" * len(head), *map(line, rows)])
