"""A tiny random model that answers "draw" with a picture, a sound and a film, and the command line to ask it with."""

import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny_model
from command_line import Command, Done, environment

from anygpt.cli import main


def teach(folder: Path, prompt: str, modalities: Sequence[str]) -> None:
    """Set the signal tokens' output rows of the checkpoint such that `prompt` is answered with these media first."""
    import torch

    from anygpt.messages import normalise
    from anygpt.model import AnyGPT
    from anygpt.thinking import Memory

    model = AnyGPT.from_pretrained(folder)
    ids = model.signals.ids
    memory = Memory(model)
    step = list(model.processor(normalise(prompt)).ids)
    states, wanted = [], []
    with torch.no_grad():
        for modality in [*modalities, None]:
            _, hidden = memory.feed([model.embed(step)], step)
            states.append(hidden[0][-1])
            wanted.append([50.0 if m == modality else -50.0 for m in ids])
            step = list(ids[modality]) if modality else []
        rows = torch.linalg.lstsq(torch.stack(states), torch.tensor(wanted)).solution.T
        model.signals.head.zero_()
        for row, run in zip(rows, ids.values(), strict=True):
            model.signals.head[run[0] - model.signals.base] = row
    model.save_pretrained(folder)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    import torch

    torch.set_num_threads(1)
    folder = tiny_model.build_checkpoint(tmp_path_factory.mktemp("model") / "tiny")
    teach(folder, "draw", ["image", "audio", "video"])
    return str(folder)


@pytest.fixture
def anygpt(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """The command in this process, in an empty folder: `anygpt("chat", model, stdin="hello")`."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, stdin: str | bytes = "") -> Done:
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def typed(tmp_path: Path) -> Command:
    """The command in a process of its own, as a person starts it."""

    def run(*arguments: object, stdin: str = "") -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "anygpt", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment(),
            timeout=900,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run
