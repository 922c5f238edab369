"""The page as a person has it: driven in headless Chromium, on the shipped model."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import SAMPLES

pytest.importorskip("gradio", reason="the page needs the extra `ui`")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, and Chromium")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]

SECONDS = 180_000  # milliseconds of patience: two cores may be busy
PHONE = {"width": 390, "height": 844}
PLAYED = """async () => {
  const medium = document.querySelector(".bot video");
  medium.muted = true;
  await medium.play();
  await new Promise((done) => setTimeout(done, 500));
  return medium.currentTime;
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a page that `anygpt ui` serves; it leaves no file when it is told to end."""
    folder = tmp_path_factory.mktemp("temporary")
    command = [sys.executable, "-m", "anygpt", "ui", "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        told = ""
        while not (found := re.search(r"the page is at (\S+)", told)):
            line = process.stderr.readline()
            assert line, told
            told += line
        process.stderr.readline()  # serving …
        yield found[1]
        process.terminate()
        assert process.wait(60) == 0
    assert not list(folder.glob("anygpt-*"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Page:
    """A browser's window with the page in it."""

    def __init__(self, browser: Any, address: str, shots: Path, **settings: Any) -> None:
        self.page = browser.new_context(**settings).new_page()
        self.page.set_default_timeout(SECONDS)
        self.shots = shots
        self.mistakes: list[str] = []
        self.page.on("pageerror", lambda error: self.mistakes.append(str(error)))
        self.page.goto(address, wait_until="domcontentloaded")
        self.box.wait_for()
        self.page.wait_for_timeout(1500)

    @property
    def box(self) -> Any:
        return self.page.locator("textarea").first

    def ask(self, text: str) -> None:
        self.box.fill(text)
        self.box.press("Enter")

    def wait(self, condition: str) -> None:
        """Until a JavaScript expression is true."""
        self.page.wait_for_function(f"() => {condition}")

    def pictures(self, count: int, whose: str = "bot") -> None:
        """Wait until so many pictures are there, and whole."""
        all_there = f"const all = [...document.querySelectorAll('.{whose} img')]; return all.length == {count} && all.every"
        self.page.wait_for_function(f"() => {{ {all_there}((one) => one.naturalWidth > 0) }}")

    def settled(self) -> str:
        """The last answer, once it is complete."""
        self.page.wait_for_timeout(500)
        self.page.locator("button.stop-button").wait_for(state="hidden")
        self.page.wait_for_timeout(500)
        return str(self.page.locator(".bot").last.inner_text())

    def shoot(self, name: str) -> None:
        self.page.screenshot(path=self.shots / f"{name}.png")

    def set(self, label: str, value: str) -> None:
        self.page.get_by_label(label).fill(value)
        self.page.keyboard.press("Tab")


def test_a_talk(browser: Any, address: str, tmp_path: Path) -> None:
    """Text, a picture given, a picture, a sound and a film got, an answer stopped; a reload, and on."""
    window = Page(browser, address, tmp_path, viewport={"width": 1280, "height": 900})
    page = window.page
    window.shoot("start")
    page.get_by_text("Settings", exact=True).click()
    window.set("Steps", "3")
    window.set("Seed", "1")
    window.shoot("settings")
    page.get_by_text("Settings", exact=True).click()

    page.get_by_text("what can you do?").first.click()  # an example
    assert "draw" in window.settled()

    page.locator("input[type=file]").first.set_input_files(SAMPLES / "picture.png")
    page.locator(".thumbnails img, .thumbnail-item").first.wait_for()
    window.ask("what is this?")
    window.pictures(1, "user")
    assert "red star" in window.settled()
    window.shoot("picture-given")

    window.ask("draw a large blue star")
    window.pictures(1)
    window.settled()
    window.pictures(1)
    window.shoot("picture")
    window.ask("play the sound of a small pink heart")
    window.wait("document.querySelectorAll('.bot .play-btn').length == 1")
    window.settled()
    window.pictures(2)  # and its spectrogram
    page.locator(".bot .play-btn").click()
    page.locator(".bot .play-btn[aria-label=Pause]").wait_for()
    window.shoot("sound")
    window.ask("show a film of a green square that moves left")
    window.wait("document.querySelectorAll('.bot video').length == 1")
    window.settled()
    assert page.evaluate(PLAYED) > 0
    window.shoot("film")

    page.get_by_role("tab", name="Inside").click()
    page.get_by_text("<video_0>").first.wait_for()
    page.wait_for_timeout(500)
    window.shoot("inside")
    page.get_by_role("tab", name="Chat").click()

    with page.expect_download() as download:
        page.get_by_role("button", name="Export the conversation").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        messages = json.loads(archive.read("conversation.json"))
        kinds = [
            part["type"] for message in messages for part in message["content"] if part["type"] != "text"
        ]
        assert kinds == ["image", "image", "audio", "video"]
        named = {part["path"] for message in messages for part in message["content"] if "path" in part}
        assert named == set(archive.namelist()) - {"conversation.json"}

    page.get_by_text("Settings", exact=True).click()
    window.set("Steps", "200")
    page.get_by_text("Settings", exact=True).click()
    window.ask("draw a red ring")
    page.get_by_text("drawing a picture …").wait_for()
    window.shoot("running")
    window.box.press("Escape")
    window.settled()
    window.shoot("stopped")

    page.reload(wait_until="domcontentloaded")
    window.box.wait_for()
    page.wait_for_timeout(2000)
    page.get_by_text("what can you do?").first.click()  # the conversation in the history
    window.wait("document.querySelectorAll('.bot video').length == 1")
    window.pictures(2)
    window.ask("what can you do?")
    assert "draw" in window.settled()
    window.shoot("reloaded")
    assert not window.mistakes


def test_a_phone_and_the_dark(browser: Any, address: str, tmp_path: Path) -> None:
    window = Page(browser, address, tmp_path, viewport=PHONE, has_touch=True, color_scheme="dark")
    page = window.page
    window.shoot("phone-start")
    assert page.evaluate("document.body.classList.contains('dark')")
    window.ask("draw a red circle and play its sound")
    window.wait("document.querySelectorAll('.bot .play-btn').length == 1")
    window.settled()
    window.pictures(2)
    window.shoot("phone-answer")
    for name in ("Chat", "Inside"):
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
    window.shoot("phone-inside")
    page.get_by_role("tab", name="Chat").click()
    assert window.box.is_visible()
    page.get_by_role("button", name="Dark or light").click()
    assert not page.evaluate("document.body.classList.contains('dark')")
    window.shoot("phone-light")
    assert not window.mistakes
