"""Media through captions: the marks themselves, and LLMs that write them."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model
import torch

from anygpt.cli import main
from anygpt.config import ConfigError
from anygpt.generation import Done, MediaDone, MediaStarted, Reply, TextDelta
from anygpt.marks import Caption, Marks, instruction, mark
from anygpt.messages import MessageError, normalise
from anygpt.model import AnyGPT

ALL = ("image", "audio", "video")
INSTRUCT = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
PICTURE = {"type": "image", "caption": "a red circle"}
SOUND = {"type": "audio", "caption": "a rising tone"}
FILM = {"type": "video", "caption": "a blue square, rising"}
ANSWERS: dict[str, Any] = {  # what the scripted LLM has learned to answer
    "draw": ["Here it is: ", PICTURE, " Enjoy."],
    "all": [PICTURE, "and", SOUND, "and", FILM, SOUND],
    "hello": "hello, who are you?",
    "unclosed": "Look: <image>a red circle",
    "broken": "one </audio>two <AUDIO> a rising tone\n\nthree <vid",
}


def parts_of(text: str, cuts: list[int], modalities: tuple[str, ...] = ALL) -> list[str | Caption]:
    """What the marks find in a text that comes in pieces; neighbouring texts joined."""
    marks = Marks(modalities)
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found = [part for piece in pieces for part in marks.push(piece)] + list(marks.end())
    joined: list[str | Caption] = []
    for part in found:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


CAT = Caption("image", "a cat")
CASES = {
    "plain": ["plain"],
    "a <image>a cat</image> b": ["a ", CAT, " b"],
    "<image> a\n cat </image><audio>purr</audio>": [CAT, Caption("audio", "purr")],
    "< Image >a cat</ IMAGE >!": [CAT, "!"],
    "<image>a cat": [CAT],  # never closed
    "<image>a cat</im": [CAT],  # closing half-way
    "<image>a cat\n \nAnd so on.": [CAT, "\n \nAnd so on."],
    "<image>\n\na cat</image>": [CAT],
    "<image>a cat<audio>purr</audio>": [CAT, Caption("audio", "purr")],
    "<image>a cat</audio> b": [CAT, " b"],
    "a</image> b <image></image>c<image> </image><image/>d": ["a b cd"],
    "1 < 2, a<b>c</b> <images> <imag": ["1 < 2, a<b>c</b> <images> "],
    "less <": ["less <"],
    "<image>a < b</image>": [Caption("image", "a < b")],
    '<video controls src="x">': ['<video controls src="x">'],
}


@pytest.mark.parametrize("text", CASES)
def test_marks_are_found_however_the_text_is_cut(text: str) -> None:
    chance = random.Random(0)
    everywhere = list(range(1, len(text)))
    for cuts in (
        [],
        everywhere,
        *(sorted(chance.sample(everywhere, min(3, len(everywhere)))) for _ in range(20)),
    ):
        assert parts_of(text, cuts) == CASES[text]


def test_the_tags_of_other_modalities_are_text() -> None:
    text = "<audio>purr</audio>"
    assert parts_of(text, [], ("image",)) == [text] and parts_of(text, [3], ()) == [text]


def test_text_is_shown_as_soon_as_it_cannot_be_a_tag() -> None:
    marks = Marks(("image",))
    assert list(marks.push("a <im")) == ["a "]
    assert list(marks.push("mense>")) == ["<immense>"]


def captioned(folder: Path, modalities: tuple[str, ...] = ALL) -> None:
    """Switch modalities of a checkpoint to captions: one line each."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for modality in modalities:
        config["outputs"][modality]["way"] = "captions"
    path.write_text(json.dumps(config))


def dialogue(question: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": ANSWERS[question]}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose LLM has learned `ANSWERS` by heart, marks and all."""
    folder = tiny_model.build_checkpoint(tmp_path_factory.mktemp("captions"))
    words = f"{instruction(ALL)} {json.dumps(ANSWERS)}"
    tiny_model.build_llm(folder / "llm", INSTRUCT, words, 700)
    captioned(folder)
    model = AnyGPT.from_pretrained(folder)
    model.requires_grad_(False)
    model.unfreeze_llm()
    parameters = list(model.llm.requires_grad_(True).parameters())
    turns = [dialogue(question) for question in ANSWERS]
    turns += [dialogue("draw") + dialogue("hello")]
    prompts = [model.processor(normalise(messages), training=True) for messages in turns]
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(parameters, lr=1e-2)
    for _ in range(600):
        loss = model(prompts).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if loss < 1e-3:  # each token by far the likeliest, on any processor
            break
    assert loss < 2e-3, f"the script was not learned: {loss}"
    learned = folder.with_name("learned")
    model.save_pretrained(learned, frozen=True)
    return learned


@pytest.fixture(scope="module")
def scripted(folder: Path) -> AnyGPT:
    return AnyGPT.from_pretrained(folder)


def told(reply: Reply) -> list[str]:
    """Texts, and captions in their modality's mark."""
    return [
        part["text"] if part["type"] == "text" else mark(part["type"], part["caption"])
        for part in reply.content
    ]


def medium_bytes(reply: Reply) -> list[bytes]:
    forms: dict[str, Callable[[Any], bytes]] = {
        "image": lambda image: image.tobytes(),
        "audio": lambda audio: audio.samples.tobytes(),
        "video": lambda video: video.frames.tobytes(),
    }
    return [forms[p["type"]](p[p["type"]]) for p in reply.content if p["type"] != "text"]


EXPECTED = {
    "draw": ["Here it is: ", "<image>a red circle</image>", " Enjoy."],
    "all": [
        "<image>a red circle</image>",
        "and",
        "<audio>a rising tone</audio>",
        "and",
        "<video>a blue square, rising</video>",
        "<audio>a rising tone</audio>",
    ],
    "hello": ["hello, who are you?"],
    "unclosed": ["Look: ", "<image>a red circle</image>"],
    "broken": ["one two ", "<audio>a rising tone</audio>", "\n\nthree "],
}


def test_the_decoder_s_text_encoder_reads_the_captions(scripted: AnyGPT) -> None:
    reply = scripted.chat("all", seed=3)
    assert told(reply) == EXPECTED["all"] and reply.text == "andand"
    assert len(reply.images) == 1 and len(reply.audios) == 2 and len(reply.videos) == 1
    seeds = iter(np.random.SeedSequence([3, place]).generate_state(1)[0] for place in range(4))
    for part in (part for part in reply.content if part["type"] != "text"):
        modality = part["type"]
        decoder = scripted.decoder(modality)
        [medium] = scripted.decode(modality, decoder.encode_text([part["caption"]]), [int(next(seeds))])
        assert medium_bytes(Reply([{"type": modality, modality: medium}])) == medium_bytes(Reply([part]))
    assert medium_bytes(scripted.chat("all", seed=3)) == medium_bytes(reply)
    assert medium_bytes(scripted.chat("all", seed=4)) != medium_bytes(reply)


def test_a_batch_answers_like_one_by_one(scripted: AnyGPT) -> None:
    replies = scripted.chat(list(ANSWERS), seed=1)
    for question, reply in zip(ANSWERS, replies, strict=True):
        alone = scripted.chat(question, seed=1)
        assert told(reply) == told(alone) == EXPECTED[question]
        for one, other in zip(reply.images, alone.images, strict=True):
            assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1
        for one, other in zip(reply.audios, alone.audios, strict=True):
            assert np.allclose(one.samples, other.samples, atol=1e-3)
        for one, other in zip(reply.videos, alone.videos, strict=True):
            assert np.abs(one.frames.astype(int) - other.frames).max() <= 1


def test_a_stream_never_shows_tags_or_captions(scripted: AnyGPT) -> None:
    for question, expected in EXPECTED.items():
        kinds: list[str] = []
        text = ""
        for event in scripted.stream(question):
            if isinstance(event, TextDelta):
                assert event.text and "<" not in event.text
                text += event.text
                kinds += [] if kinds and kinds[-1] == "text" else ["text"]
            elif isinstance(event, MediaStarted):
                kinds.append(event.modality)
            elif isinstance(event, MediaDone):
                assert event.modality == kinds[-1]
            elif isinstance(event, Done):
                assert told(event.reply) == expected and event.reply.text == text
        assert kinds == ["text" if part[0] != "<" else part[1:6] for part in expected]


def test_earlier_answers_are_read_back_as_they_were_written(scripted: AnyGPT) -> None:
    session = scripted.session()
    first = session.chat("draw")
    fed = session.memory.fed
    assert told(session.chat("hello")) == EXPECTED["hello"]
    asked = scripted.processor(normalise("hello"))
    assert session.memory.fed - fed < len(asked.ids)  # the first turn was remembered, the instruction too
    prompt = scripted.processor([*normalise("draw"), first.message, *normalise("hello")])
    text = scripted.tokenizer.decode(prompt.ids)
    assert "Here it is: <image>a red circle</image> Enjoy.<|end|>" in text
    assert text.startswith(f"<|system|>{instruction(ALL)}<|end|>") and text.count("<|system|>") == 1


def test_an_answer_s_medium_without_a_caption_is_refused(scripted: AnyGPT) -> None:
    history = [*normalise("draw"), {"role": "assistant", "content": [{"type": "image"}]}, *normalise("hello")]
    with pytest.raises(MessageError, match="image in an earlier answer needs its 'caption'"):
        scripted.chat(history)


def test_the_instruction_joins_what_the_system_says(scripted: AnyGPT) -> None:
    prompt = scripted.processor(normalise([{"role": "system", "content": "Be kind."}, *normalise("hello")]))
    assert scripted.tokenizer.decode(prompt.ids).startswith(
        f"<|system|>Be kind.\n\n{instruction(ALL)}<|end|>"
    )


def test_max_media_counts_captions(scripted: AnyGPT) -> None:
    assert told(scripted.chat("all", max_media=2)) == [*EXPECTED["all"][:3], "and"]
    assert told(scripted.chat("draw", max_media=0)) == ["Here it is:  Enjoy."]


def test_an_answer_that_is_cut_off_ends_its_caption(scripted: AnyGPT) -> None:
    whole = scripted.tokenizer("Here it is: <image>a red circle")["input_ids"]
    assert told(scripted.chat("draw", max_new_tokens=len(whole))) == EXPECTED["draw"][:2]


def test_one_line_switches_a_modality(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["outputs"]["image"]["way"] = "signals"
    (tmp_path / "config.json").write_text(json.dumps(config))
    for path in folder.iterdir():
        if path.name != "config.json":
            (tmp_path / path.name).symlink_to(path)
    model = AnyGPT.from_pretrained(tmp_path)
    assert model.config.captioned == ("audio", "video")
    prompt = model.processor(normalise("hello"))
    assert "</image>" not in model.tokenizer.decode(prompt.ids)
    assert "</audio>" in model.tokenizer.decode(prompt.ids)
    history = [*normalise("draw"), {"role": "assistant", "content": [PICTURE]}, *normalise("hello")]
    assert [*model.signals.ids["image"]] == [
        i for i in model.processor(history).ids if i >= model.signals.base
    ]
    model.use_signals()  # as stage 2 does
    assert model.config.captioned == model.processor.config.captioned == ()


@pytest.mark.parametrize("template", [tiny_model.CHAT_TEMPLATE, INSTRUCT, None])
def test_a_random_llm_answers_in_text_with_any_template(tmp_path: Path, template: str | None) -> None:
    """It writes no tags, and no signal tokens either, wild as it is; the instruction gets through."""
    folder = tiny_model.build_checkpoint(tmp_path, template)
    captioned(folder)
    model = AnyGPT.from_pretrained(folder)
    prompt = model.processor(normalise("hello"))
    assert instruction(ALL) in model.tokenizer.decode(prompt.ids)
    with torch.no_grad():
        model.signals.head.mul_(100)
    for seed in range(3):
        reply = model.chat("hello", seed=seed, temperature=50.0, max_new_tokens=40)
        assert all(part["type"] == "text" or part["caption"] for part in reply.content) and reply.text


def test_a_preset_answers_before_any_training(folder: Path, tmp_path: Path) -> None:
    """Its adapters, which have learned nothing, are left out; outputs by signal tokens are refused."""
    config = json.loads((folder / "config.json").read_text())
    preset = folder / "preset.yaml"
    preset.write_text(json.dumps(config))  # JSON is YAML
    model = AnyGPT.from_pretrained(preset)
    assert not model.config.inputs and told(model.chat("draw")) == EXPECTED["draw"]
    config["outputs"]["video"]["way"] = "signals"
    preset.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="outputs.video needs that"):
        AnyGPT.from_pretrained(preset)
    config["outputs"]["video"]["way"] = "caption"
    preset.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="did you mean 'captions'"):
        AnyGPT.from_pretrained(preset)


def test_the_command_line_keeps_captions(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told in JSON and in results, and read back from there as an earlier turn."""
    media = tmp_path / "media"
    assert main(["generate", "draw", "--model", str(folder), "--output-dir", str(media), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)["content"]
    assert content[1] == {"type": "image", "caption": "a red circle", "path": str(media / "image_0.png")}
    earlier = [{"role": "user", "content": "draw"}, {"role": "assistant", "content": content}]
    requests = tmp_path / "requests.jsonl"
    lines = [{"messages": [*earlier, {"role": "user", "content": "hello"}]}, {"id": "a", "messages": "all"}]
    requests.write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "batch"
    command = ["generate", "--batch", str(requests), "--model", str(folder), "--output-dir", str(out)]
    assert main(command) == 0
    results = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert results[0]["text"] == EXPECTED["hello"][0]
    assert [part.get("caption", part.get("text")) for part in results[1]["content"]] == [
        part[7:-8] if part[0] == "<" else part for part in EXPECTED["all"]
    ]


def test_info_says_which_way_media_are_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert all(lines[f"decoders/{modality}"].endswith("frozen, by captions") for modality in ALL)


def test_decoders_are_of_the_model_s_number_format(folder: Path, scripted: AnyGPT) -> None:
    model = AnyGPT.from_pretrained(folder, dtype=torch.bfloat16)
    for modality in ALL:
        media = [
            one.decode(modality, one.decoder(modality).encode_text(["a red circle"]), [1])[0]
            for one in (model, scripted)
        ]
        half, full = (
            np.asarray(getattr(medium, "samples", getattr(medium, "frames", medium)), float)
            for medium in media
        )
        parts = model.decoder(modality).modules.values()
        assert {p.dtype for part in parts for p in part.parameters()} == {torch.bfloat16}
        assert half.shape == full.shape and np.isfinite(half).all()
        if modality != "audio":  # the random vocoder's sound is no louder than the rounding
            assert np.corrcoef(half.ravel(), full.ravel())[0, 1] > 0.8
