"""The configuration and the search for checkpoints."""

import json
from pathlib import Path

import pytest

from anygpt.checkpoint import find_checkpoint, find_part, read_config
from anygpt.config import AdapterConfig, AnyGPTConfig, ConfigError, InputConfig, LoraConfig, OutputConfig

FULL = AnyGPTConfig(
    llm="llm",
    inputs={"image": InputConfig("imagebind", "patches", AdapterConfig("mlp", 8), dim=16)},
    outputs={"audio": OutputConfig("audio-decoder", 8, conditioning=(1, 512), generation={"seconds": 2.0})},
    lora=LoraConfig("lora"),
)


def test_a_config_survives_json() -> None:
    assert AnyGPTConfig.from_dict(json.loads(json.dumps(FULL.to_dict()))) == FULL


def test_defaults_fill_what_is_left_out() -> None:
    config = AnyGPTConfig.from_dict({"llm": "x", "outputs": {"image": {"decoder": "sd"}}})
    assert config.outputs["image"].projection.hidden_size == 512
    assert config.lora is None and config.inputs == {}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"llm": "x", "input": {}}, ["'input'", "did you mean 'inputs'"]),
        ({"llm": "x", "inputs": {"imagee": {"encoder": "e"}}}, ["'imagee'", "did you mean 'image'"]),
        (
            {"llm": "x", "inputs": {"image": {"encoder": "e", "adapter": {"kinds": "mlp"}}}},
            ["adapter", "'kind'"],
        ),
        ({"llm": "x", "inputs": {"image": {"encoder": "e", "features": "all"}}}, ["'all'", "'patches'"]),
        ({"llm": "x", "outputs": {"depth": {"decoder": "d"}}}, ["'depth'", "'video'"]),
        (
            {"llm": "x", "outputs": {"image": {"decoder": "d", "signal_tokens": "4"}}},
            ["signal_tokens", "'4'"],
        ),
        ({"llm": "x", "outputs": {"image": {"decoder": "d", "signal_tokens": 0}}}, ["at least 1"]),
        (
            {"llm": "x", "outputs": {"image": {"decoder": "d", "conditioning": [1]}}},
            ["conditioning", "2 values"],
        ),
        ({"inputs": {}}, ["'llm' is missing"]),
        ({"llm": "x", "model_type": "llama"}, ["'llama'"]),
    ],
)
def test_a_wrong_config_says_what_is_wrong(values: dict, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        AnyGPTConfig.from_dict(values)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json is not JSON"):
        read_config(tmp_path)


def test_no_such_model_lists_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("anygpt-tinny", "a/b/c", "./nowhere", str(tmp_path / "nothing")):
        with pytest.raises(ConfigError, match=r"packaged name.*folder with a config.json.*hub id"):
            find_checkpoint(name)
    with pytest.raises(ConfigError, match=r"has no config.json"):
        find_checkpoint("empty")


def test_parts_are_found_beside_the_checkpoint_or_kept_as_hub_ids(tmp_path: Path) -> None:
    (tmp_path / "llm").mkdir()
    assert find_part("llm", tmp_path) == str((tmp_path / "llm").resolve())
    assert find_part(str(tmp_path / "llm"), None) == str((tmp_path / "llm").resolve())
    assert find_part("owner/name", tmp_path) == "owner/name"
    with pytest.raises(ConfigError, match="is no folder"):
        find_part("../elsewhere/llm", tmp_path)
