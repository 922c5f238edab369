"""NExT-GPT's files, made with true names at reduced width, become models; what is not what it should be is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import published as files
import pytest
import torch
from published import FULL, Sizes

from anygpt.checkpoint import ASSETS, read_preset
from anygpt.config import AnyGPTConfig
from anygpt.conversion.answers import LEGACY_HELLO, Scripted, findings
from anygpt.conversion.files import ConversionError
from anygpt.conversion.language import legacy_tokenizer
from anygpt.conversion.nextgpt import convert_nextgpt
from anygpt.conversion.published import CURRENT, LEGACY, Published, check
from anygpt.generation import MediaDone, MediaStarted, Session, TextDelta
from anygpt.messages import normalise
from anygpt.model import AnyGPT
from anygpt.options import Options
from anygpt.processor import IGNORE
from anygpt.thinking import Batch, Memory, Run, think

ANSWER = "Here it is"
SENTENCE = "A man is walking his dog in the park on a sunny day."


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("published")
    files.base_tokenizer().save_pretrained(folder / "vicuna")
    files.save_preset(folder / "preset.yaml")
    return folder


@pytest.fixture(scope="module")
def vicuna(work: Path) -> Any:
    """A base that says two sentences by heart, and nothing else."""
    llm, tokenizer = files.base(), legacy_tokenizer(files.base_tokenizer())
    pieces = [("hello", ANSWER + "\n###"), ("Describe the picture.", SENTENCE)]
    rows = []
    for question, answer in pieces:
        parts = ("<s>### Human: ", question + "\n### Assistant: ", answer)
        ids = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in parts]
        rows.append(([*ids[0], *ids[1], *ids[2]], len(ids[0]) + len(ids[1])))
    trained = torch.optim.Adam(llm.parameters(), lr=1e-2)
    for _ in range(60):
        trained.zero_grad()
        for ids, start in rows:
            labels = torch.tensor([IGNORE] * start + ids[start:])
            llm(input_ids=torch.tensor([ids]), labels=labels[None]).loss.backward()
        trained.step()
    llm.save_pretrained(work / "vicuna")
    return llm


def convert(
    work: Path, name: str, weights: dict[str, dict[str, torch.Tensor]], **changes: Any
) -> tuple[Path, Published]:
    source = files.save(work / name, weights)
    given = {"llm": str(work / "vicuna"), "preset": work / "preset.yaml", **changes}
    return work / f"{name}-out", convert_nextgpt([source], out=work / f"{name}-out", **given)


@pytest.fixture(scope="module")
def stage3(work: Path, vicuna: Any) -> tuple[Path, Published]:
    return convert(work, "stage-3", {"pytorch_model.pt": files.numbers(files.legacy(3), vicuna)})


@pytest.fixture(scope="module")
def now(work: Path, vicuna: Any) -> tuple[Path, Published]:
    """The current tree's."""
    weights = {name: files.numbers(shapes, vicuna) for name, shapes in files.current().items()}
    return convert(work, "current", weights)


# ── names and shapes ──────────────────────────────────────────────────────────────────────────────────


def full_size() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        return LlamaForCausalLM(LlamaConfig(vocab_size=32_000))  # its defaults are the 7B's


def on_meta(tree: Any, *groups: files.Shapes) -> Published:
    shapes = {name: shape for group in groups for name, shape in group.items()}
    weights = {}
    for name, shape in shapes.items():
        ours = tree.here(name)
        assert ours is not None, name
        weights[ours] = torch.empty(shape, device="meta")
    return Published(tree, weights, source="the file")


def count(weights: dict[str, torch.Tensor], start: str) -> int:
    return sum(value.numel() for name, value in weights.items() if name.startswith(start))


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_published_names_and_shapes_at_full_width(stage: int) -> None:
    published = on_meta(LEGACY, files.legacy(stage, FULL))
    if stage == 3:
        published.lora = {"r": 32, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}
    check(published, read_preset(ASSETS / "presets" / "nextgpt.yaml"), full_size())
    sizes = {
        start: count(published.weights, start)
        for start in ("adapter.", "projections.image.", "projections.video.")
    }
    assert list(sizes.values()) == [4_198_400, 31_958_784, 32_090_112]
    assert count(published.weights, "projections.audio.") == 31_788_544
    assert count(published.weights, "embedding") == 32_038 * 4096
    assert count(published.weights, "lora.") == (33_554_432 if stage == 3 else 0)
    assert len(published.weights) == 4 + 3 * 129 + (256 if stage == 3 else 0)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_current_trees_names_and_shapes_at_full_width(kind: str) -> None:
    sizes = Sizes(4096, 32, 11008, 1024, 128, 512, 4, 2048, 4, (77, 1024), (77, 1024), (1, 512))
    into, out, _, adapter = files.current(sizes, kind).values()
    published = on_meta(CURRENT, into, out, adapter)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    published.lora = {"r": 128, "target_modules": targets}
    check(published, read_preset(ASSETS / "presets" / "nextgpt-current.yaml"), full_size())
    assert len(published.under("lora.")) == 2 * 7 * 32


# ── what is converted ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stage", [1, 2])
def test_a_stage_without_lora(work: Path, vicuna: Any, stage: int) -> None:
    weights = files.numbers(files.legacy(stage), vicuna, seed=stage)
    folder, _ = convert(work, f"stage-{stage}", {"pytorch_model.pt": weights})
    model = AnyGPT.from_pretrained(folder)
    assert not model.has_lora
    check_weights(model, weights, "llama_model.")


def test_stage_3(stage3: tuple[Path, Published], vicuna: Any) -> None:
    folder, _ = stage3
    model, weights = AnyGPT.from_pretrained(folder), files.numbers(files.legacy(3), vicuna)
    check_weights(model, weights, "llama_model.base_model.model.")
    matrices = {name: value for name, value in model.llm.named_parameters() if "lora_" in name}
    assert {f"llama_model.{name}" for name in matrices} == {name for name in weights if "lora_" in name}
    for name, value in matrices.items():
        assert torch.equal(value, weights[f"llama_model.{name}"]), name
    assert model.llm.peft_config["default"].lora_alpha == 4


def check_weights(model: AnyGPT, weights: dict[str, torch.Tensor], top: str) -> None:
    rows, head = weights[f"{top}model.embed_tokens.weight"], weights[f"{top}lm_head.weight"]
    assert torch.equal(model.llm.get_input_embeddings().weight, rows[:32_002])
    assert torch.equal(model.llm.get_output_embeddings().weight, head[:32_002])
    starts = {modality: ids.start for modality, ids in model.signals.ids.items()}
    assert starts == {"image": 32_002, "video": 32_006, "audio": 32_030}  # as published
    ids = torch.arange(32_002, 32_038)
    assert torch.equal(model.signals.embed(ids), rows[32_002:])
    assert torch.equal(model.signals.head, head[32_002:])
    for modality, name in (("image", ""), ("video", "_video"), ("audio", "_audio")):
        for key, value in model.projections[modality].state_dict().items():
            assert torch.equal(value, weights[f"gen_text_hidden_fcs{name}.0.{key}"]), key
    heard = torch.randn(2, 1, 16)
    wanted = heard @ weights["llama_proj.weight"].T + weights["llama_proj.bias"]
    for modality, scale in (
        ("image", 1),
        ("video", 1),
        ("audio", 20),
    ):  # ImageBind's scale, which NExT-GPT leaves out
        assert torch.allclose(model.adapters[modality](scale * heard), wanted, atol=1e-6), modality


def test_the_current_trees_files(now: tuple[Path, Published], vicuna: Any) -> None:
    folder, _ = now
    model = AnyGPT.from_pretrained(folder)
    assert {m: ids.start for m, ids in model.signals.ids.items()} == {
        "image": 32_000,
        "video": 32_004,
        "audio": 32_028,
    }
    assert [len(model.signals.run(m)) for m in model.signals.ids] == [7, 47, 15]
    assert model.signals.run("image") == [32_000, 29_871, 32_001, 29_871, 32_002, 29_871, 32_003]
    assert {entry.features for entry in model.config.inputs.values()} == {"patches"}
    weights = files.numbers(files.current()["mm_output_projector.bin"], vicuna)
    own = model.projections["video"].state_dict()
    assert torch.equal(own["fc.weight"], weights["model.mm_output_vid_projector.in_fc.weight"])
    assert torch.equal(own["model.bias"], weights["model.mm_output_vid_projector.out_fc.bias"])
    assert model.llm.peft_config["default"].lora_alpha == 8
    prompt = model.processor(normalise("hello"))
    assert prompt.ids[:2] == [1, model.tokenizer.get_vocab()["▁A"]] and prompt.ids.count(1) == 1
    text = model.tokenizer.decode(prompt.ids[1:])
    assert text.startswith("A chat between") and text.endswith("questions. USER: hello ASSISTANT:")


def test_the_first_step_alone_reads_and_makes_nothing(work: Path, vicuna: Any) -> None:
    shapes = files.current(kind="linear")["mm_input_projector.bin"]
    folder, source = convert(work, "first", {"mm_input_projector.bin": files.numbers(shapes, vicuna)})
    model = AnyGPT.from_pretrained(folder)
    assert list(model.config.inputs) == ["image", "audio", "video"] and not model.config.outputs
    assert source.left_over == ["the signal tokens' rows, as no output projector is there"]


def test_what_the_encoder_carries_along_is_named(work: Path, vicuna: Any) -> None:
    weights = files.numbers(files.current(kind="linear")["mm_input_projector.bin"], vicuna)
    weights["model.multimodal_tower.multimodal_tower.x"] = torch.zeros(1)
    _, source = convert(work, "tower", {"mm_input_projector.bin": weights})
    assert "model.multimodal_tower.multimodal_tower.x" in source.left_over


# ── prompts ───────────────────────────────────────────────────────────────────────────────────────────


def test_prompts_are_the_legacy_trees_tokens(stage3: tuple[Path, Published]) -> None:
    model = AnyGPT.from_pretrained(stage3[0])
    assert model.processor(normalise("hello")).ids == LEGACY_HELLO
    image = list(range(32_002, 32_006))
    chat = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": ["Here it is ", {"type": "image"}]},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Here it is"},
    ]
    prompt = model.processor(normalise(chat), training=True)
    here, human, assistant = (
        [2266, 372, 338],
        [12968, 29901, 22172, 13, 2277, 29937, 4007, 22137, 29901, 29871],
        [13, 2277, 29937],
    )
    # white space beside signal tokens goes, and what ends the answer is one token there, and three after text
    assert prompt.ids == [*LEGACY_HELLO, *here, *image, 835, *human, *here, *assistant]
    assert [label for label in prompt.labels if label != IGNORE] == [*here, *image, 835, *here, *assistant]


def test_media_stand_between_the_marks(
    stage3: tuple[Path, Published], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny_model

    from encoders import load_encoder

    folder = stage3[0].parent / "imagebind"
    if not folder.exists():
        tiny_model.build_imagebind(folder)
    model = AnyGPT.from_pretrained(stage3[0])
    encoder = load_encoder(folder)
    model._encoders["imagebind"] = encoder
    from PIL import Image

    parts = [{"type": "image", "image": Image.new("RGB", (32, 32), "red")}, " hello"]
    prompt = model.processor(normalise([{"role": "user", "content": parts}]))
    before, after = (
        [1, 835, 12968, 29901, 32_000],
        [32_001, 22172, 13, 2277, 29937, 4007, 22137, 29901, 29871],
    )
    assert prompt.ids == [*before, -1, *after]
    with torch.no_grad():
        assert model.adapt(prompt.media)[0].shape == (1, 32)


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tree", ["stage3", "now"])
@pytest.mark.parametrize("way", ["alone", "batch", "second turn"])
def test_states_are_those_at_the_signal_tokens(tree: str, way: str, request: pytest.FixtureRequest) -> None:
    """A known answer, with a cache, against one pass without a cache over prompt and answer."""
    model = AnyGPT.from_pretrained(request.getfixturevalue(tree)[0])
    words = model.tokenizer("Here it is", add_special_tokens=False)["input_ids"]
    script = {
        "image": [*words, 0, words[0], 2],
        "video": [words[0], 0, *words[1:], words[0], 2],
        "audio": [0, *words, words[0], 2],
    }
    rows = {
        m: [model.signals.ids[m].start if token == 0 else token for token in row] for m, row in script.items()
    }
    chats: dict[str, Any] = {m: f"hello {'hello ' * turn}" for turn, m in enumerate(rows)}
    if way == "second turn":
        answered = {"role": "assistant", "content": ["Here it is", {"type": "audio"}]}
        chats = {
            m: [{"role": "user", "content": "hello"}, answered, {"role": "user", "content": m}] for m in rows
        }
    prompts = {m: model.processor(normalise(chat)) for m, chat in chats.items()}
    found: dict[str, Run] = {}
    for group in [list(rows)] if way == "batch" else [[m] for m in rows]:
        scripted: Any = Scripted(model, [rows[m] for m in group])
        memory = Memory(scripted, len(group))
        if way == "second turn":
            earlier: Any = Scripted(model, [[*words, model.signals.ids["audio"].start, 2]])
            memory.model = earlier
            list(think(earlier, [model.processor(normalise("hello"))], Options(), memory))
        memory.model = scripted
        answer = think(scripted, [prompts[m] for m in group], Options(), memory)
        found |= {group[row]: item for row, item in answer if isinstance(item, Run)}
    assert list(sorted(found)) == ["audio", "image", "video"]
    for modality, run in found.items():
        ids = list(prompts[modality].ids)
        for token in rows[modality][:-1]:
            ids += model.signals.run(modality) if token >= model.signals.base else [token]
        start = ids.index(model.signals.ids[modality].start, len(prompts[modality].ids))
        with torch.no_grad():
            _, hidden = model.think(
                torch.cat(model.embed(ids))[None], torch.ones(1, len(ids), dtype=torch.long)
            )
        length = {"stage3": (4, 24, 8), "now": (7, 47, 15)}[tree][("image", "video", "audio").index(modality)]
        assert run.hidden.shape == run.embeddings.shape == (length, 32)
        assert torch.allclose(run.hidden, hidden[0, start : start + length], atol=1e-3), modality
        assert torch.equal(run.embeddings, torch.cat(model.embed(ids[start : start + length])))


class Listening(Scripted):
    """A scripted model whose decoders only write down what they are given."""

    def __init__(self, model: AnyGPT, script: list[list[int]]) -> None:
        super().__init__(model, script)
        self.heard: list[tuple[str, torch.Tensor]] = []

    def decode(self, modality: str, conditioning: torch.Tensor, seeds: list[int], *_: Any) -> list[str]:
        self.heard.append((modality, conditioning))
        return [f"a {modality}"] * len(seeds)


@pytest.mark.parametrize("tree", ["stage3", "now"])
def test_a_stream_gives_decoders_the_states_at_the_signal_tokens(
    tree: str, request: pytest.FixtureRequest
) -> None:
    """One answer with three media, event by event and over two turns, against one pass without a cache."""
    model = AnyGPT.from_pretrained(request.getfixturevalue(tree)[0], dtype=torch.float64)
    words = model.tokenizer("Here it is", add_special_tokens=False)["input_ids"]
    start = {modality: ids.start for modality, ids in model.signals.ids.items()}
    answers = [
        [*words, start["image"], words[0], start["video"], start["audio"], 2],
        [start["audio"], *words, start["image"], 2],
    ]
    scripted: Any = Listening(model, [[token for answer in answers for token in answer]])
    session, ids = Session(scripted), []
    for answer in answers:
        asked = session.messages
        order = []
        for event in session.stream("hello"):
            if isinstance(event, TextDelta) and order[-1:] != ["text"]:
                order.append("text")
            elif isinstance(event, MediaStarted | MediaDone):
                order.append(f"{type(event).__name__} {event.modality}")
        text, wanted = False, []
        for token in answer[:-1]:
            if token >= model.signals.base:
                modality = model.signals.modality(token)
                wanted += [f"MediaStarted {modality}", f"MediaDone {modality}"]
                text = False
            elif not text:
                wanted.append("text")
                text = True
        assert order == wanted
        prompt = model.processor(normalise([*asked, {"role": "user", "content": "hello"}]))
        ids = list(prompt.ids)
        places = []
        for token in answer[:-1]:
            if token >= model.signals.base:
                places.append((model.signals.modality(token), len(ids)))
                ids += model.signals.run(places[-1][0])
            else:
                ids.append(token)
        with torch.no_grad():
            rows = torch.cat(model.embed(ids))[None]
            _, hidden = model.think(rows, torch.ones(rows.shape[:2], dtype=torch.long))
            for (modality, given), (expected, at) in zip(scripted.heard, places, strict=True):
                assert modality == expected
                span = slice(at, at + len(model.signals.run(modality)))
                made = model.project(modality, hidden[:, span], rows[:, span])
                assert torch.allclose(given, made, atol=1e-9), modality
        scripted.heard.clear()


@pytest.mark.parametrize("tree", ["stage3", "now"])
def test_states_of_rows_that_join(tree: str, request: pytest.FixtureRequest) -> None:
    """As a server answers: a conversation joins another that is under way."""
    model = AnyGPT.from_pretrained(request.getfixturevalue(tree)[0], dtype=torch.float64)
    words = model.tokenizer("Here it is", add_special_tokens=False)["input_ids"]
    start = {modality: ids.start for modality, ids in model.signals.ids.items()}
    scripts = {"video": [*words, start["video"], 2], "audio": [words[0], start["audio"], words[0], 2]}
    prompts = {"video": "hello", "audio": "hello hello hello"}
    batches = {}
    for modality, asked in prompts.items():
        scripted: Any = Scripted(model, [scripts[modality]])
        batches[modality] = Batch(scripted, [model.processor(normalise(asked))], [Options()])
    first, second = batches.values()
    items = [item for _, item in first.step()]
    first.join(second)
    first.memory.model.script += second.memory.model.script  # type: ignore[attr-defined]
    while first.rows:
        items += [item for _, item in first.step()]
    runs = {item.modality: item for item in items if isinstance(item, Run)}
    assert set(runs) == set(scripts)
    for modality, run in runs.items():
        before = scripts[modality][: scripts[modality].index(start[modality])]
        ids = [*model.processor(normalise(prompts[modality])).ids, *before, *model.signals.run(modality)]
        with torch.no_grad():
            rows = torch.cat(model.embed(ids))[None]
            _, hidden = model.think(rows, torch.ones(rows.shape[:2], dtype=torch.long))
        assert torch.allclose(run.hidden, hidden[0, -len(run.hidden) :], atol=1e-9), modality


def test_an_answer_ends_at_the_text_that_ends_one(stage3: tuple[Path, Published]) -> None:
    """Whole and streamed, and the same again as one of two."""
    model = AnyGPT.from_pretrained(stage3[0])
    reply = model.chat("hello", max_new_tokens=40)
    assert not isinstance(reply, list) and reply.text == ANSWER
    deltas = [event.text for event in model.stream("hello", max_new_tokens=40) if hasattr(event, "text")]
    assert "".join(deltas) == ANSWER and len(deltas) > 1
    assert [one.text for one in model.chat(["hello", "hello"], max_new_tokens=40)] == [ANSWER, ANSWER]  # type: ignore[union-attr]


def test_known_answers(stage3: tuple[Path, Published]) -> None:
    folder, source = stage3
    model = AnyGPT.from_pretrained(folder)
    assert {finding.what: finding.problem for finding in findings(model, source) if finding.problem} == {}
    with torch.no_grad():
        model.llm.get_output_embeddings().weight.copy_(torch.randn(32_002, 32))  # as on a foreign base
        model.projections["video"].query_embs += 1
    model.tokenizer.backend_tokenizer.normalizer = None
    wrong = {
        finding.what.split()[0]: finding.problem for finding in findings(model, source) if finding.problem
    }
    assert wrong["trained"] == "projections.video.query_embs is not what the checkpoint has"
    assert "plain English surprises it" in str(wrong["language"])
    assert "was trained as" in str(wrong["prompt"])


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────


def broken(name: str, vicuna: Any) -> dict[str, torch.Tensor]:
    """A stage-3 checkpoint with one thing wrong."""
    weights = files.numbers(files.legacy(3), vicuna)
    image, video = "gen_text_hidden_fcs.0.", "gen_text_hidden_fcs_video.0."
    if name == "missing":
        del weights[f"{video}tfm.encoder.layers.0.norm1.bias"]
    elif name == "unknown":
        weights["llama_proj.extra"] = torch.zeros(1)
    elif name == "foreign":
        weights["optimizer.step"] = torch.zeros(1)
    elif name == "swapped":
        new = {key: value for key, value in weights.items() if not key.startswith((image, video))}
        new |= {key.replace(image, video): value for key, value in weights.items() if key.startswith(image)}
        new |= {key.replace(video, image): value for key, value in weights.items() if key.startswith(video)}
        return new
    elif name == "no lora":
        return {key: value for key, value in weights.items() if "lora_" not in key}
    elif name == "idle lora":
        return {key: value * 0 if "lora_B" in key else value for key, value in weights.items()}
    elif name == "half a lora":
        del weights["llama_model.base_model.model.model.layers.1.self_attn.v_proj.lora_B.default.weight"]
    elif name == "other rows":
        return files.numbers(files.legacy(3, rows=32_042), vicuna)
    elif name == "other base":
        return files.numbers(files.legacy(3), None)
    elif name == "other shape":
        weights["llama_proj.bias"] = torch.zeros(31)
    return weights


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("missing", r"lacks gen_text_hidden_fcs_video.0.tfm.encoder.layers.0.norm1.bias"),
        ("unknown", r"has llama_proj.extra, which NExT-GPT's legacy tree has not; nothing was converted"),
        ("foreign", r"has optimizer.step, which NExT-GPT's legacy tree does not write"),
        ("swapped", r"gen_text_hidden_fcs.0.\* .* makes \(7, 40\), which is the video .*changed places"),
        ("no lora", r"wrapped for LoRA, and no LoRA matrices"),
        ("idle lora", r"LoRA .* does nothing"),
        (
            "half a lora",
            r"lacks llama_model.base_model.model.model.layers.1.self_attn.v_proj.lora_B.default.weight",
        ),
        ("other rows", r"embed_tokens .* is \(32042, 32\); LLaMA's 32,000 tokens and 38 added ones"),
        ("other base", r"is not the one that .* was trained on: .*median cosine"),
        ("other shape", r"llama_proj.bias is \(31,\), and NExT-GPT's legacy tree has \(32,\)"),
    ],
)
def test_a_checkpoint_with_one_thing_wrong(work: Path, vicuna: Any, name: str, told: str) -> None:
    with pytest.raises(ConversionError, match=told):
        convert(work, f"broken {name}", {"pytorch_model.pt": broken(name, vicuna)})
    assert not (work / f"broken {name}-out").exists()
    assert not list(work.glob(".broken*"))


def test_a_base_with_a_padding_token(work: Path, vicuna: Any) -> None:
    files.base(rows=32_001).save_pretrained(work / "padded")
    files.base_tokenizer().save_pretrained(work / "padded")
    with pytest.raises(ConversionError, match=r"32,001 rows: a Vicuna that carries a \[PAD\] token"):
        convert(work, "padding", {"pytorch_model.pt": broken("nothing", vicuna)}, llm=str(work / "padded"))


def test_a_base_with_another_tokenizer(work: Path, vicuna: Any) -> None:
    import tiny_model

    vicuna.save_pretrained(work / "stranger")
    tiny_model.tiny_tokenizer().save_pretrained(work / "stranger")
    with pytest.raises(ConversionError, match="another tokenizer than LLaMA's: '<unk>' is None there, and 0"):
        convert(
            work, "tokenizer", {"pytorch_model.pt": broken("nothing", vicuna)}, llm=str(work / "stranger")
        )


def test_a_tokenizer_with_a_padding_token(work: Path, vicuna: Any) -> None:
    tokenizer = files.base_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    vicuna.save_pretrained(work / "padded tokenizer")
    tokenizer.save_pretrained(work / "padded tokenizer")
    with pytest.raises(ConversionError, match=r"a tokenizer of 32,001 tokens, .* added to it: \[PAD\]"):
        convert(
            work, "pad", {"pytorch_model.pt": broken("nothing", vicuna)}, llm=str(work / "padded tokenizer")
        )


def test_a_group_projector(work: Path, vicuna: Any) -> None:
    weights = files.numbers(files.current(kind="linear")["mm_input_projector.bin"], vicuna)
    weights["model.mm_input_projector.in_fc.weight"] = torch.zeros(4, 16)
    with pytest.raises(ConversionError, match="of the kind 'group'"):
        convert(work, "group", {"mm_input_projector.bin": weights})


class Malice:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "run")


@pytest.mark.parametrize("form", ["zip", "pickle"])
def test_a_malicious_pickle_runs_nothing(work: Path, vicuna: Any, tmp_path: Path, form: str) -> None:
    proof, file = tmp_path / "proof", tmp_path / "pytorch_model.pt"
    weights = {"llama_proj.bias": torch.zeros(32), "more": Malice(proof)}
    if form == "zip":
        torch.save(weights, file)
    else:
        file.write_bytes(pickle.dumps(weights))
    with pytest.raises(ConversionError, match="holds more than tensors, and nothing of it was run"):
        convert_nextgpt([file], str(work / "vicuna"), tmp_path / "out", work / "preset.yaml")
    assert not proof.exists() and not (tmp_path / "out").exists()


def test_wrong_paths_say_so(work: Path, vicuna: Any, tmp_path: Path) -> None:
    given = {"llm": str(work / "vicuna"), "preset": work / "preset.yaml"}
    with pytest.raises(ConversionError, match="is no file, nor a folder with one of pytorch_model.pt"):
        convert_nextgpt([tmp_path], out=tmp_path / "out", **given)
    (tmp_path / "pytorch_model.pt").write_bytes(b"nonsense")
    with pytest.raises(ConversionError, match="pytorch_model.pt"):
        convert_nextgpt([tmp_path], out=tmp_path / "out", **given)
    files.save(tmp_path / "full", {"pytorch_model.pt": files.numbers(files.legacy(1), vicuna)})
    with pytest.raises(ConversionError, match="is there already"):
        convert_nextgpt([tmp_path / "full"], out=tmp_path, **given)


def test_old_configurations_are_read_as_before() -> None:
    config = AnyGPTConfig.from_dict({"llm": "x", "inputs": {"image": {"encoder": "e"}}})
    assert (
        config.signals.gap is None and not config.signals.strip and config.inputs["image"].around == ("", "")
    )


def test_the_script_makes_what_the_command_takes(tmp_path: Path) -> None:
    """The whole command at once: an untaught base cannot speak, and the command says so."""
    from anygpt.cli import main

    files.main(tmp_path)
    source = [str(tmp_path / f"current-{step}") for step in (1, 2, 3)]
    given = [
        "--llm",
        str(tmp_path / "vicuna"),
        "--preset",
        str(tmp_path / "preset.yaml"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(["convert", "nextgpt", *source, *given]) == 2
    assert (tmp_path / "out" / "model.safetensors").is_file()
