"""Checkpoint folders: finding, loading, saving and describing them.

config.json          what the model is made of (anygpt.config)
model.safetensors    the trained modules: adapters.*, cross_attention.*, projections.*, signals.*
lora/                a PEFT adapter folder, where there is one
familiarity.safetensors  what the media that it knows look like to its encoders, where that is told (anygpt.familiarity)
llm/, …              frozen parts in hub-style folders; they may also lie elsewhere, or on the hub (an LLM that was trained lies here)
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anygpt.config import AnyGPTConfig, ConfigError, LoraConfig

if TYPE_CHECKING:
    import torch

    from anygpt.model import AnyGPT

_HERE = Path(__file__).resolve().parent
# A wheel carries `assets` inside the package; in the repository it lies beside it.
ASSETS = _HERE / "assets" if (_HERE / "assets").is_dir() else _HERE.parent / "assets"
WEIGHTS = "model.safetensors"
TRAINED = ("adapters.", "cross_attention.", "projections.", "signals.")


def find_checkpoint(name: str | os.PathLike[str]) -> Path:
    """The folder of a checkpoint: a folder itself, a packaged name such as `anygpt-tiny`, or a hub id; or a preset's file.

    Raises:
        ConfigError: there is no such folder, packaged model, preset or hub repository.
    """
    for folder in (Path(name).expanduser(), ASSETS / str(name)):
        if (folder / "config.json").is_file():
            return folder.resolve()
    if preset := find_preset(str(name)):
        return preset
    packaged = sorted(path.parent.name for path in ASSETS.glob("*/config.json"))
    accepted = (
        f"a model is a packaged name ({', '.join(packaged) or 'none is installed'}), "
        "a folder with a config.json, a preset, or a hub id like 'owner/name'"
    )
    if Path(name).is_dir():
        raise ConfigError(f"the folder {str(name)!r} has no config.json; {accepted}")
    if str(name).count("/") != 1 or str(name).startswith((".", "~", "/")):
        near = difflib.get_close_matches(str(name), packaged, n=1)
        raise ConfigError(
            f"no model {str(name)!r}{f' (did you mean {near[0]!r}?)' if near else ''}; {accepted}"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name)))
    except (OSError, ValueError) as error:  # no network, no such repository, not allowed
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"no model {str(name)!r} here or on the hub ({reason}); {accepted}") from error


def find_preset(name: str) -> Path | None:
    """A preset's file, by its path or its packaged name; None where there is none of that name."""
    for path in (Path(name).expanduser(), ASSETS / "presets" / f"{name}.yaml"):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return path.resolve()
    return None


def read_config(folder: Path) -> AnyGPTConfig:
    """Read `folder`/config.json, or what can be used of a preset's file before training.

    Raises:
        ConfigError: saying which file was wrong.
    """
    if folder.is_file():
        return _untrained(folder)
    path = folder / "config.json"
    try:
        return AnyGPTConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _untrained(preset: Path) -> AnyGPTConfig:
    """The preset without its adapters, which have learned nothing; its decoders must need no projections either."""
    config = read_preset(preset)
    signalled = [modality for modality in config.outputs if modality not in config.captioned]
    own = {modality: entry for modality, entry in config.inputs.items() if modality not in config.adapted}
    if signalled or not (config.outputs or own):
        where = ", ".join(f"outputs.{modality}" for modality in signalled) or "its input"
        raise ConfigError(
            f"the preset {preset} is not trained yet: {where} needs that. Train it (anygpt train --preset), "
            "or have outputs made through captions (way: captions)"
        )
    return replace(config, inputs=own, cross_attention=None, lora=None)


def read_preset(path: Path) -> AnyGPTConfig:
    """The configuration of a new model in a YAML file."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the preset {path}: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"the preset {path} holds no keys and values")
    try:
        return AnyGPTConfig.from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def find_part(name: str, checkpoint: Path | None) -> str:
    """Where a frozen part lies: a folder beside the checkpoint's files, any folder, or a hub id as it is."""
    for folder in ([checkpoint / name] if checkpoint else []) + [Path(name).expanduser()]:
        if folder.is_dir():
            return str(folder.resolve())
    if Path(name).is_absolute() or name.count("/") > 1 or name.startswith("."):
        raise ConfigError(
            f"the frozen part {name!r} is no folder" + (f" (looked in {checkpoint})" if checkpoint else "")
        )
    return name


def load_trained(model: AnyGPT, folder: Path) -> None:
    """Fill adapters, gated layers, signal tokens and projections from `folder`/model.safetensors.

    Raises:
        ConfigError: the file is missing, or its weights are not those that the config asks for.
    """
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    if not path.is_file():
        raise ConfigError(f"the checkpoint {folder} has no {WEIGHTS}")
    weights, wanted = load_file(path), trained_weights(model)
    for problem, keys in (
        ("lacks", wanted.keys() - weights.keys()),
        ("has unknown", weights.keys() - wanted.keys()),
    ):
        if keys:
            raise ConfigError(f"{path} {problem} {', '.join(sorted(keys)[:3])} ({len(keys)} in all)")
    for key, value in wanted.items():
        if value.shape != weights[key].shape:
            raise ConfigError(
                f"{path}: {key} is {tuple(weights[key].shape)}, the config asks for {tuple(value.shape)}"
            )
        value.copy_(weights[key])


def trained_weights(model: AnyGPT) -> dict[str, torch.Tensor]:
    """The tensors of adapters, gated layers, signal tokens and projections by name; they share the model's memory."""
    return {key: value for key, value in model.state_dict().items() if key.startswith(TRAINED)}


def save(model: AnyGPT, folder: Path, dtype: torch.dtype | None, frozen: bool) -> None:
    """See `AnyGPT.save_pretrained`."""
    from safetensors.torch import save_file

    def stored(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {key: value.detach().to("cpu", dtype).contiguous() for key, value in weights.items()}

    folder.mkdir(parents=True, exist_ok=True)
    config = _with_names(model, folder, copy=frozen)
    with replacing(folder / WEIGHTS) as path:
        save_file(stored(trained_weights(model)), path, metadata={"format": "pt"})
    if model.llm_trains:
        config = replace(config, llm=_save_llm(model, folder / "llm", dtype))
    if model.has_lora:
        from peft import get_peft_model_state_dict

        config = replace(config, lora=LoraConfig())
        lora = folder / LoraConfig().path
        lora.mkdir(exist_ok=True)
        with replacing(lora / "adapter_model.safetensors") as path:
            # "auto" would ask the hub whether the LLM's embeddings have grown; they never do
            weights = get_peft_model_state_dict(model.llm, save_embedding_layers=False)
            save_file(stored(weights), path, metadata={"format": "pt"})
        settings = model.llm.peft_config["default"].to_dict()
        settings.update(base_model_name_or_path=config.llm, inference_mode=True)
        _write_json(lora / "adapter_config.json", settings)
    if model.familiarity is not None:
        model.familiarity.save(folder)
    _write_json(folder / "config.json", config.to_dict())


def _save_llm(model: AnyGPT, folder: Path, dtype: torch.dtype | None) -> str:
    """Write the LLM and its tokenizer as transformers does; its name in the checkpoint."""
    llm = model.llm if dtype is None else deepcopy(model.llm).to(dtype)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        llm.save_pretrained(temporary)
        model.tokenizer.save_pretrained(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder.name


def push(model: AnyGPT, repo_id: str, private: bool) -> str:
    """See `AnyGPT.push_to_hub`."""
    from huggingface_hub import HfApi

    hub = HfApi()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, frozen=True)
        address = hub.create_repo(repo_id, private=private, exist_ok=True)
        hub.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload AnyGPT checkpoint")
    return str(address)


def info(model: AnyGPT) -> dict[str, Any]:
    """See `AnyGPT.info`."""
    config = model.config
    encoders = dict.fromkeys(entry.encoder for entry in config.adapted.values())
    tree: dict[str, Any] = {
        "llm": _describe_frozen(model, config.llm),
        "encoders": {name: _describe_frozen(model, name) for name in encoders},
        "inputs": {m: {"way": entry.way} for m, entry in config.inputs.items()},
        "adapters": {m: _describe_trained(part) for m, part in model.adapters.items()},
        "signals": _describe_trained(model.signals)
        | {"tokens": {m: len(i) for m, i in model.signals.ids.items()}},
        "projections": {m: _describe_trained(part) for m, part in model.projections.items()},
        "decoders": {
            m: _describe_frozen(model, entry.decoder) | {"way": entry.way}
            for m, entry in config.outputs.items()
        },
    }
    if model.cross_attention is not None:
        tree["cross_attention"] = _describe_trained(model.cross_attention)
    if "lora" in (parts := model.trainable_parts()):
        tree["lora"] = _describe_trained(parts["lora"])
    return tree


def _describe_trained(part: torch.nn.Module) -> dict[str, Any]:
    parameters = list(part.parameters())
    return {
        "class": type(part).__name__,
        "parameters": sum(p.numel() for p in parameters),
        "bytes": sum(p.numel() * p.element_size() for p in parameters),
        "frozen": False,
    }


def stored_bytes(name: str, root: Path | None) -> int | None:
    """The bytes of a frozen part's weights, by its files' sizes; None where they are not on this machine."""
    folder = Path(find_part(name, root))
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors")) if folder.is_dir() else None


def _describe_frozen(model: AnyGPT, name: str) -> dict[str, Any]:
    """Read off the files' headers, so that nothing needs to be loaded."""
    folder = Path(find_part(name, model.root))
    if not folder.is_dir():  # a hub id: its files are in the hub's cache once they have been loaded
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(name))
    kind = "unknown"
    for file in ("model_index.json", "config.json"):
        if (folder / file).is_file():
            values = json.loads((folder / file).read_text(encoding="utf-8"))
            kind = values.get("_class_name") or next(
                iter(values.get("architectures") or []), values.get("model_type")
            )
            break
    files = sorted(folder.rglob("*.safetensors"))
    sizes = [tensor["shape"] for file in files for tensor in _header(file)]
    return {
        "class": kind,
        "parameters": sum(_product(shape) for shape in sizes),
        "bytes": sum(file.stat().st_size for file in files),
        "frozen": True,
    }


def _header(path: Path) -> list[dict[str, Any]]:
    """The tensors' entries in a safetensors file's header."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return [entry for key, entry in json.loads(file.read(length)).items() if key != "__metadata__"]


def _product(shape: list[int]) -> int:
    result = 1
    for side in shape:
        result *= side
    return result


def _with_names(model: AnyGPT, folder: Path, copy: bool) -> AnyGPTConfig:
    """The config as the checkpoint in `folder` must name its frozen parts; `copy` brings local ones along."""
    taken: dict[str, Path] = {}

    def name(old: str) -> str:
        part = Path(find_part(old, model.root))
        if not part.is_dir():
            return old  # a hub id
        if not copy:
            return os.path.relpath(part, folder.resolve())
        new = part.name
        while taken.setdefault(new, part) != part:
            new += "-2"
        if (folder / new).resolve() != part:
            shutil.copytree(part, folder / new, dirs_exist_ok=True)
        return new

    config = model.config
    return replace(
        config,
        llm=name(config.llm),
        inputs=config.inputs | {m: replace(e, encoder=name(e.encoder)) for m, e in config.adapted.items()},
        outputs={m: replace(entry, decoder=name(entry.decoder)) for m, entry in config.outputs.items()},
    )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends without an error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        # PEFT has sets among its settings
        temporary.write_text(json.dumps(values, indent=2, default=sorted) + "\n", encoding="utf-8")
