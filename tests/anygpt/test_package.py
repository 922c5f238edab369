"""The package as one imports it; each test starts a Python of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from anygpt import pipeline
from anygpt.config import ConfigError

HOME = Path(__file__).resolve().parents[2]


def python(code: str, folder: Path, first: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(entry) for entry in (first, HOME) if entry)
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_importing_anygpt_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, anygpt; print([m for m in ('torch', 'transformers', 'diffusers') if m in sys.modules])"
    )
    done = python(code + "; print('AnyGPT' in dir(anygpt))", tmp_path)
    assert done.stdout.split("\n")[:2] == ["[]", "True"], done.stderr


def test_every_public_name_is_there() -> None:
    import anygpt

    for name in anygpt.__all__:
        assert getattr(anygpt, name) is not None
    with pytest.raises(AttributeError, match="'AnyGTP'"):
        _ = anygpt.AnyGTP


def test_a_folder_that_shadows_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine" / "encoders").mkdir(parents=True)
    (tmp_path / "mine" / "encoders" / "__init__.py").touch()
    done = python("import anygpt", tmp_path, first=tmp_path / "mine")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ") and str(tmp_path / "mine" / "encoders") in last
    assert "shadows" in last and "rename" in last


def test_the_pipeline_answers(checkpoint: Path) -> None:
    pipe = pipeline("any-to-any", model=checkpoint)
    assert pipe("hello", max_new_tokens=3).text
    with pytest.raises(ConfigError, match="did you mean 'any-to-any'"):
        pipeline("any-to-many")


def test_a_text_chat_does_not_import_diffusers(checkpoint: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from anygpt import AnyGPT\n"
        f"AnyGPT.from_pretrained({str(checkpoint)!r}).chat('hello', max_new_tokens=2)\n"
        "print([m for m in ('diffusers', 'peft') if m in sys.modules])"
    )
    done = python(code, tmp_path)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr
