"""The page: a chat in the browser. It is a client of the server like any other, and knows nothing of the model.

It needs the extra `ui`.
"""

from __future__ import annotations

import base64
import json
import mimetypes
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr
import numpy as np
import soundfile
from fastapi import FastAPI
from openai import APIError, OpenAI
from PIL import Image

from anygpt.config import AnyGPTConfig
from anygpt.grounding import draw, form_of, parse

DOING = {"image": "drawing a picture", "audio": "making a sound", "video": "shooting a film"}
SUFFIXES = {"image": ".png", "audio": ".wav", "video": ".mp4"}
SHOWN_ALONG = ("spectrogram", "boxes")  # alternative texts of pictures that are no part of the answer
EXAMPLES = [
    "draw a large blue star on a black background",
    "draw a red circle and play its sound",
    "show a film of a green square that moves left",
    "what sound does a small pink heart make?",
    "what can you do?",
]
STYLE = """
.bot .image-frame img, .user .image-frame img { width: 14rem; object-fit: contain; border-radius: 0.5rem }
.example-text-icon, .example-icon { display: none }
.message:has(> * video) { max-width: 22rem }
@media (max-width: 40rem) {
  .gradio-container { padding: 0.25rem !important }
  .gradio-container main { padding: 0.25rem !important }
  .column:has(> button.primary) { order: 2 }  /* earlier chats come after this one */
}
"""
KEYS = """() => {
  document.addEventListener("keydown", (event) => {
    const typing = ["TEXTAREA", "INPUT"].includes(document.activeElement?.tagName);
    if (event.key === "Escape") document.querySelector("button.stop-button")?.click();
    if (event.key === "/" && !typing) { event.preventDefault(); document.querySelector("textarea")?.focus(); }
  });
}"""
TURN_DARK = "() => { document.body.classList.toggle('dark') }"
DOWNLOAD = "() => document.querySelector('#exported').click()"
FREQUENCIES, LOWEST, WINDOW = 96, 60.0, 2048  # rows; Hz; samples
GLOW = np.array([[0, 0, 30], [90, 20, 120], [230, 80, 60], [255, 220, 120]])  # from silence to the loudest


def mount(app: FastAPI, url: str, name: str, config: AnyGPTConfig, key: str | None) -> None:
    """Put the page at the root of the server's application; with a key, it asks for it as the password of `anygpt`.

    Args: see `build`; `config` names the modalities.
    """
    gr.mount_gradio_app(
        app,
        build(url, name, key, list(config.inputs), list(config.outputs)),
        path="/",
        auth=("anygpt", key) if key else None,
        footer_links=[],
        ssr_mode=False,
        # fonts from nowhere else
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=STYLE,
        js=KEYS,
    )


def build(url: str, name: str, key: str | None, inputs: list[str], outputs: list[str]) -> gr.Blocks:
    """The page for the server at `url`.

    Args:
        name: the model's.
        key: the server's, if it wants one.
        inputs, outputs: the model's modalities.
    """
    client = OpenAI(base_url=url, api_key=key or "none", max_retries=0, timeout=600)

    def respond(message: dict[str, Any], history: list[dict[str, Any]], *settings: Any) -> Iterator[Any]:
        yield from answer(client, name, message, history, *settings)

    with gr.Blocks(
        title="AnyGPT", fill_height=True, analytics_enabled=False, delete_cache=(3600, 86400)
    ) as page:
        with gr.Tab("Inside", render=False) as inside:
            tokens = gr.HighlightedText(
                label="Tokens of the last answer", color_map={"signal": "orange"}, show_legend=True
            )
            seconds = gr.Label(label="Share of the time", show_heading=False)
            made = gr.JSON(label="What each decoder was given")
        with gr.Tab("Chat"):
            settings = [
                gr.CheckboxGroup(outputs, label="Media", info="None: the model chooses.", render=False),
                gr.Textbox(label="Seed", placeholder="another answer each time", render=False),
                gr.Textbox(label="Steps", placeholder="as many as each decoder was made for", render=False),
                gr.Textbox(label="Guidance", placeholder="as each decoder was made for", render=False),
            ]
            textbox = gr.MultimodalTextbox(
                placeholder="Ask, or drop a picture, a sound, a film",
                sources=["upload", *(["microphone"] if "audio" in inputs else [])],
                file_count="multiple",
                stop_btn=True,
                autofocus=True,
            )
            chat = gr.ChatInterface(
                respond,
                multimodal=True,
                chatbot=gr.Chatbot(label=name, height="60vh", buttons=["copy", "copy_all"], editable="user"),
                textbox=textbox,
                additional_inputs=settings,
                additional_inputs_accordion=gr.Accordion("Settings", open=False, render=False),
                additional_outputs=[tokens, made, seconds],
                examples=[[{"text": text, "files": []}, None, None, None, None] for text in EXAMPLES],
                cache_examples=False,
                save_history=True,
                api_name="chat",
            )
            if "image" in inputs:
                with gr.Accordion("Camera", open=False):
                    camera = gr.Image(sources=["webcam"], type="filepath", show_label=False)
                    camera.input(_attach, [textbox, camera], [textbox, camera])
            with gr.Row():
                gr.Button("Dark or light", size="sm").click(None, js=TURN_DARK)
                exporting = gr.Button("Export the conversation", size="sm")
                exported = gr.DownloadButton(visible="hidden", elem_id="exported")
                exporting.click(export, chat.chatbot, exported).then(None, js=DOWNLOAD)
        inside.render()
    return page


def _attach(message: dict[str, Any] | None, picture: str | None) -> tuple[Any, None]:
    """Put the camera's picture into the text box, and make the camera ready for another."""
    message = message or {}
    files = [*(message.get("files") or []), *([picture] if picture else [])]
    return {"text": message.get("text") or "", "files": files}, None


def answer(
    client: OpenAI,
    name: str,
    message: dict[str, Any],
    history: list[dict[str, Any]],
    media: list[str] | None,
    seed: str,
    steps: str,
    guidance: str,
) -> Iterator[tuple[Any, ...]]:
    """Ask the server, and show the answer as it comes: the chat's message, and what the second tab shows.

    Args:
        message: the text box's, {"text": …, "files": […]}.
        history: the chat so far.
        media: which the answer must have; empty leaves the choice to the model.
        seed, steps, guidance: numbers; empty ones are left to the server, which also says what is wrong with them.
    """
    messages: list[Any] = [*filter(None, map(_as_message, history)), _asked(message)]
    if not messages[-1]["content"]:
        raise gr.Error("Say something, or attach a file.")
    extra: dict[str, Any] = {"stream_options": {"include_progress": True}, "inside": True}
    numbers = {"seed": seed, "num_inference_steps": steps, "guidance_scale": guidance}
    extra |= {field: text.strip() for field, text in numbers.items() if text and text.strip()}
    if media:
        extra["modalities"] = ["text", *media]
    shown: list[Any] = []
    try:
        stream = client.chat.completions.create(model=name, messages=messages, stream=True, extra_body=extra)
        with stream, tempfile.TemporaryDirectory() as folder:  # Gradio keeps copies of its own
            for chunk in stream:
                told = chunk.model_extra or {}
                if "progress" in told:
                    step = told["progress"]
                    status = f"*{DOING[step['modality']]} … {step['step']}/{step['steps']}*"
                    yield _said([*shown, status]), gr.skip(), gr.skip(), gr.skip()
                elif chunk.choices:
                    _add(shown, chunk.choices[0].delta, Path(folder))
                    inside = told.get("inside")
                    if inside:
                        _add_boxes(
                            shown, [*history, {"role": "user", "content": _files(message)}], Path(folder)
                        )
                    yield _said(shown), *(_inside(inside) if inside else [gr.skip()] * 3)
                elif "error" in told:
                    raise gr.Error(told["error"]["message"])
    except APIError as error:
        raise gr.Error(error.message) from None


def export(history: list[dict[str, Any]]) -> str:
    """The conversation as a ZIP archive: `conversation.json`, messages as the Python API takes them, and their media."""
    path = Path(tempfile.mkdtemp(dir=_folder())) / "conversation.zip"
    with zipfile.ZipFile(path, "w") as archive:
        messages = []
        for entry in history:
            parts: list[dict[str, Any]] = []
            for part in _parts(entry):
                if part["type"] == "text":
                    parts.append({"type": "text", "text": part["text"]})
                    continue
                modality, number = _modality(part["path"]), len(archive.namelist())
                file = f"{modality}_{number}{Path(part['path']).suffix}"
                archive.write(part["path"], file)
                parts.append({"type": modality, "path": file})
            messages.append({"role": entry["role"], "content": parts})
        archive.writestr("conversation.json", json.dumps(messages, ensure_ascii=False, indent=2))
    return str(path)


def _folder() -> str:
    """Where Gradio keeps its files, and takes ours from."""
    folder = Path(gr.utils.get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def _files(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The text box's files, as parts of the history have them."""
    paths = [path if isinstance(path, str) else path["path"] for path in message.get("files") or []]
    return [{"type": "file", "file": {"path": path}} for path in paths]


def _parts(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of an entry of the page's history that were said: {"type": "text", "text"} or {"type": "file", "path"}."""
    parts: list[dict[str, Any]] = []
    content = entry["content"]
    for part in [content] if isinstance(content, str | dict) else content:
        if isinstance(part, str):
            parts.append({"type": "text", "text": part})
        elif part["type"] == "text":
            parts.append({"type": "text", "text": part["text"]})
        elif part["type"] == "file" and part.get("alt_text") not in SHOWN_ALONG:
            parts.append({"type": "file", "path": part["file"]["path"]})
    return parts


def _asked(message: dict[str, Any]) -> dict[str, Any]:
    """What the text box holds, as a message."""
    files = [_sent(part["file"]["path"]) for part in _files(message)]
    text = (message.get("text") or "").strip()
    return {"role": "user", "content": [*files, *([{"type": "text", "text": text}] if text else [])]}


def _as_message(entry: dict[str, Any]) -> dict[str, Any] | None:
    """An entry of the page's history as a message; of earlier answers' media, only that they were made."""
    parts = []
    for part in _parts(entry):
        if part["type"] == "text":
            parts.append(part)
        elif entry["role"] == "user":
            parts.append(_sent(part["path"]))
        else:
            modality = _modality(part["path"])
            parts.append({"type": f"{modality}_url", f"{modality}_url": {"url": "data:,"}})
    return {"role": entry["role"], "content": parts} if parts else None


def _sent(path: str) -> dict[str, Any]:
    """A file of the person's as a part."""
    modality = _modality(path)
    data = base64.b64encode(Path(path).read_bytes()).decode()
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return {"type": f"{modality}_url", f"{modality}_url": {"url": f"data:{kind};base64,{data}"}}


def _modality(path: str) -> str:
    """What a file is by its name: pictures, sounds and films; tables and arrays are motion signals."""
    kind = (mimetypes.guess_type(path)[0] or "").partition("/")[0]
    return kind if kind in SUFFIXES else "imu"


def _said(shown: list[Any]) -> dict[str, Any]:
    """What is shown of an answer as a message of the chat."""
    return {"role": "assistant", "content": list(shown)}


def _add(shown: list[Any], delta: Any, folder: Path) -> None:
    """Add a chunk's delta to what is shown of an answer: texts, and files."""
    if isinstance(delta.content, str) and delta.content:
        if shown and isinstance(shown[-1], str):
            shown[-1] += delta.content
        else:
            shown.append(delta.content)
    for part in delta.content if isinstance(delta.content, list) else []:
        modality = part["type"].removesuffix("_url")
        data = part[part["type"]]["url"].partition(",")[2]
        _add_file(shown, modality, base64.b64decode(data), folder)
    if getattr(delta, "audio", None):
        _add_file(shown, "audio", base64.b64decode(delta.audio.data), folder)


def _add_file(shown: list[Any], modality: str, data: bytes, folder: Path) -> None:
    path = folder / f"{uuid4().hex}{SUFFIXES[modality]}"
    path.write_bytes(data)
    shown.append({"path": str(path)})
    if modality == "audio":
        _add_picture(shown, spectrogram(path), "spectrogram", folder)


def _add_picture(shown: list[Any], picture: Image.Image, what: str, folder: Path) -> None:
    """Show a picture that is no part of the answer."""
    path = folder / f"{uuid4().hex}.png"
    picture.save(path)
    shown.append({"path": str(path), "alt_text": what})


def _add_boxes(shown: list[Any], history: list[dict[str, Any]], folder: Path) -> None:
    """The boxes that the answer names, drawn on its last picture or, where it has none, on the last one before it."""
    text = " ".join(part for part in shown if isinstance(part, str))
    boxes = parse(text, form_of(text)).boxes
    made = [part["path"] for part in shown if isinstance(part, dict) and "alt_text" not in part]
    given = [part["path"] for entry in history for part in _parts(entry) if part["type"] == "file"]
    pictures = [path for path in [*given, *made] if _modality(path) == "image"]
    if boxes and pictures:
        picture: Image.Image = Image.open(pictures[-1])
        picture = picture.resize([side * max(1, 256 // min(picture.size)) for side in picture.size])
        _add_picture(shown, draw(picture, boxes), "boxes", folder)


def spectrogram(path: Path) -> Image.Image:
    """The loudness of a sound file over time (to the right) and frequency (upwards, an octave everywhere as high), in 80 dB."""
    samples, rate = soundfile.read(path, always_2d=True)
    mono = np.pad(samples.mean(1), (0, max(0, WINDOW - len(samples))))
    windows = np.lib.stride_tricks.sliding_window_view(mono, WINDOW)[:: WINDOW // 16] * np.hanning(WINDOW)
    loud = 20 * np.log10(np.abs(np.fft.rfft(windows)).T + 1e-6)
    share = np.clip((loud - loud.max()) / 80 + 1, 0, 1)
    pitches = np.geomspace(rate / 2, LOWEST, FREQUENCIES)
    rows = share[(pitches / rate * WINDOW).round().astype(int)]
    steps = np.linspace(0, 1, len(GLOW))
    colours = np.stack([np.interp(rows, steps, channel) for channel in GLOW.T], -1)
    return Image.fromarray(colours.astype(np.uint8)).resize((4 * FREQUENCIES, 2 * FREQUENCIES))


def _inside(told: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The server's `inside` as the second tab shows it."""
    tokens: list[tuple[str, str | None]] = []
    for token in told["tokens"]:
        if token["signal"] and tokens and tokens[-1][1]:  # a run of them is one
            tokens[-1] = (f"{tokens[-1][0]} {token['text']}", "signal")
        else:
            tokens.append((token["text"], "signal" if token["signal"] else None))
    spent = {what: value for what, value in told["seconds"].items() if what != "total"}
    total = sum(spent.values()) or 1.0
    shares = {f"{what} {value:.2f} s": value / total for what, value in spent.items()}
    return tokens, told["media"], shares
