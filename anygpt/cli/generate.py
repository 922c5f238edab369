"""`anygpt generate`: one request, one answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anygpt.cli.answering import as_json, show
from anygpt.cli.boxes import as_json as boxes_as_json
from anygpt.cli.boxes import draw_boxes, show_boxes, window_of
from anygpt.cli.errors import CommandError
from anygpt.cli.examples import read_examples
from anygpt.cli.files import check_output_dir, save_medium
from anygpt.cli.loading import check_modality, find_model, load_model
from anygpt.cli.terminal import Screen
from anygpt.grounding import in_view
from anygpt.options import Options
from encoders import media


def generate(
    prompt: str,
    files: list[tuple[str, Path]],
    *,
    model: str,
    output_dir: Path,
    options: dict[str, Any],
    json_output: bool,
    examples: Path | None,
    shots: int | None,
    interleaved: bool,
    boxes: bool,
    loading: dict[str, Any],
) -> None:
    """Answer `prompt` about `files`, (modality, path) each. All is checked before the model is loaded.

    Args:
        examples, shots, interleaved: see `anygpt.cli.examples`.
        boxes: draw those of the answer; those of the prompt are then of the given picture, whatever is seen of it.
        loading: how the model is loaded (see `anygpt.fitting.read_loading`).
    """
    if not prompt.strip() and not files:
        raise CommandError("the prompt is empty; say something, or give a file such as --image PATH")
    check_output_dir(output_dir)
    folder, config = find_model(model)
    Options.read(options, config.outputs)
    content: list[dict[str, Any]] = []
    for modality, path in files:
        check_modality(modality, config)
        content.append({"type": modality, modality: media.read(modality, path)})
    shown = read_examples(examples, shots, interleaved, config)
    pictures = [part["image"] for part in content if part["type"] == "image"]
    picture = pictures[-1] if pictures else None
    anygpt = load_model(folder, config, loading)
    if prompt.strip():
        if boxes and picture is not None:
            prompt = in_view(prompt, window_of(anygpt, picture))
        content.append({"type": "text", "text": prompt})
    messages = [{"role": "user", "content": content}]
    if shown is not None:
        messages = shown.before(anygpt, messages)
    if not json_output:
        screen = Screen(lively=False)
        answer = show(anygpt.stream(messages, **options), screen, output_dir)
        if boxes:
            show_boxes(anygpt, answer, picture, output_dir, screen)
        return
    from anygpt.generation import last

    reply = last(anygpt.stream(messages, **options))
    paths = [
        save_medium(part["type"], part[part["type"]], output_dir)
        for part in reply.content
        if part["type"] != "text"
    ]
    told = as_json(reply, paths)
    if boxes:
        told |= boxes_as_json(*draw_boxes(anygpt, told["content"], picture, output_dir))
    print(json.dumps(told, ensure_ascii=False))
