"""The page: a chat in the browser. It is a client of the server like any other, and knows nothing of the model.

It needs the extra `ui`.
"""

from __future__ import annotations

import base64
import mimetypes
import random
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

DOING = {"image": "drawing a picture", "audio": "making a sound", "video": "shooting a film"}
SUFFIXES = {"image": ".png", "audio": ".wav", "video": ".mp4"}
SPECTROGRAM = "spectrogram"  # the alternative text by which it is known again
EXAMPLES = [
    "draw a large blue star on a black background",
    "draw a red circle and play its sound",
    "show a film of a green square that moves left",
    "what sound does a small pink heart make?",
    "what can you do?",
]
STYLE = """
@media (max-width: 40rem) { .gradio-container { padding: 0.25rem !important } }
"""
FREQUENCIES, WINDOW = 96, 512


def mount(app: FastAPI, url: str, name: str, config: AnyGPTConfig, key: str | None, folder: Path) -> None:
    """Put the page at the root of the server's application; with a key, it asks for it as the password of `anygpt`.

    Args: see `build`; `config` names the modalities.
    """
    gr.mount_gradio_app(
        app,
        build(url, name, key, list(config.inputs), list(config.outputs), folder),
        path="/",
        auth=("anygpt", key) if key else None,
        allowed_paths=[str(folder)],
        footer_links=[],
        ssr_mode=False,
        theme=gr.themes.Default(
            font=["system-ui", "sans-serif"], font_mono=["monospace"]
        ),  # none from elsewhere
        css=STYLE,
    )


def build(
    url: str, name: str, key: str | None, inputs: list[str], outputs: list[str], folder: Path
) -> gr.Blocks:
    """The page for the server at `url`.

    Args:
        name: the model's.
        key: the server's, if it wants one.
        inputs, outputs: the model's modalities.
        folder: for the media of answers, until the browser has them.
    """
    client = OpenAI(base_url=url, api_key=key or "none", max_retries=0, timeout=600)

    def respond(message: dict[str, Any], history: list[dict[str, Any]], *settings: Any) -> Iterator[Any]:
        yield from answer(client, name, folder, message, history, *settings)

    with gr.Blocks(title="AnyGPT", fill_height=True, analytics_enabled=False) as page:
        with gr.Tab("Inside", render=False) as inside:
            tokens = gr.HighlightedText(label="Tokens of the last answer", color_map={"signal": "orange"})
            made = gr.JSON(label="What each decoder was given")
            seconds = gr.Label(label="Share of the time")
        with gr.Tab("Chat"):
            settings = [
                gr.CheckboxGroup(outputs, label="Media", info="None: the model chooses.", render=False),
                gr.Number(
                    None,
                    label="Seed",
                    precision=0,
                    minimum=0,
                    info="Empty: a new one each time.",
                    render=False,
                ),
                gr.Slider(1, 50, 20, step=1, label="Steps", render=False),
                gr.Slider(0, 10, 2, step=0.5, label="Guidance", render=False),
            ]
            sources: list[Any] = ["upload", *(["microphone"] if "audio" in inputs else [])]
            gr.ChatInterface(
                respond,
                multimodal=True,
                chatbot=gr.Chatbot(
                    label="AnyGPT", height="65vh", buttons=["copy", "copy_all"], editable="user"
                ),
                textbox=gr.MultimodalTextbox(
                    placeholder="Ask, or drop a picture, a sound, a film",
                    sources=sources,
                    file_count="multiple",
                    stop_btn=True,
                ),
                additional_inputs=settings,
                additional_inputs_accordion=gr.Accordion("Settings", open=False, render=False),
                additional_outputs=[tokens, made, seconds],
                examples=[[{"text": text, "files": []}, None, None, None, None] for text in EXAMPLES],
                cache_examples=False,
                save_history=True,
                delete_cache=(3600, 86400),
                api_name="chat",
            )
        inside.render()
    return page


def answer(
    client: OpenAI,
    name: str,
    folder: Path,
    message: dict[str, Any],
    history: list[dict[str, Any]],
    media: list[str],
    seed: float | None,
    steps: float,
    guidance: float,
) -> Iterator[tuple[Any, ...]]:
    """Ask the server, and show the answer as it comes: the chat's message, and what the second tab shows.

    Args:
        message: the text box's, {"text": …, "files": […]}.
        history: the chat so far.
        media: which the answer must have; empty leaves the choice to the model.
        seed: None takes a new one.
    """
    messages: list[Any] = [*filter(None, map(_as_message, history)), _asked(message)]
    if not messages[-1]["content"]:
        raise gr.Error("Say something, or attach a file.")
    extra: dict[str, Any] = {
        "num_inference_steps": int(steps),
        "guidance_scale": guidance,
        "stream_options": {"include_progress": True},
        "inside": True,
    }
    if media:
        extra["modalities"] = ["text", *media]
    chosen = int(seed) if seed is not None else random.randrange(2**31)
    shown: list[Any] = []
    try:
        stream = client.chat.completions.create(
            model=name, messages=messages, stream=True, seed=chosen, extra_body=extra
        )
        with stream:
            for chunk in stream:
                told = chunk.model_extra or {}
                if "progress" in told:
                    step = told["progress"]
                    status = f"*{DOING[step['modality']]} … {step['step']}/{step['steps']}*"
                    yield _said([*shown, status]), gr.skip(), gr.skip(), gr.skip()
                elif chunk.choices:
                    _add(shown, chunk.choices[0].delta, folder)
                    inside = told.get("inside")
                    yield _said(shown), *(_inside(inside) if inside else [gr.skip()] * 3)
                elif "error" in told:
                    raise gr.Error(told["error"]["message"])
    except APIError as error:
        raise gr.Error(error.message) from None


def _asked(message: dict[str, Any]) -> dict[str, Any]:
    """What the text box holds, as a message."""
    files = [_sent(path if isinstance(path, str) else path["path"]) for path in message.get("files") or []]
    text = (message.get("text") or "").strip()
    return {"role": "user", "content": [*files, *([{"type": "text", "text": text}] if text else [])]}


def _as_message(entry: dict[str, Any]) -> dict[str, Any] | None:
    """An entry of the page's history as a message; of earlier answers' media, only that they were made."""
    parts = []
    content = entry["content"]
    for part in [content] if isinstance(content, str | dict) else content:
        if isinstance(part, str):
            part = {"type": "text", "text": part}
        if part["type"] == "text":
            parts.append({"type": "text", "text": part["text"]})
        elif part["type"] == "file" and part.get("alt_text") != SPECTROGRAM:
            path = part["file"]["path"]
            if entry["role"] == "user":
                parts.append(_sent(path))
            else:
                modality = _modality(path)
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
        picture = path.with_suffix(".png")
        spectrogram(path).save(picture)
        shown.append({"path": str(picture), "alt_text": SPECTROGRAM})


def spectrogram(path: Path) -> Image.Image:
    """The loudness of a sound file over time (to the right) and frequency (upwards, low ones wider), grey in 80 dB."""
    samples, _ = soundfile.read(path, always_2d=True)
    mono = np.pad(samples.mean(1), (0, max(0, WINDOW - len(samples))))
    windows = np.lib.stride_tricks.sliding_window_view(mono, WINDOW)[:: WINDOW // 4] * np.hanning(WINDOW)
    loud = 20 * np.log10(np.abs(np.fft.rfft(windows)).T + 1e-6)
    grey = np.clip((loud - loud.max()) / 80 + 1, 0, 1)
    rows = (np.linspace(1, 0, FREQUENCIES) ** 2 * (len(grey) - 1)).astype(int)
    return Image.fromarray((255 * grey[rows]).astype(np.uint8)).resize((4 * FREQUENCIES, FREQUENCIES))


def _inside(told: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The server's `inside` as the second tab shows it."""
    tokens = [(token["text"], "signal" if token["signal"] else None) for token in told["tokens"]]
    spent = {what: value for what, value in told["seconds"].items() if what != "total"}
    total = sum(spent.values()) or 1.0
    shares = {f"{what} {value:.2f} s": value / total for what, value in spent.items()}
    return tokens, told["media"], shares
