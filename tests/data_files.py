"""Small data sets in the published forms, with their media, for the tests of readers, of mixtures and of the commands."""

import json
import pickle
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command_line import picture, sound

from anygpt.data.source import Source
from anygpt.media import write
from encoders.media import Video


class Published(NamedTuple):
    """One data set: its source, and what its first row should become, as `told` writes it."""

    source: Source
    first: list[str]


def film(path: Path) -> Path:
    frames = np.zeros((8, 32, 32, 3), np.uint8)
    frames[:, :, :, 0] = np.arange(8)[:, None, None] * 20
    return write("video", Video(frames, 8.0), path)


def told(conversation: list[dict[str, Any]]) -> list[str]:
    """A conversation in short: a string a message, media as [type name] and what the assistant makes as [type name: caption]."""
    rows = []
    for message in conversation:
        words = []
        for part in message["content"]:
            if part["type"] == "text":
                words.append(part["text"])
            else:
                caption = f": {part['caption']}" if "caption" in part else ""
                words.append(f"[{part['type']} {part['path'].name if 'path' in part else '-'}{caption}]")
        rows.append(f"{message['role']}: {' '.join(words)}")
    return rows


def write_json(path: Path, value: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False))
    return str(path)


def write_lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def publish(folder: Path) -> dict[str, Published]:
    """Every format, of one to four good rows each."""
    media = folder / "media"
    for name in ("00000/000000000.jpg", "000000001.jpg", "9.jpg", "b9.jpg", "LA_1.jpg", "LA_2.png", "2354786.jpg",
                 "COCO_train2014_000000000042.jpg", "val2014/COCO_val2014_000000000043.jpg",
                 "57/train-10171-0-img0.png", "57/train-10171-0-img1.png", "m_0.jpg"):  # fmt: skip
        (media / name).parent.mkdir(parents=True, exist_ok=True)
        picture(media / name)
    for name in ("7.wav", "Yab12.wav"):
        sound(media / name)
    film(media / "7.mp4")
    film(media / "001_050" / "1001.mp4")
    pairs = folder / "pairs"
    pairs.mkdir()
    for name in ("a", "b"):
        picture(pairs / f"{name}.jpg")
        (pairs / f"{name}.txt").write_text(f"a picture {name}\n")

    with tarfile.open(folder / "shard.tar", "w") as shard:
        for path in sorted(pairs.iterdir()):
            shard.add(path, path.name)

    def turns(*values: str) -> list[dict[str, str]]:
        return [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]

    coco = {
        "images": [{"id": 42, "file_name": "COCO_train2014_000000000042.jpg", "height": 100, "width": 200},
                   {"id": 43, "file_name": "COCO_val2014_000000000043.jpg", "height": 100, "width": 200}],
        "annotations": [{"image_id": 42, "id": 1, "caption": "A red boat. "}, {"image_id": 43, "id": 2, "caption": "Sea"}],
    }  # fmt: skip
    refs = [{"ref_id": 1, "ann_id": 7, "image_id": 42, "split": "train", "category_id": 9,
             "sentences": [{"sent": "left boat", "sent_id": 1, "tokens": ["left", "boat"], "raw": "Left boat"},
                           {"sent": "red one", "sent_id": 2, "tokens": ["red", "one"], "raw": "red one"}]}]  # fmt: skip
    (folder / "refs").mkdir()
    (folder / "refs" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    write_json(
        folder / "refs" / "instances.json",
        {
            "images": coco["images"],
            "annotations": [{"id": 7, "image_id": 42, "bbox": [20.0, 10.0, 60.0, 80.0]}],
        },
    )
    (folder / "cc3m.tsv").write_text(
        'caption\turl\na kite, "red\tand\thttps://x/1\na sea\thttps://x/2\n'.replace("\tand", " and")
    )
    (folder / "webvid.csv").write_text(
        'videoid,contentUrl,duration,page_dir,name\n1001,https://x,PT00H00M08S,001_050,"Waves, at dusk\r\n(full hd)"\n'
    )
    (folder / "audiocaps.csv").write_text(
        "audiocap_id,youtube_id,start_time,caption\n7,zz,30,Rain on a roof\n8,ab12,0,A dog barks\n"
    )
    answers = [{"question_id": 420, "image_id": 42, "multiple_choice_answer": "boat", "answers": [{"answer": "ship"}]},
               {"question_id": 430, "image_id": 43, "answers": [{"answer": "sea"}, {"answer": "water"}, {"answer": "water"}]}]  # fmt: skip
    questions = [{"image_id": 43, "question": "What is blue?", "question_id": 430},
                 {"image_id": 42, "question": "What is it?", "question_id": 420}]  # fmt: skip

    def made(name: str, path: str, first: list[str], **settings: Any) -> tuple[str, Published]:
        settings = {"media": str(media), **settings}
        return name, Published(Source(name.split(" ")[0], path, **settings), first)

    brief = "\nAnswer with a word or a short phrase."
    return dict([
        made("messages", write_lines(folder / "ours.jsonl", [
            {"id": "1", "messages": [{"role": "user", "content": [{"type": "image", "path": "9.jpg"}, "what is it?"]},
                                     {"role": "assistant", "content": "a boat"}]},
        ]), ["user: [image 9.jpg] what is it?", "assistant: a boat"]),
        made("nextgpt pairs", write_json(folder / "audiocap.json", [
            {"audio_id": 7, "audio_name": "7.wav", "caption": "rain \r\n"},
            {"id": 7, "video_name": "7.mp4", "caption": "waves"},
        ]), ["user: Let me hear rain", "assistant: Here is the sound. [audio 7.wav: rain]"], task="make"),
        made("nextgpt t2x", write_json(folder / "t2x.json", [
            {"mm_name": "7.wav", "output_modality": "audio", "conversation": [
                {"from": "human", "value": "let me hear rain", "input_modality": "text"},
                {"from": "gpt", "value": "Here it is.", "caption": "rain falling", "output_modality": "audio"}]},
            {"image_name": "9.jpg", "output_modality": "image", "conversation": [
                {"from": "human", "value": "a boat!", "input_modality": "text"},
                {"from": "gpt", "value": "", "caption": "a boat", "output_modality": "image"}]},
            {"source_data": {"audiocap_id": 7}, "output_modality": "audio", "conversation": [
                {"from": "human", "value": "rain?", "input_modality": "text"},
                {"from": "gpt", "value": "Yes.", "caption": "rain", "output_modality": "audio"}]},
            {"image_name": "9.jpg", "output_modality": "text", "conversation": [
                {"from": "human", "value": "what is it?", "input_modality": "image"},
                {"from": "gpt", "value": "a boat", "caption": "", "output_modality": "text"},
                {"from": "human", "value": "sure?", "input_modality": "text"},
                {"from": "gpt", "value": "yes", "caption": "", "output_modality": "text"}]},
        ]), ["user: let me hear rain", "assistant: Here it is. [audio 7.wav: rain falling]"]),
        made("nextgpt present", write_json(folder / "generation.json", [
            {"output_image": "9.jpg", "image_captions": "a boat", "image_caption_embeddings": "9.jpg.npy",
             "conversations": turns("paint a boat", "Sure. <image>")},
            {"input_video": "7.mp4", "conversations": turns("<video>\nWhat happens?", "waves roll in")},
            {"input_image": ["9.jpg", "b9.jpg"], "conversations": turns("<image>\none?", "a", "<image>\ntwo?", "b")},
            {"audio_captions": ["rain"], "audio_caption_embeddings": ["it_1.wav.npy"], "conversations": turns("rain", "Here:")},
        ]), ["user: paint a boat", "assistant: Sure. [image 9.jpg: a boat]"]),
        made("mosit", write_json(folder / "mosit.json", [
            {"image_list": [{"image_name": "m_0.jpg", "data_source": "mosit", "caption": "a map"}],
             "video_list": [{"video_name": "7.mp4", "caption": "waves"}], "audio_list": [],
             "conversation": turns("<Video>7.mp4</Video> plan a trip", "See <Image>m_0.jpg</Image> there")},
        ]), ["user: [video 7.mp4] plan a trip", "assistant: See [image m_0.jpg: a map] there"]),
        made("llava", write_json(folder / "llava.json", [
            {"id": "9", "image": "9.jpg", "conversations": turns("<image>\nWhat is it?", "a boat", "Why < 3?", "yes")},
            {"id": "10", "image": "9.jpg", "conversations": turns("What is it?\n<image>", "a boat")},
            {"id": "11", "image": "9.jpg", "conversations": turns("What is it?", "a boat")},
            {"id": "12", "conversations": turns("hello", "hi")},
        ]), ["user: [image 9.jpg] What is it?", "assistant: a boat", "user: Why < 3?", "assistant: yes"]),
        made("cc3m tsv", str(folder / "cc3m.tsv"),
             ["user: [image 000000000.jpg] Describe the picture.", 'assistant: a kite, "red and']),
        made("cc3m folder", str(pairs), ["user: [image a.jpg] Describe the picture.", "assistant: a picture a"],
             media=None),
        made("webdataset", str(folder / "shard.tar"),
             ["user: [image a.jpg] Describe the picture.", "assistant: a picture a"], media=None),
        made("webvid", str(folder / "webvid.csv"),
             ["user: [video 1001.mp4] Describe the film.", "assistant: Waves, at dusk (full hd)"]),
        made("audiocaps", str(folder / "audiocaps.csv"),
             ["user: [audio 7.wav] Describe the sound.", "assistant: Rain on a roof"]),
        made("alpaca", write_json(folder / "alpaca.json", [
            {"instruction": "Add.", "input": "1, 2", "output": "3"}, {"instruction": "Hi", "input": "", "output": "Hello"},
            {"instruction": "Which path?", "input": "", "output": "The path on the left"},
        ]), ["user: Add.\n\n1, 2", "assistant: 3"]),
        made("coco-captions", write_json(folder / "captions.json", coco),
             ["user: [image COCO_train2014_000000000042.jpg] Describe the picture.", "assistant: A red boat."]),
        made("vqav2", write_json(folder / "questions.json", {"info": {}, "questions": questions}),
             [f"user: [image COCO_val2014_000000000043.jpg] What is blue?{brief}", "assistant: water"],
             annotations=write_json(folder / "answers.json", {"annotations": answers})),
        made("ok-vqa", str(folder / "questions.json"),
             [f"user: [image COCO_val2014_000000000043.jpg] What is blue?{brief}", "assistant: water"],
             annotations=str(folder / "answers.json")),
        made("gqa", write_json(folder / "gqa.json", {
            "02930152": {"imageId": "2354786", "question": "Is the sky dark?", "answer": "yes", "semantic": [{"a": {}}]},
            "02930153": {"imageId": "2354786", "question": "What, then?", "answer": "sky", "types": {"x": "y"}},
        }), [f"user: [image 2354786.jpg] Is the sky dark?{brief}", "assistant: yes"]),
        made("nlvr2", write_lines(folder / "nlvr2.json", [
            {"identifier": "train-10171-0-0", "directory": 57, "sentence": "One has a dog.", "label": "True"},
            {"identifier": "train-10171-0-1", "directory": 57, "sentence": "Both do.", "label": "False"},
        ]), ["user: [image train-10171-0-img0.png] [image train-10171-0-img1.png] Is this true of the two pictures? "
             "One has a dog.\nAnswer yes or no.", "assistant: yes"]),
        made("refcoco", str(folder / "refs" / "refs(unc).p"),
             ["user: [image COCO_train2014_000000000042.jpg] Where is this: left boat?",
              "assistant: [0.100, 0.100, 0.400, 0.900]", "user: Where is this: red one?",
              "assistant: [0.100, 0.100, 0.400, 0.900]"]),
        made("mmc4", write_lines(folder / "mmc4.jsonl", [
            {"text_list": ["First.", "Lock it.", "Then go."], "url": "https://x", "could_have_url_duplicate": 0,
             "image_info": [{"image_name": "b9.jpg", "matched_text_index": 2, "matched_sim": 0.27, "face_detections": None},
                            {"image_name": "9.jpg", "matched_text_index": 1, "matched_sim": 0.32, "face_detections": None}],
             "similarity_matrix": [[0.24, 0.31, 0.27], [0.22, 0.32, 0.26]]},
            {"text_list": ["First.", "Lock it.", "Then go."], "image_info": [{"image_name": "b9.jpg"}, {"image_name": "9.jpg"}],
             "similarity_matrix": [[0.24, 0.31, 0.27], [0.22, 0.32, 0.26]]},
        ]), ["user: First. [image 9.jpg]", "assistant: Lock it.", "user: [image b9.jpg]", "assistant: Then go."]),
        made("mimic-it", write_json(folder / "LA.json", {"meta": {"version": "0.0.1"}, "data": {
            "LA_INS_1": {"instruction": "What is it?", "answer": "A boat.", "image_ids": ["LA_1"], "rel_ins_ids": ["LA_INS_2"]},
            "LA_INS_2": {"instruction": "And this?", "answer": "A kite.", "image_ids": ["LA_2"], "rel_ins_ids": []},
        }}), ["user: [image LA_2.png] And this?", "assistant: A kite.", "user: [image LA_1.jpg] What is it?", "assistant: A boat."]),
    ])  # fmt: skip
