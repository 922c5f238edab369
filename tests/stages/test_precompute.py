"""Features and embeddings computed once: the same training, noticed when stale, and a run that goes on."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import HOME, environment, picture
from data_files import publish, write_json
from PIL import Image
from safetensors.torch import load_file
from short_runs import STAGES, stage_on

from anygpt.config import ConfigError
from anygpt.data import DataError, Source
from anygpt.data.media import open_medium
from anygpt.model import AnyGPT
from anygpt.precomputed import (
    EMBEDDINGS,
    FEATURES,
    LATENTS,
    Store,
    caption_key,
    embedding_stores,
    feature_stores,
    file_key,
    latent_stores,
)
from stages import encoding_alignment, precompute
from stages.stage import Stage
from stages.training import train

TURNS = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "a boat"}]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    published = publish(tmp_path)
    data = tuple(published[name].source for name in ("nextgpt t2x", "nextgpt present", "llava"))
    return {"data": data, "precomputed": str(tmp_path / "kept"), "steps": 8, "max_skipped": 0.0}


def stage(name: str, checkpoint: Path, folder: Path, **settings: Any) -> Stage[Any]:
    return stage_on(STAGES[name], checkpoint, folder, **settings)


def write_config(stage: Stage[Any], folder: Path) -> Path:
    values = {key: v for key, v in vars(stage.config).items() if v is not None}
    values["data"] = [
        {key: v for key, v in vars(source).items() if v is not None} for source in values["data"]
    ]
    path = folder / "stage.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("workers", [0, 2])
def test_training_on_features_computed_before_is_the_same(
    workers: int, checkpoint: Path, tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings["workers"] = workers
    made = precompute.precompute(FEATURES, stage("encoding-alignment", checkpoint, tmp_path, **settings))
    assert made == {"image": 2, "audio": 0, "video": 1, "depth": 0, "thermal": 0, "imu": 0}
    train(stage("encoding-alignment", checkpoint, tmp_path / "fly", **settings | {"precomputed": None}))

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a file was opened, or encoded")

    monkeypatch.setattr("anygpt.data.media.open_medium", refuse)
    for encoding in ("pooled", "features"):
        monkeypatch.setattr(f"encoders.imagebind.ImageBindEncoder.{encoding}", refuse)
    train(stage("encoding-alignment", checkpoint, tmp_path / "kept-run", **settings))
    assert losses(tmp_path / "kept-run") == pytest.approx(losses(tmp_path / "fly"), abs=2e-5)


def test_a_second_run_computes_what_is_new_or_changed(
    checkpoint: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    one = stage("encoding-alignment", checkpoint, tmp_path, **settings)
    assert sum(precompute.precompute(FEATURES, one).values()) == 3
    assert sum(precompute.precompute(FEATURES, one).values()) == 0
    picture = tmp_path / "media" / "9.jpg"
    before = file_key(picture)
    Image.fromarray(np.full((40, 40, 3), 200, np.uint8)).save(picture)
    os.utime(picture, ns=(1, 1))
    assert precompute.precompute(FEATURES, one)["image"] == 1
    model = AnyGPT.from_pretrained(checkpoint)
    store = feature_stores(model, Path(settings["precomputed"]))["image"]
    old, new = store.get(before), store.get(file_key(picture))
    assert old is not None and new is not None and not torch.equal(old, new)
    assert len(store) == 3 and len(list(store.folder.glob("*.safetensors"))) == 2


def test_what_another_encoder_made_is_not_taken(
    checkpoint: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    precompute.precompute(FEATURES, stage("encoding-alignment", checkpoint, tmp_path, **settings))
    model = AnyGPT.from_pretrained(checkpoint)
    folder = Path(settings["precomputed"])
    assert len(feature_stores(model, folder)["image"]) == 2
    with torch.no_grad():
        next(model.encoder("image").parameters()).add_(1e-3)
    assert len(feature_stores(model, folder)["image"]) == 0
    with pytest.raises(ConfigError, match="holds no caption-embeddings of this model's own parts"):
        train(stage("decoder-alignment", checkpoint, tmp_path / "run", **settings))


def test_captions_are_embedded_once(
    checkpoint: Path, tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings["denoising_weight"] = 0.0
    made = precompute.precompute(EMBEDDINGS, stage("decoder-alignment", checkpoint, tmp_path, **settings))
    assert made["image"] == 1 and made["audio"] >= 2
    model = AnyGPT.from_pretrained(checkpoint)
    stores = embedding_stores(model, Path(settings["precomputed"]))
    assert {modality: len(store) for modality, store in stores.items()} == made
    train(stage("decoder-alignment", checkpoint, tmp_path / "fly", **settings | {"precomputed": None}))

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a caption was embedded again")

    monkeypatch.setattr("decoders.diffusion.Decoder.encode_text", refuse)
    train(stage("decoder-alignment", checkpoint, tmp_path / "kept-run", **settings))
    assert losses(tmp_path / "kept-run") == losses(tmp_path / "fly")


def test_nextgpts_files_of_embeddings_are_read_and_those_of_another_decoder_refused(
    checkpoint: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    model = AnyGPT.from_pretrained(checkpoint)
    folder = tmp_path / "embed"
    folder.mkdir()
    wanted = {}
    for modality, caption, name in (
        ("image", "a boat", "9.jpg.npy"),  # named in the row, and by the picture's name
        ("audio", "rain", "it_1.wav.npy"),
        ("audio", "rain falling", "7.wav.npy"),
    ):
        made = model.decoder(modality).encode_text([caption])[0].half().numpy()
        wanted[modality, caption] = made
        np.save(folder / name, made.squeeze(0) if modality == "audio" else made)
    sources = [dataclasses.replace(source, embeddings=str(folder)) for source in settings["data"][1::-1]]
    settings |= {"data": tuple(sources), "denoising_weight": 0.0}
    made = precompute.precompute(EMBEDDINGS, stage("decoder-alignment", checkpoint, tmp_path, **settings))
    assert made["image"] == 1 and made["audio"] == 2
    stores = embedding_stores(model, Path(settings["precomputed"]))
    for (modality, caption), value in wanted.items():
        kept = stores[modality].get(caption_key(caption))
        assert kept is not None and np.array_equal(kept.numpy(), value.astype(np.float32)), caption

    np.save(folder / "9.jpg.npy", -wanted["image", "a boat"])
    settings["precomputed"] = str(tmp_path / "other")
    with pytest.raises(DataError, match=r"9\.jpg\.npy is not what this model's decoder makes"):
        precompute.precompute(EMBEDDINGS, stage("decoder-alignment", checkpoint, tmp_path, **settings))


def test_latents_are_made_once(
    checkpoint: Path, tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A VAE's latents of the files that the assistant makes, for the denoising loss, as on the fly but for the sample."""
    settings |= {"denoising_weight": 1.0, "denoising_steps": 1}
    made = precompute.precompute(LATENTS, stage("decoder-alignment", checkpoint, tmp_path, **settings))
    assert made["image"] == 1 and made["audio"] == 1
    precompute.precompute(FEATURES, stage("decoder-alignment", checkpoint, tmp_path, **settings))
    assert (
        sum(
            precompute.precompute(
                LATENTS, stage("decoder-alignment", checkpoint, tmp_path, **settings)
            ).values()
        )
        == 0
    )
    model = AnyGPT.from_pretrained(checkpoint)
    stores = latent_stores(model, Path(settings["precomputed"]))
    picture = open_medium("image", tmp_path / "media" / "9.jpg")
    kept = stores["image"].get(file_key(tmp_path / "media" / "9.jpg"))
    again = model.decoder("image").encode_media([picture], torch.Generator().manual_seed(0))[0]
    assert kept is not None and torch.allclose(kept, again, atol=1e-6)

    train(stage("decoder-alignment", checkpoint, tmp_path / "fly", **settings | {"precomputed": None}))

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a file was opened, or its latents made")

    monkeypatch.setattr("anygpt.data.media.open_medium", refuse)
    monkeypatch.setattr("decoders.diffusion.Decoder.encode_media", refuse)
    train(stage("decoder-alignment", checkpoint, tmp_path / "kept-run", **settings))
    assert "denoising" in (tmp_path / "kept-run" / "log.jsonl").read_text()

    settings = {key: value for key, value in settings.items() if not key.startswith("denoising")}
    with pytest.raises(ConfigError, match="no decoder's latents"):
        precompute.precompute(LATENTS, stage("encoding-alignment", checkpoint, tmp_path, **settings))


def test_by_command(
    checkpoint: Path, tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from anygpt.cli import main

    path = write_config(stage("encoding-alignment", checkpoint, tmp_path, **settings), tmp_path)
    for new in ("image 2", "image 0"):
        assert main(["precompute", FEATURES, "encoding-alignment", "--config", str(path)]) == 0
        assert f"new ones: {new}" in capsys.readouterr().out
    assert main(["precompute", "features", "encoding-alignment", "--config", str(path)]) == 2
    assert "invalid choice: 'features'" in capsys.readouterr().err
    assert main(["precompute", FEATURES, "encoding", "--config", str(path)]) == 2
    assert "did you mean 'encoding-alignment'" in capsys.readouterr().err
    assert (
        encoding_alignment.main(["--config", str(path), "--precompute", EMBEDDINGS, "--set", "data=null"])
        == 2
    )
    assert "data is not set" in capsys.readouterr().err


@pytest.mark.slow
def test_on_a_ray_cluster_the_same_is_computed(
    checkpoint: Path, tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three workers, of this machine."""
    ray = pytest.importorskip("ray")
    from stages import ray_precompute

    monkeypatch.setattr(ray_precompute, "BLOCK", 4)
    init = ray.init
    monkeypatch.setattr(ray, "init", lambda *given, **options: init(*given, num_cpus=3, **options))
    for what, name in ((FEATURES, "encoding-alignment"), (EMBEDDINGS, "decoder-alignment")):
        here = stage(name, checkpoint, tmp_path, **settings | {"precomputed": str(tmp_path / "here")})
        there = stage(name, checkpoint, tmp_path, **settings)
        made, same = precompute.precompute(what, here), ray_precompute.precompute(what, there)
        assert sum(made.values()) and made.keys() == same.keys()
        assert all(
            made[modality] <= same[modality] for modality in made
        )  # a file in several blocks counts again
        files = [sorted((tmp_path / folder / what).iterdir()) for folder in ("here", "kept")]
        assert [path.name for path in files[0]] == [path.name for path in files[1]]
        for one, other in zip(*map(lambda paths: map(Store, paths), files)):
            assert len(one) == len(other)
            for key in one._places:
                assert torch.allclose(one.get(key), other.get(key), atol=1e-5)
        assert not any(ray_precompute.precompute(what, there).values())
    train(stage("encoding-alignment", checkpoint, tmp_path / "run", **settings))
    with pytest.raises(ConfigError, match="holds no|data is not set"):
        ray_precompute.precompute(
            FEATURES, stage("encoding-alignment", checkpoint, tmp_path, precomputed="a")
        )


def test_ray_that_is_not_there_is_told(
    checkpoint: Path, tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages import ray_precompute

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'anygpt\[ray\]'"):
        ray_precompute.precompute(FEATURES, stage("encoding-alignment", checkpoint, tmp_path, **settings))


@pytest.mark.slow
def test_two_processes_share_the_rows(checkpoint: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """Six pictures, each of one row: nobody computes what the other does."""
    rows = [{"id": str(i), "image": f"{i}.png", "conversations": TURNS} for i in range(6)]
    for i in range(6):
        picture(tmp_path / f"{i}.png", (20 + i, 20))
    settings["data"] = (Source("llava", write_json(tmp_path / "pictures.json", rows)),)
    path = write_config(stage("encoding-alignment", checkpoint, tmp_path, **settings), tmp_path)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    done = subprocess.run(
        [*command, "stages.encoding_alignment", "--config", str(path), "--precompute", FEATURES],
        cwd=HOME,
        env=environment() | {"ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("new ones: image 6,") == done.stdout.count("new ones") == 1
    store = feature_stores(AnyGPT.from_pretrained(checkpoint), Path(settings["precomputed"]))["image"]
    shards = [len(load_file(shard)) for shard in store.folder.glob("*.safetensors")]
    assert len(store) == 6 and shards == [3, 3]
