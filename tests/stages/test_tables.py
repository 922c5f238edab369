"""The stage tables beside the presets: each follows the one before, and trains here with one command."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import tiny_model
import torch
from accelerate.utils import set_seed
from safetensors.torch import load_file
from short_runs import stage_on

from anygpt.cli import main
from anygpt.cli.train import STAGES, find_tables
from anygpt.config import AdapterConfig, AnyGPTConfig, ConfigError, InputConfig
from anygpt.frozen import fingerprint
from anygpt.messages import normalise
from anygpt.model import AnyGPT
from stages.assembly import open_model, read_preset
from stages.config import _load, read_config
from stages.encoding_alignment import EncodingAlignment
from stages.query_pretraining import QueryPretraining
from stages.stage import Stage
from stages.training import train
from stages.visual_instruction import VisualInstruction

ROOT = Path(__file__).parents[2]
TABLES = [(preset, number) for preset, tables in find_tables().items() for number in tables]
Q_FORMER = AdapterConfig("q-former", queries=3, hidden_size=16, num_layers=2, num_heads=2, feedforward=24)


def test_every_system_has_its_stages() -> None:
    assert {preset: list(tables) for preset, tables in find_tables().items()} == {
        "anygpt-tiny": [1, 2, 3],
        "blip2": [1, 2],
        "flamingo": [1],
        "llava": [1, 2],
        "nextgpt": [1, 2, 3],
        "shikra": [1],
    }


def stage_of(path: Path) -> type[Stage[Any]]:
    name = _load(path)["stage"]
    module = import_module(f"stages.{name.replace('-', '_')}")
    [kind] = [value for value in vars(module).values() if getattr(value, "name", None) == name]
    return kind


@pytest.mark.parametrize(("preset", "number"), TABLES)
def test_a_table_is_for_its_stage_and_follows_the_one_before(preset: str, number: int) -> None:
    path = find_tables()[preset][number]
    kind = stage_of(path)
    config = read_config(kind.settings, path)
    kind(config)
    if number == 1:
        assert read_preset(ROOT / config.model).llm == "llm"
    else:
        assert config.model == _load(find_tables()[preset][number - 1])["output"]


def run(preset: str, number: int, folder: Path, *changes: str) -> Path:
    """Two steps of a preset's stage on the shipped model's parts, after the stage before in `folder`."""
    settings = ["steps=2", "batch_size=2", "examples=2", "measured_examples=2", "validation_examples=2"]
    settings += ["workers=0", f"output={folder}/{preset}-{number}", *changes]
    if number > 1:
        settings.append(f"model={folder}/{preset}-{number - 1}")
    changes = [word for setting in settings for word in ("--set", setting)]
    assert main(["train", "--preset", preset, "--stage", str(number), *changes]) == 0
    return folder / f"{preset}-{number}"


def hashes(model: AnyGPT) -> dict[str, str]:
    """Of all parts, trained and frozen, the latter without the way to their folder."""
    frozen = {
        " ".join(Path(word).name for word in name.split()): key
        for name, key in model.frozen_fingerprint().items()
    }
    return frozen | {name: fingerprint(part) for name, part in model.trainable_parts().items()}


@pytest.mark.slow
@pytest.mark.parametrize("preset", find_tables())
def test_each_stage_of_a_preset_changes_its_parts_and_nothing_else(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tables = find_tables()[preset]
    first = _load(tables[1])
    set_seed(first.get("seed", 0))
    before = hashes(open_model(first["model"], "assets/anygpt-tiny"))
    for number, table in tables.items():
        parts = (
            ["parts=assets/anygpt-tiny"] if number == 1 else []
        )  # anygpt-tiny's table names those of its own making
        folder = run(preset, number, tmp_path, "batch_size=16", "examples=32", *parts)
        after = hashes(AnyGPT.from_pretrained(folder))
        changed = {name for name in after if after[name] != before.get(name)}
        # BLIP-2's text part of its first stage is not kept
        assert changed == set(stage_of(table).trains) - {"pretraining"} and before.keys() <= after.keys()
        before = after


@pytest.mark.slow
def test_llava_trains_its_projection_and_then_the_llm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # presets and parts come with the package
    first = AnyGPT.from_pretrained(run("llava", 1, tmp_path))
    second = run("llava", 2, tmp_path)
    model = AnyGPT.from_pretrained(second)
    assert model.config.llm == "llm" and (second / "llm" / "model.safetensors").is_file()
    before, after = first.llm.state_dict(), model.llm.state_dict()
    assert not all(torch.equal(before[key], after[key]) for key in before)
    assert not all(
        torch.equal(a, b)
        for a, b in zip(first.adapters.parameters(), model.adapters.parameters(), strict=True)
    )
    assert not model.llm_trains and not any(p.requires_grad for p in model.llm.parameters())
    model.chat("hello", max_new_tokens=2)


@pytest.mark.slow
def test_blip2_trains_the_q_former_without_the_llm_and_then_with_it(tmp_path: Path) -> None:
    first = run("blip2", 1, tmp_path)
    weights = load_file(first / "model.safetensors")
    assert not any(key.startswith("pretraining") for key in weights)
    kept = load_file(next((first / "checkpoints").iterdir()) / "weights.safetensors")
    assert any(key.startswith("pretraining.") for key in kept)  # a run that goes on needs the text part
    later = load_file(run("blip2", 2, tmp_path) / "model.safetensors")
    assert weights.keys() == later.keys()
    assert not torch.equal(weights["adapters.image.map.1.weight"], later["adapters.image.map.1.weight"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "llva", "--stage", "1"], "did you mean 'llava'"),
        (["--preset", "llava", "--stage", "3"], "has no stage 3; it has 1, 2"),
        (["--preset", "llava"], "go together"),
        (["--stage", "1"], "go together"),
        (["--resume", "encoding-alignment", "--config", "x"], "after the stage's name"),
        (["--preset", "llava", "--stage", "1", "--set", "stepz=1"], "did you mean 'steps'"),
    ],
)
def test_mistakes(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *arguments]) == 2
    told = capsys.readouterr()
    assert words in told.err and told.err.count("\n") == 1 and not told.out


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes pictures alone, through a q-former."""
    folder = tmp_path_factory.mktemp("seeing")
    config = {"image": InputConfig("imagebind", "patches", Q_FORMER)}
    tiny_model.build_llm(folder / "llm")
    tiny_model.build_imagebind(folder / "imagebind")
    torch.manual_seed(0)
    AnyGPT.from_config(AnyGPTConfig("llm", config), folder).save_pretrained(folder)
    return folder


def test_a_table_for_another_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="for the stage 'decoder-alignment', not for 'encoding-alignment'"):
        stage_on(EncodingAlignment, Path("unused"), tmp_path, stage="decoder-alignment")
    assert set(STAGES) >= {"query-pretraining", "visual-instruction"}


def test_a_stage_shows_only_what_the_model_takes(seeing: Path, tmp_path: Path) -> None:
    stage = stage_on(EncodingAlignment, seeing, tmp_path, examples=20)
    stage.prepare(AnyGPT.from_pretrained(seeing))
    examples = stage.examples("training")
    kinds = {part["type"] for i in range(20) for m in normalise(examples[i]) for part in m["content"]}
    assert kinds == {"image", "text"}


def test_query_pretraining_learns_its_three_tasks_and_leaves_the_rest(seeing: Path, tmp_path: Path) -> None:
    model = open_model(str(seeing))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    stage = stage_on(QueryPretraining, seeing, tmp_path, batch_size=8, width=16, longest=24)
    torch.manual_seed(0)
    groups = stage.prepare(model)
    examples = stage.examples("training")
    batch = [model.processor(normalise(examples[i]), training=True) for i in range(8)]
    with torch.no_grad():
        torch.manual_seed(1)
        _, first = stage.loss(model, batch, 0)
    optimizer = torch.optim.AdamW([p for group in groups.values() for p in group], lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        stage.loss(model, batch, 0)[0].backward()
        optimizer.step()
    with torch.no_grad():
        torch.manual_seed(1)
        _, last = stage.loss(model, batch, 0)
    assert set(first) == {"itc", "itm", "itg"}
    assert all(last[task] < first[task] for task in first), (first, last)
    changed = {
        key
        for key, value in model.state_dict().items()
        if key in before and not torch.equal(value, before[key])
    }
    assert changed and all(key.startswith("adapters.image.map.0.") for key in changed)
    figures = stage.measure(model)
    assert set(figures) == {"nearest caption right", "nearest picture right"}


def test_query_pretraining_needs_a_q_former(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="through a q-former"):
        stage_on(QueryPretraining, checkpoint, tmp_path).prepare(AnyGPT.from_pretrained(checkpoint))


def test_visual_instruction_changes_the_llm_and_the_adapters(seeing: Path, tmp_path: Path) -> None:
    report = train(stage_on(VisualInstruction, seeing, tmp_path / "run"))
    assert set(report["trained"]) == {"adapters", "llm"} and "llm" not in report["frozen"]
    before, after = AnyGPT.from_pretrained(seeing), AnyGPT.from_pretrained(tmp_path / "run")
    for name in ("llm", "adapters"):
        one, other = getattr(before, name).state_dict(), getattr(after, name).state_dict()
        assert not all(torch.equal(one[key], other[key]) for key in one), name
    again = tmp_path / "again"
    after.save_pretrained(again, dtype=torch.float16, frozen=True)
    assert AnyGPT.from_pretrained(again).chat("hello", max_new_tokens=2).seed == 0
    after.unfreeze_llm()
    after.save_pretrained(tmp_path / "half", dtype=torch.float16)
    half = load_file(tmp_path / "half" / "llm" / "model.safetensors")
    assert {value.dtype for value in half.values()} == {torch.float16}
    assert {value.dtype for value in after.llm.parameters()} == {torch.float32}
    after.llm_trains = False
    after.add_lora(r=2)
    with pytest.raises(ConfigError, match="has LoRA"):
        after.unfreeze_llm()
