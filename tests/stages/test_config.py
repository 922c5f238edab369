"""Settings: what a YAML file may say, and how mistakes in it are told."""

from pathlib import Path

import pytest

from anygpt.config import ConfigError
from stages.assembly import read_preset
from stages.config import TrainingConfig, read_config
from stages.decoder_alignment import DecoderAlignmentConfig
from stages.modality_switching import ModalitySwitchingConfig
from stages.query_pretraining import QueryPretrainingConfig

PRESETS = Path(__file__).parents[2] / "assets" / "presets"
SETTINGS = {"stage-1": TrainingConfig, "stage-2": DecoderAlignmentConfig, "stage-3": ModalitySwitchingConfig}


def write(folder: Path, text: str) -> Path:
    path = folder / "stage.yaml"
    path.write_text(text)
    return path


def test_every_preset_is_valid() -> None:
    """The tables of the other systems are `test_tables`'."""
    for name, kind in SETTINGS.items():
        assert read_config(kind, PRESETS / "anygpt-tiny" / f"{name}.yaml").output == f"runs/{name}"
    paths = [path for path in PRESETS.rglob("*.yaml") if not path.stem.startswith("stage-")]
    assert len(paths) >= 9
    for path in paths:
        assert read_preset(path).inputs


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path, "model: a\noutput: b\nsteps: 5\nlearning_rate: 1e-3\nlearning_rates: {signals: 1}\n"
    )
    config = read_config(TrainingConfig, path, ["steps=7", "learning_rates.lora=2e-4", "parts=here"])
    assert config == TrainingConfig(
        "a", "b", 7, parts="here", learning_rate=1e-3, learning_rates={"signals": 1.0, "lora": 2e-4}
    )


def test_lists_and_choices_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, "model: a\noutput: b\nsteps: 5\nturns: [1, 4]\ncaption_distance: norm\n")
    config = read_config(ModalitySwitchingConfig, path)
    assert config.turns == (1, 4) and config.caption_distance == "norm"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stps=3", "unknown key 'stps' (did you mean 'steps'?)"),
        ("steps=many", "steps: expected a whole number, got 'many'"),
        ("steps=true", "steps: expected a whole number, got True"),
        ("steps=0", "steps must be above 0, not 0"),
        ("warmup=1", "warmup is a share of the steps"),
        ("learning_rate=fast", "learning_rate: expected a number, got 'fast'"),
        ("learning_rates.lora=-1", "the learning rate 'lora' must be above 0"),
        ("examples=3", "examples must be at least the batch_size of 32, not 3"),
        ("caption_distance=normal", "caption_distance: unknown value 'normal' (did you mean 'norm'?)"),
        ("turns=[0]", "turns is a list of numbers of at least 1"),
        ("turns=3", "turns: expected a list, got 3"),
        ("model.name=x", "'model' has no keys inside"),
        ("steps", "--set takes key=value, not 'steps'"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, change: str, message: str) -> None:
    path = write(tmp_path, "model: a\noutput: b\nsteps: 5\n")
    with pytest.raises(ConfigError) as caught:
        read_config(ModalitySwitchingConfig, path, [change])
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: a\nsteps: 1\n", "the key 'output' is missing"),
        ("- model\n", "holds no keys and values"),
        (
            "model: a\noutput: b\nsteps: 1\nstarts: {plain: 1}\ndata: [{format: llava, path: x.json}]\n",
            r"starts says how the toy world's .* \(--set starts=null\)",
        ),
        ("model: [", "is not YAML"),
    ],
)
def test_broken_files_are_told(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message):
        read_config(TrainingConfig, path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.yaml"):
        read_config(TrainingConfig, tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"cannot read the preset .*none\.yaml"):
        read_preset(tmp_path / "none.yaml")


def test_packing_is_for_stages_that_run_the_llm() -> None:
    with pytest.raises(ConfigError, match="packing is for stages that run the LLM"):
        QueryPretrainingConfig("model", "output", steps=1, packing=True)
