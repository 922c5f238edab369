"""Every format on rows in its published form, and NExT-GPT's real samples."""

from pathlib import Path

import pytest
from data_files import Published, publish, told, write_json

from anygpt.data import FORMATS, BadItem, DataError, Source, open_source
from anygpt.data.media import open_all

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "nextgpt-sample"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Published]:
    return publish(tmp_path_factory.mktemp("data"))


def test_every_format_reads_its_published_form(published: dict[str, Published]) -> None:
    assert {entry.source.format for entry in published.values()} | {"datasets"} == set(FORMATS)
    for name, entry in published.items():
        reader = open_source(entry.source)
        assert told(reader.example(0)) == entry.first, name
        for row in range(len(reader)):
            opened = open_all(reader.example(row))
            media = [part for message in opened for part in message["content"] if part["type"] != "text"]
            assert all(part["type"] in part for part in media if "caption" not in part), name


def test_all_forms_of_nextgpt(published: dict[str, Published]) -> None:
    def rows(name: str) -> list[list[str]]:
        reader = open_source(published[name].source)
        return [told(reader.example(row)) for row in range(len(reader))]

    assert rows("nextgpt t2x")[1:] == [
        ["user: a boat!", "assistant: [image 9.jpg: a boat]"],
        ["user: rain?", "assistant: Yes. [audio 7.wav: rain]"],
        ["user: [image 9.jpg] what is it?", "assistant: a boat", "user: sure?", "assistant: yes"],
    ]
    assert rows("nextgpt present")[1:] == [
        ["user: [video 7.mp4] What happens?", "assistant: waves roll in"],
        ["user: [image 9.jpg] one?", "assistant: a", "user: [image b9.jpg] two?", "assistant: b"],
        ["user: rain", "assistant: Here: [audio -: rain]"],
    ]
    reader = open_source(published["nextgpt present"].source)
    # what is made goes without its file where its caption is enough
    assert told(reader.example(0, outputs=False)) == [
        "user: paint a boat",
        "assistant: Sure. [image -: a boat]",
    ]


def test_places_and_answers_of_the_other_formats(published: dict[str, Published]) -> None:
    def row(name: str, number: int) -> list[str]:
        return told(open_source(published[name].source).example(number))

    assert row("llava", 1)[0] == "user: What is it? [image 9.jpg]"
    assert row("llava", 2)[0] == "user: [image 9.jpg] What is it?"
    assert row("llava", 3) == ["user: hello", "assistant: hi"]
    assert row("mmc4", 1) == row("mmc4", 0)  # by the matrix as by the index
    assert row("nlvr2", 1)[-1] == "assistant: no"
    assert row("vqav2", 1)[-1] == "assistant: boat"
    assert row("coco-captions", 1)[0].startswith("user: [image COCO_val2014_000000000043.jpg]")
    assert row("audiocaps", 1)[0].startswith("user: [audio Yab12.wav]")
    assert row("mimic-it", 1) == ["user: [image LA_2.png] And this?", "assistant: A kite."]


def test_a_medium_with_a_caption_is_described_or_made(published: dict[str, Published]) -> None:
    source = published["nextgpt pairs"].source
    described = open_source(Source("nextgpt", source.path, source.media))
    assert told(described.example(0)) == ["user: [audio 7.wav] Describe the sound.", "assistant: rain"]
    made = open_source(Source("nextgpt", source.path, source.media), "make")
    assert told(made.example(1)) == [
        "user: Make a film of waves",
        "assistant: Here is the film. [video 7.mp4: waves]",
    ]
    both = open_source(Source("nextgpt", source.path, source.media, task="both"), "make")
    assert [len(both.example(row)[1]["content"]) for row in range(2)] == [1, 2]
    assert len(open_source(Source("nextgpt", source.path, source.media, limit=1))) == 1


@pytest.mark.parametrize("name", ["audiocap", "cc3m", "webvid"])
@pytest.mark.parametrize("ending", ["", "_comprehension", "_generation"])
def test_nextgpts_own_sample_rows_are_read_or_reported(name: str, ending: str) -> None:
    folder = SAMPLE / name
    if not folder.is_dir():
        pytest.skip("NExT-GPT's sample data are not beside this repository")
    media = next(path for path in folder.iterdir() if path.is_dir())
    there = {path.name for path in media.iterdir()}
    reader = open_source(Source("nextgpt", str(folder / f"{name}{ending}.json"), str(media)))
    assert len(reader) == 20
    read = 0
    for row in range(20):
        [file] = {
            part["path"][0]
            for m in reader.read(row)
            for part in m["content"]
            if isinstance(part, dict) and "path" in part
        }
        if file in there:
            conversation = reader.example(row)
            # each file is opened once in these nine tests: films take long
            assert len(conversation if ending else open_all(conversation)) == 2
            read += 1
        else:
            with pytest.raises(BadItem, match=f"{file} does not exist") as caught:
                reader.example(row)
            assert caught.value.reason == "missing"
    assert read == len(there)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source("lava", "x.json"), "unknown format 'lava' (did you mean 'llava'?)"),
        (Source("llava", "none.json"), "there is no file none.json"),
        (Source("llava", "empty.json"), "empty.json is empty"),
        (Source("llava", "words.json"), "words.json is not JSON"),
        (Source("llava", "good.json", "nowhere"), "there is no media folder nowhere"),
        (Source("vqav2", "good.json", annotations="good.json"), "good.json has no list under 'questions'"),
        (Source("vqav2", "good.json"), "'annotations' must name the file of answers"),
        (Source("cc3m", "folder"), "folder holds no pictures"),
        (Source("refcoco", "evil.p"), "it would call builtins.print"),
    ],
)
def test_a_source_that_cannot_be_used_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Source, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.json").touch()
    Path("words.json").write_text("these are words")
    Path("folder").mkdir()
    Path("evil.p").write_bytes(b"cbuiltins\nprint\n(S'evil'\ntR.")
    write_json(tmp_path / "good.json", {"data": []} if source.format == "vqav2" else [])
    if "questions" not in message and source.format == "vqav2":
        write_json(tmp_path / "good.json", {"questions": []})
    with pytest.raises(DataError) as caught:
        open_source(source)
    assert message in str(caught.value) and "\n" not in str(caught.value)
