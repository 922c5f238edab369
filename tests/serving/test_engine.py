"""The engine with a random model: many at once as each alone, and what happens when not all goes well."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from anygpt.generation import Done, MediaDone, MediaProgress, MediaStarted, Reply, TextDelta
from anygpt.messages import normalise
from anygpt.model import AnyGPT
from anygpt.options import Options
from anygpt.serving.engine import Engine, Job
from anygpt.serving.errors import Busy, Closing, Gone, OverTime
from anygpt.serving.limits import Limits
from anygpt.serving.metrics import Metrics
from anygpt.thinking import Batch

WILD = {"temperature": 50.0, "max_new_tokens": 40}  # all tokens are about as likely, signal tokens too
QUESTIONS = ["hello", "draw a red circle", "one two three", "what is this? play its sound, please"]


class Asked(Job):
    """A job that keeps what it is told."""

    def __init__(
        self, model: AnyGPT, text: str, seconds: float = 300, alone: bool = False, **options: Any
    ) -> None:
        self.events: queue.Queue[Any] = queue.Queue()
        given = Options.read(options, model.config.outputs)
        prompt = model.processor(normalise(text))
        super().__init__(
            prompt, given, self.events.put, time.monotonic() + seconds, Reply(seed=given.seed), alone
        )

    def all(self) -> list[Any]:
        """Everything it is told, to the end."""
        told = [self.events.get(timeout=120)]
        while not isinstance(told[-1], Done | Exception):
            told.append(self.events.get(timeout=120))
        return told


@pytest.fixture
def engine(random_model: AnyGPT) -> Iterator[Engine]:
    engine = Engine(random_model, Limits(batch=16, queue=20), Metrics())
    engine.start()
    yield engine
    engine.close()


def submit(engine: Engine, *jobs: Asked) -> None:
    with engine.places(len(jobs)):
        engine.submit(list(jobs))


def answers(*jobs: Asked) -> list[Reply]:
    """All replies, when the last is there: the model works in one thread at a time, the engine's or the test's."""
    ends = [job.all()[-1] for job in jobs]
    assert all(isinstance(end, Done) for end in ends), ends
    return [end.reply for end in ends]


def same(one: Reply, other: Reply) -> None:
    """Equal texts and kinds; media equal to a grey level."""
    assert one.text == other.text
    assert [part["type"] for part in one.content] == [part["type"] for part in other.content]
    for a, b in zip(one.images, other.images, strict=True):
        assert np.abs(np.asarray(a, int) - np.asarray(b, int)).max() <= 1
    for a, b in zip(one.audios, other.audios, strict=True):
        assert np.allclose(a.samples, b.samples, atol=1e-3)
    for a, b in zip(one.videos, other.videos, strict=True):
        assert np.abs(a.frames.astype(int) - b.frames).max() <= 1


def test_sixteen_that_must_be_alone_are_to_the_byte_what_each_is_alone(
    random_model: AnyGPT, engine: Engine
) -> None:
    """Beside others that are batched."""
    asked = [(QUESTIONS[seed % 4], {"seed": seed, **WILD, "max_new_tokens": 10 + seed}) for seed in range(16)]
    others = [Asked(random_model, text, seed=seed, max_new_tokens=60) for seed, text in enumerate(QUESTIONS)]
    jobs = [Asked(random_model, text, alone=True, **options) for text, options in asked]
    submit(engine, *others, *jobs)
    replies = answers(*jobs, *others)[: len(jobs)]
    kinds = set()
    for reply, (text, options) in zip(replies, asked, strict=True):
        expected = random_model.chat(text, **options)
        assert reply.text == expected.text
        assert all(map(np.array_equal, reply.images, expected.images))
        assert all(np.array_equal(a.samples, b.samples) for a, b in zip(reply.audios, expected.audios))
        assert all(np.array_equal(a.frames, b.frames) for a, b in zip(reply.videos, expected.videos))
        kinds |= {part["type"] for part in reply.content}
        assert [part["type"] for part in reply.content] == [part["type"] for part in expected.content]
    assert kinds == {"text", "image", "audio", "video"}


def test_a_failure_of_the_engine_is_told_to_those_it_hits_and_to_nobody_else(
    random_model: AnyGPT, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: Any) -> None:
        raise MemoryError("no memory for another row")

    writing = Asked(random_model, "hello", max_media=0, temperature=50.0, max_new_tokens=900)
    submit(engine, writing)
    writing.events.get(timeout=60)
    with monkeypatch.context() as patched:
        patched.setattr(Batch, "join", no_memory)
        joining = Asked(random_model, "hello", max_media=0)
        submit(engine, joining)
        assert isinstance(joining.all()[-1], MemoryError) and isinstance(writing.all()[-1], MemoryError)
    after = Asked(random_model, "hello", max_media=0, max_new_tokens=3)
    submit(engine, after)
    assert isinstance(after.all()[-1], Done) and engine.alive


def test_sixteen_at_once_are_as_each_alone(random_model: AnyGPT, engine: Engine) -> None:
    asked = [
        (QUESTIONS[seed % 4], {"seed": seed, **WILD, "max_new_tokens": 20 + seed, "stop": ["qq"]})
        for seed in range(16)
    ]
    jobs = [Asked(random_model, text, **options) for text, options in asked]
    submit(engine, *jobs)
    kinds = set()
    for reply, (text, options) in zip(answers(*jobs), asked, strict=True):
        same(reply, random_model.chat(text, **options))
        kinds |= {part["type"] for part in reply.content}
    assert kinds == {"text", "image", "audio", "video"}
    rows = engine.metrics.rows.collect()[0].samples
    assert next(s.value for s in rows if s.name.endswith("_bucket") and s.labels["le"] == "8.0") < next(
        s.value for s in rows if s.name.endswith("_count")
    )


def test_rows_join_a_batch_that_is_under_way_and_leave_it(random_model: AnyGPT) -> None:
    """Token by token as alone, whatever goes on beside, and no slot is kept that nobody needs."""
    prompts = [random_model.processor(normalise(text)) for text in QUESTIONS]
    options = [
        Options(seed=seed, temperature=50.0, max_new_tokens=8 + 6 * seed, max_media=3) for seed in range(4)
    ]
    told: dict[Any, str] = {}
    batch = Batch(random_model, prompts[:1], options[:1])
    rows = list(batch.rows)
    for step in range(60):
        if step in (3, 5, 9):
            new = Batch(random_model, [prompts[len(rows)]], [options[len(rows)]])
            rows += new.rows
            batch.join(new)
        for row, item in batch.step():
            told[row] = told.get(row, "") + (item if isinstance(item, str) else f"<{item.modality}>")
    assert batch.rows == [] and len(rows) == 4
    for row, prompt, own in zip(rows, prompts, options, strict=True):
        alone = Batch(random_model, [prompt], [own])
        expected = ""
        while alone.rows:
            for _, item in alone.step():
                expected += item if isinstance(item, str) else f"<{item.modality}>"
        assert told[row] == expected and row.ended == "length" and row.tokens == own.max_new_tokens


def test_slots_that_nobody_needs_are_let_go(random_model: AnyGPT) -> None:
    prompt = random_model.processor(normalise("hello"))
    batch = Batch(random_model, [prompt], [Options(max_media=0, max_new_tokens=5)])
    widths = []
    for _ in range(20):
        list(batch.step())
        batch.join(Batch(random_model, [prompt], [Options(max_media=0, max_new_tokens=9)]))
        widths.append(batch.memory.mask.shape[1])
    assert max(widths[10:]) <= len(prompt.ids) + 12
    assert batch.memory.cache.get_seq_length() == widths[-1]


def test_events_come_in_the_answers_order(random_model: AnyGPT, engine: Engine) -> None:
    wild = {**WILD, "max_new_tokens": 150, "modalities": ["image", "audio", "video"]}
    jobs = [Asked(random_model, "hello", seed=seed, **wild) for seed in range(4)]
    submit(engine, *jobs)
    media = 0
    for job in jobs:
        told = job.all()
        content: list[str] = []
        for event in told[:-1]:
            if isinstance(event, TextDelta):
                content += [] if content and content[-1] == "text" else ["text"]
            elif isinstance(event, MediaDone):
                content.append(event.modality)
                media += 1
        assert content == [part["type"] for part in told[-1].reply.content]
        assert sum(isinstance(event, MediaStarted) for event in told) == sum(
            isinstance(event, MediaDone) for event in told
        )
    assert media >= 12  # one of each kind at least, some of them between texts


def test_media_are_made_together_and_text_goes_on_meanwhile(random_model: AnyGPT, engine: Engine) -> None:
    drawing = [
        Asked(random_model, "draw", seed=seed, max_new_tokens=1, modalities=["image"]) for seed in range(8)
    ]
    writing = Asked(random_model, "hello", seed=1, max_media=0, temperature=50.0, max_new_tokens=400)
    submit(engine, *drawing, writing)
    ended = {}
    for job in (*drawing, writing):
        told = job.all()
        assert isinstance(told[-1], Done)
        ended[job] = told
    assert all(len(job.reply.images) == 1 for job in drawing) and len(writing.reply.text) > 100
    runs = engine.metrics.batch.labels("image")._sum.get(), engine.metrics.media.labels("image")._value.get()
    assert runs == (8, 8)
    samples = engine.metrics.batch.collect()[0].samples
    assert next(s.value for s in samples if s.name.endswith("_count")) == 1  # one run for all eight


def test_a_client_that_leaves_stops_text_and_decoder(random_model: AnyGPT, engine: Engine) -> None:
    writing = Asked(random_model, "hello", max_media=0, temperature=50.0, max_new_tokens=900)
    drawing = Asked(
        random_model, "draw", modalities=["image"], max_new_tokens=1, image={"num_inference_steps": 900}
    )
    submit(engine, writing, drawing)
    writing.events.get(timeout=60)
    while not isinstance(drawing.events.get(timeout=60), MediaProgress):
        pass
    begun = time.monotonic()
    writing.cancel()
    drawing.cancel()
    assert isinstance(writing.all()[-1], Gone) and isinstance(drawing.all()[-1], Gone)
    after = Asked(random_model, "hello", max_media=0, max_new_tokens=3)
    submit(engine, after)
    assert isinstance(after.all()[-1], Done) and time.monotonic() - begun < 30
    assert writing.row is not None and writing.row.tokens < 900


def test_a_full_queue_turns_away_and_late_answers_are_given_up(random_model: AnyGPT, engine: Engine) -> None:
    jobs = [Asked(random_model, "hello", max_media=0, max_new_tokens=2) for _ in range(20)]
    with engine.places(20):
        with pytest.raises(Busy), engine.places(1):
            pass
        engine.submit(list(jobs))
    for job in jobs:
        assert isinstance(job.all()[-1], Done)
    late = Asked(random_model, "hello", seconds=0, max_media=0)
    submit(engine, late)
    assert isinstance(late.all()[-1], OverTime)
    slow = Asked(
        random_model,
        "draw",
        seconds=1,
        modalities=["image"],
        max_new_tokens=1,
        image={"num_inference_steps": 900},
    )
    submit(engine, slow)
    assert isinstance(slow.all()[-1], OverTime)


def test_a_poisonous_request_harms_no_neighbour(random_model: AnyGPT, engine: Engine) -> None:
    good = [Asked(random_model, text, max_media=0, max_new_tokens=5) for text in QUESTIONS]
    bad = Asked(random_model, "hello", max_new_tokens=5)
    bad.prompt.ids.append(10**6)  # a token that no LLM has
    wrong = Asked(
        random_model, "draw", modalities=["image"], max_new_tokens=1, image={"height": 13, "width": 13}
    )
    submit(engine, good[0], bad, wrong, *good[1:])
    assert isinstance(bad.all()[-1], Exception)
    assert "13" in str(wrong.all()[-1])
    for reply, text in zip(answers(*good), QUESTIONS, strict=True):
        assert reply.text == random_model.chat(text, max_media=0, max_new_tokens=5).text


def test_closing_finishes_what_was_taken(random_model: AnyGPT) -> None:
    engine = Engine(random_model, Limits(batch=2), Metrics())
    engine.start()
    jobs = [
        Asked(random_model, "draw", seed=seed, modalities=["image"], max_new_tokens=4) for seed in range(5)
    ]
    submit(engine, *jobs)
    closer = threading.Thread(target=engine.close)
    closer.start()
    for job in jobs:
        assert job.all()[-1].reply.images
    closer.join(timeout=60)
    assert not closer.is_alive() and not engine.alive
    with pytest.raises(Closing), engine.places(1):
        pass


def test_answers_leave_nothing_behind(random_model: AnyGPT, engine: Engine) -> None:
    submit(engine, job := Asked(random_model, "hello", seed=3, **WILD))
    job.all()
    deadline = time.monotonic() + 30
    while (engine._flying or engine._batches() or engine._media) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not engine._flying and not engine._batches() and not engine._media and not engine._thinking
