"""`anygpt generate`: one request, one answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anygpt.cli.answering import as_json, show
from anygpt.cli.errors import CommandError
from anygpt.cli.files import check_output_dir, save_medium
from anygpt.cli.loading import check_modality, find_model, load_model
from anygpt.cli.terminal import Screen
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
) -> None:
    """Answer `prompt` about `files`, (modality, path) each. All is checked before the model is loaded."""
    if not prompt.strip() and not files:
        raise CommandError("the prompt is empty; say something, or give a file such as --image PATH")
    check_output_dir(output_dir)
    folder, config = find_model(model)
    Options.read(options, config.outputs)
    content: list[dict[str, Any]] = []
    for modality, path in files:
        check_modality(modality, config)
        content.append({"type": modality, modality: media.read(modality, path)})
    if prompt.strip():
        content.append({"type": "text", "text": prompt})
    messages = [{"role": "user", "content": content}]
    anygpt = load_model(folder, config)
    if not json_output:
        show(anygpt.stream(messages, **options), Screen(lively=False), output_dir)
        return
    from anygpt.generation import last

    reply = last(anygpt.stream(messages, **options))
    paths = [
        save_medium(part["type"], part[part["type"]], output_dir)
        for part in reply.content
        if part["type"] != "text"
    ]
    print(json.dumps(as_json(reply, paths), ensure_ascii=False))
