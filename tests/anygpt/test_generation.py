"""Answers of a random model: high temperatures make it draw as readily as it talks."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anygpt.generation import Done, MediaDone, MediaProgress, MediaStarted, Reply, TextDelta
from anygpt.messages import MessageError, normalise
from anygpt.model import AnyGPT
from anygpt.options import OptionError, Options
from anygpt.thinking import Chooser, Detokeniser, Memory, Run, think
from encoders.media import Audio, Video

PICTURE = Image.fromarray(np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3))
OTHER = PICTURE.transpose(Image.Transpose.ROTATE_90)
LOOK = [{"role": "user", "content": [{"type": "image", "image": PICTURE}, {"type": "text", "text": "what?"}]}]
WILD = {"temperature": 50.0, "max_new_tokens": 150}  # all tokens are about as likely, signal tokens too


def kinds(reply: Reply) -> list[str]:
    return [part["type"] for part in reply.content]


def bytes_of(reply: Reply) -> list[bytes]:
    """Everything in an answer, as bytes."""
    forms: dict[str, Callable] = {
        "text": str.encode,
        "image": lambda image: image.tobytes(),
        "audio": lambda audio: audio.samples.tobytes(),
        "video": lambda video: video.frames.tobytes(),
    }
    return [forms[part["type"]](part[part["type"]]) for part in reply.content]


def drawing_seed(model: AnyGPT, fits: Callable[[list[str]], bool]) -> int:
    """The first seed whose wild answer to "hello" has the parts wanted; only the LLM runs."""
    prompt = model.processor(normalise("hello"))
    for seed in range(200):
        parts: list[str] = []
        for _, item in think(model, [prompt], Options(seed=seed, **WILD)):
            kind = item.modality if isinstance(item, Run) else "text"
            if not parts or kind != "text" or parts[-1] != "text":
                parts.append(kind)
        if fits(parts):
            return seed
    raise AssertionError("no seed gives such an answer")


@pytest.fixture(scope="module")
def rich_seed(shared_model: AnyGPT) -> int:
    """An answer of two kinds of media or more, two of one kind, and text between and after them."""
    return drawing_seed(
        shared_model,
        lambda parts: (
            parts[-1:] == ["text"]
            and len({*parts} - {"text"}) >= 2
            and max(parts.count(m) for m in ("image", "audio", "video")) >= 2
            and parts.count("text") >= 3
        ),
    )


def test_text_alone_needs_no_decoder(model: AnyGPT) -> None:
    reply = model.chat("hello", max_new_tokens=12)
    assert kinds(reply) == ["text"] and reply.text
    assert not model._decoders and not model._encoders


def test_an_answer_mixes_media_in_any_order_and_number(shared_model: AnyGPT, rich_seed: int) -> None:
    reply = shared_model.chat("hello", seed=rich_seed, **WILD)
    assert len(reply.images) + len(reply.audios) + len(reply.videos) == len(kinds(reply)) - kinds(
        reply
    ).count("text")
    assert all(isinstance(image, Image.Image) for image in reply.images)
    assert all(isinstance(audio, Audio) and audio.rate == 16000 for audio in reply.audios)
    assert all(isinstance(video, Video) and len(video.frames) == 3 for video in reply.videos)
    assert reply.text == "".join(part["text"] for part in reply.content if part["type"] == "text")
    assert reply.seconds["total"] == pytest.approx(
        sum(v for k, v in reply.seconds.items() if k != "total"), rel=0.05
    )


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    shared_model: AnyGPT, rich_seed: int
) -> None:
    first, second = (shared_model.chat("hello", seed=rich_seed, **WILD) for _ in range(2))
    assert bytes_of(first) == bytes_of(second)
    assert bytes_of(shared_model.chat("hello", seed=rich_seed + 1, **WILD)) != bytes_of(first)
    # media of one answer have seeds of their own
    for modality in ("image", "audio", "video"):
        of_kind = [b for b, kind in zip(bytes_of(first), kinds(first), strict=True) if kind == modality]
        assert len(set(of_kind)) == len(of_kind)


def test_a_stream_tells_the_answer_in_order(shared_model: AnyGPT, rich_seed: int) -> None:
    whole = shared_model.chat("hello", seed=rich_seed, **WILD)
    events = list(shared_model.stream("hello", seed=rich_seed, **WILD))
    assert isinstance(events[-1], Done) and bytes_of(events[-1].reply) == bytes_of(whole)
    told: list[str] = []
    text = ""
    for event in events[:-1]:
        if isinstance(event, TextDelta):
            text += event.text
            told += [] if told and told[-1] == "text" else ["text"]
        elif isinstance(event, MediaStarted):
            told.append(event.modality)
            assert event.index == told.count(event.modality) - 1
            steps = []
        elif isinstance(event, MediaProgress):
            steps.append(event.step)
            assert event.steps == 2
        elif isinstance(event, MediaDone):
            assert steps == [1, 2] and event.seconds > 0 and event.modality == told[-1]
    assert text == whole.text and told == kinds(whole)


def test_text_goes_on_while_media_are_made(
    shared_model: AnyGPT, rich_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU; the answer is the same."""
    options = {
        "seed": rich_seed,
        **WILD,
        **{m: {"num_inference_steps": 30} for m in ("image", "audio", "video")},
    }
    whole = shared_model.chat("hello", **options)
    monkeypatch.setattr("anygpt.generation.overlaps", lambda model: True)
    events = list(shared_model.stream("hello", **options))
    assert bytes_of(events[-1].reply) == bytes_of(whole)
    started = [(event.modality, event.index) for event in events if isinstance(event, MediaStarted)]
    done = [event for event in events if isinstance(event, MediaDone)]
    assert started == [(event.modality, event.index) for event in done]
    first = next(place for place, event in enumerate(events) if isinstance(event, MediaStarted))
    assert any(isinstance(event, TextDelta) for event in events[first : events.index(done[0])])
    seconds = events[-1].reply.seconds
    assert seconds["total"] < sum(spent for what, spent in seconds.items() if what != "total")
    stream = shared_model.stream("hello", **options)
    for event in stream:
        if isinstance(event, MediaStarted):
            break
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("anygpt-media")]
    monkeypatch.setattr(shared_model, "decode", broken)
    with pytest.raises(RuntimeError, match="out of paint"):
        shared_model.chat("hello", **options)


def broken(*given: object, **settings: object) -> None:
    raise RuntimeError("out of paint")


def test_a_batch_gives_the_answers_of_its_conversations(shared_model: AnyGPT, rich_seed: int) -> None:
    conversations = [
        "hello",
        LOOK,
        [{"role": "user", "content": "draw a red circle, please, and play its sound"}],
    ]
    for options in ({"max_new_tokens": 30}, {"seed": rich_seed, **WILD}):
        together = shared_model.chat(conversations, **options)
        for conversation, reply in zip(conversations, together, strict=True):
            alone = shared_model.chat(conversation, **options)
            assert reply.text == alone.text and kinds(reply) == kinds(alone)
            for one, other in zip(reply.images, alone.images, strict=True):
                assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1
            for one, other in zip(reply.audios, alone.audios, strict=True):
                assert np.allclose(one.samples, other.samples, atol=1e-3)


def test_the_run_is_fed_whole_and_read_where_its_tokens_are_the_input(model: AnyGPT, rich_seed: int) -> None:
    """The states that the projection gets are those of a forward pass over the finished conversation."""
    model.signals.requires_grad_(False)
    prompt = model.processor(normalise("hello"))
    memory = Memory(model)
    runs = [
        r for _, r in think(model, [prompt], Options(seed=rich_seed, **WILD), memory) if isinstance(r, Run)
    ]
    ids = [key for key, _ in memory.entries]
    rows = torch.cat(model.embed(ids))[None]
    with torch.no_grad():
        _, hidden = model.think(rows, torch.ones(1, len(ids), dtype=torch.long))
    starts = [i for i, token in enumerate(ids) if token in [run.start for run in model.signals.ids.values()]]
    assert len(starts) == len(runs) >= 3
    for start, run in zip(starts, runs, strict=True):
        expected = model.signals.ids[run.modality]
        assert ids[start : start + len(expected)] == list(expected)
        assert torch.allclose(run.hidden, hidden[0, start : start + len(expected)], atol=1e-3)
        assert torch.equal(run.embeddings, model.signal_embeddings(run.modality))


def test_only_the_first_token_of_a_run_can_be_chosen(shared_model: AnyGPT) -> None:
    base, width = shared_model.signals.base, shared_model.signals.base + 8
    logits = torch.zeros(width)
    logits[base:] = torch.tensor([1.0, 9, 9, 2, 3, 9, 9, 9])  # image, audio, video start at 0, 3, 4
    chooser = Chooser(shared_model, Options(max_media=1))
    assert chooser(logits) == base + 4
    assert chooser(logits) < base  # no second medium, as one was allowed


def test_top_p_leaves_out_the_unlikely(shared_model: AnyGPT) -> None:
    logits = torch.full((shared_model.signals.base + 8,), -20.0)
    logits[[7, 8, 9]] = torch.tensor([0.6, 0.3, 0.1]).log()
    drawn = {}
    for top_p in (0.5, 0.85, 1.0):
        chooser = Chooser(shared_model, Options(temperature=1.0, top_p=top_p))
        drawn[top_p] = {chooser(logits) for _ in range(100)}
    assert drawn == {0.5: {7}, 0.85: {7, 8}, 1.0: {7, 8, 9}}


def test_max_media_and_max_new_tokens_bound_the_answer(shared_model: AnyGPT, rich_seed: int) -> None:
    none = shared_model.chat("hello", seed=rich_seed, max_media=0, **WILD)
    assert kinds(none) == ["text"]
    memory = Memory(shared_model)
    prompt = shared_model.processor(normalise("hello"))
    list(think(shared_model, [prompt], Options(max_new_tokens=5, max_media=0), memory))
    assert memory.fed == len(prompt.ids) + 4  # the last token is told, and not read


@pytest.mark.parametrize("text", ["hello übung 🎈🎈 x", "  two  spaces ", "日本語テキスト", "a\n\nb"])
@pytest.mark.parametrize("strip", [False, True])
def test_text_arrives_whole(shared_model: AnyGPT, text: str, strip: bool) -> None:
    detokeniser = Detokeniser(shared_model.tokenizer, strip)
    deltas = [detokeniser.push(token) for token in shared_model.tokenizer(text)["input_ids"]]
    assert not any("\ufffd" in delta for delta in deltas)
    assert "".join(deltas) + detokeniser.flush() == (text.lstrip() if strip else text)


def test_broken_characters_at_the_end_are_still_told(shared_model: AnyGPT) -> None:
    tokens = shared_model.tokenizer("é漢")["input_ids"]
    detokeniser = Detokeniser(shared_model.tokenizer, strip=False)
    shown = "".join(detokeniser.push(token) for token in tokens[:-1])
    assert shown == "é" and "\ufffd" in detokeniser.flush()


def test_a_session_reads_only_what_is_new_and_answers_as_if_it_had_read_all(shared_model: AnyGPT) -> None:
    session = shared_model.session()
    turns = [
        LOOK[0]["content"],
        "hello",
        [{"type": "image", "image": OTHER}, {"type": "text", "text": "and this?"}],
    ]
    history: list[dict] = []
    for turn in turns:
        before = session.memory.fed
        reply = session.chat(turn, max_new_tokens=8)
        fed = session.memory.fed - before
        history.append({"role": "user", "content": turn})
        fresh = shared_model.chat(history, max_new_tokens=8)
        assert reply.text == fresh.text
        whole = shared_model.processor(normalise(history))
        slots = len(whole.ids) + sum(len(a) - 1 for a in shared_model.adapt(whole.media))
        if len(history) > 1:
            assert fed < slots  # less than the prompt alone, and the answer is in `fed` too
        history.append(reply.message)
    assert len(session.messages) == 6 and session.messages[-1] == history[-1]
    session.reset()
    assert session.messages == [] and session.memory.fed == 0


def test_media_in_the_history_are_remembered(shared_model: AnyGPT, rich_seed: int) -> None:
    session = shared_model.session()
    first = session.chat("hello", seed=rich_seed, **WILD)
    again = session.chat("one more", max_new_tokens=8)
    history = [
        {"role": "user", "content": "hello"},
        first.message,
        {"role": "user", "content": "one more"},
    ]
    assert shared_model.chat(history, max_new_tokens=8).text == again.text


def test_a_picture_that_is_asked_about_again_is_not_encoded_again(model: AnyGPT) -> None:
    runs: list[int] = []
    blocks = model.encoder("image").model.modality_trunks.vision.blocks  # type: ignore[union-attr,operator]
    blocks[0].register_forward_hook(lambda *_: runs.append(1))
    first = model.chat(LOOK, max_new_tokens=4)
    assert len(runs) == 1
    assert model.chat(LOOK, max_new_tokens=4).text == first.text and len(runs) == 1
    model.chat([{"role": "user", "content": [{"type": "image", "image": OTHER}, "what?"]}], max_new_tokens=4)
    assert len(runs) == 2
    for number in range(20):
        noise = Image.fromarray(np.random.default_rng(number).integers(0, 255, (32, 32, 3), np.uint8))
        model.encode(
            [
                model.processor(
                    normalise([{"role": "user", "content": [{"type": "image", "image": noise}]}])
                ).media[0]
            ]
        )
    model.chat(LOOK, max_new_tokens=4)
    assert len(runs) == 23


def test_another_picture_is_not_taken_for_the_one_remembered(shared_model: AnyGPT) -> None:
    memory = Memory(shared_model)
    for picture in (PICTURE, OTHER):
        content = [{"type": "image", "image": picture}, {"type": "text", "text": "what?"}]
        prompt = shared_model.processor(normalise([{"role": "user", "content": content}]))
        fresh = [item for _, item in think(shared_model, [prompt], Options(max_new_tokens=6))]
        assert [item for _, item in think(shared_model, [prompt], Options(max_new_tokens=6), memory)] == fresh


def test_an_interrupted_turn_leaves_the_session_usable(shared_model: AnyGPT, rich_seed: int) -> None:
    session = shared_model.session()
    session.chat("hello", max_new_tokens=4)
    kept = list(session.messages)
    for stop_at in (TextDelta, MediaStarted, MediaProgress):
        stream = session.stream("one two", seed=drawing_seed(shared_model, lambda p: "image" in p), **WILD)
        with pytest.raises(KeyboardInterrupt):
            for event in stream:
                if isinstance(event, stop_at):
                    raise KeyboardInterrupt
        stream.close()
        assert session.messages == kept
    reply = session.chat("three", max_new_tokens=8)
    history = [*kept, {"role": "user", "content": "three"}]
    assert reply.text == shared_model.chat(history, max_new_tokens=8).text


def test_a_step_cut_short_in_the_middle_of_the_llm_is_undone(shared_model: AnyGPT) -> None:
    session = shared_model.session()
    session.chat("hello", max_new_tokens=4)
    kept = list(session.messages)
    layer = session.memory.cache.layers[0]  # has read a step that the other layers have not
    layer.update(layer.keys[..., -3:, :], layer.values[..., -3:, :])
    reply = session.chat("three", max_new_tokens=8)
    history = [*kept, {"role": "user", "content": "three"}]
    assert reply.text == shared_model.chat(history, max_new_tokens=8).text


def test_a_reply_is_saved_and_can_be_said_again(shared_model: AnyGPT, rich_seed: int, tmp_path: Path) -> None:
    reply = shared_model.chat("hello", seed=rich_seed, **WILD)
    paths = reply.save(tmp_path / "out")
    assert [path.suffix for path in paths] == [
        {"image": ".png", "audio": ".wav", "video": ".mp4"}[kind] for kind in kinds(reply) if kind != "text"
    ]
    for modality in ("image", "audio", "video"):
        names = [path.stem for path in paths if path.stem.startswith(modality)]
        assert names == [f"{modality}_{i}" for i in range(len(names))]
    assert sorted(paths) == sorted((tmp_path / "out").iterdir())


def test_options_reach_the_decoder(shared_model: AnyGPT) -> None:
    seed = drawing_seed(shared_model, lambda parts: "image" in parts)
    small = shared_model.chat("hello", seed=seed, image={"height": 32, "width": 48}, **WILD)
    assert small.images[0].size == (48, 32)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temprature": 1}, "did you mean 'temperature'"),
        ({"top_p": 0}, "top_p must be above 0"),
        ({"seed": -1}, "seed must be"),
        ({"max_new_tokens": 0}, "at least 1"),
        ({"image": {"steps": 3}}, "image: unknown setting 'steps'"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(
    shared_model: AnyGPT, options: dict, words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        shared_model.chat("hello", **options)
    with pytest.raises(OptionError, match=words):
        shared_model.stream("hello", **options)


def test_wrong_messages_are_refused_at_the_call(shared_model: AnyGPT) -> None:
    with pytest.raises(MessageError, match="conversation 1: message 0"):
        shared_model.chat(["hello", [{"role": "usr", "content": "x"}]])
    with pytest.raises(MessageError, match="thermal"):
        shared_model.stream(
            [{"role": "user", "content": [{"type": "thermal", "thermal": np.zeros((32, 32))}]}]
        )
    with pytest.raises(MessageError, match="one conversation"):
        shared_model.stream(["hello", "hello"])


def test_what_may_become_an_end_is_held_back(shared_model: AnyGPT) -> None:
    tokens = shared_model.tokenizer("a # b\n##! c\n### d")["input_ids"]
    detokeniser = Detokeniser(shared_model.tokenizer, strip=False, stops=("\n###", "###"))
    deltas = [detokeniser.push(token) for token in tokens]
    assert "".join(deltas) == "a # b\n##! c" and detokeniser.stopped and detokeniser.flush() == ""
    detokeniser = Detokeniser(shared_model.tokenizer, strip=False, stops=("###",))
    deltas = [detokeniser.push(token) for token in shared_model.tokenizer("a ##")["input_ids"]]
    assert "".join(deltas) == "a " and not detokeniser.stopped and detokeniser.flush() == "##"
