"""`anygpt chat`, piped and at a terminal."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import Command, environment, hear_ctrl_c, names, picture, sound

from anygpt.cli.chat import _split_paths
from anygpt.cli.errors import CommandError
from anygpt.cli.files import check_output_dir


def test_a_message_a_line(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    done = anygpt("chat", checkpoint, "--output-dir", "out", stdin="hello\n\ndraw\n/reset\ndraw")
    assert (done.code, done.err) == (0, "")
    assert "> " not in done.out and "\x1b" not in done.out and "image: out/image_0.png\n" in done.out
    shown = {line.split(": out/")[1] for line in done.out.splitlines() if ": out/" in line}
    assert shown == set(names(tmp_path / "out"))
    assert {"image_0.png", "audio_0.wav", "video_0.mp4"} <= shown


def test_mistakes_do_not_end_the_conversation(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    lines = [
        "/image none.png",
        "/imagine x",
        "/seed x",
        "/thermal x.npy",
        "/image",
        "look at torn.png",
        "draw",
    ]
    done = anygpt("chat", checkpoint, stdin="\n".join(lines))
    errors = done.err.splitlines()
    assert done.code == 0 and len(errors) == 6
    assert all(line.startswith("anygpt: error: ") for line in errors)
    for line, word in zip(
        errors,
        ("none.png", "did you mean '/image'", "/seed", "thermal", "/image PATH", "torn.png"),
        strict=True,
    ):
        assert word in line
    assert "image: output/image_0.png" in done.out


def test_attached_media_reach_the_next_message_and_save_tells_all(
    anygpt: Command, checkpoint: str, tmp_path: Path
) -> None:
    image, other = picture(tmp_path / "a b.png"), picture(tmp_path / "c.jpg")
    audio = sound(tmp_path / "d.wav")
    lines = ["/image a b.png", f'/audio "{audio}"', "what is this, and c.jpg?", "draw", "/save talk.json"]
    done = anygpt("chat", checkpoint, stdin="\n".join([*lines, "/save talk.json", "/save c.jpg", "/save"]))
    assert done.code == 0 and done.err.count("\n") == 1 and "c.jpg exists" in done.err
    talk = json.loads((tmp_path / "talk.json").read_text())
    assert [message["role"] for message in talk["messages"]] == ["user", "assistant"] * 2
    assert talk["messages"][0]["content"] == [
        {"type": "image", "path": str(image)},
        {"type": "audio", "path": str(audio)},
        {"type": "image", "path": str(other)},
        {"type": "text", "text": "what is this, and ?"},
    ]
    assert talk["messages"][2]["content"] == [{"type": "text", "text": "draw"}]
    for part in talk["messages"][3]["content"]:
        assert part["type"] == "text" or Path(part["path"]).is_file()
    assert json.loads((tmp_path / "output" / "conversation_0.json").read_text()) == talk


def test_commands(anygpt: Command, checkpoint: str) -> None:
    done = anygpt("chat", checkpoint, stdin="/help\n/seed 5\n/quit\ndraw\n")
    assert (done.code, done.err) == (0, "")
    assert "/thermal" in done.out and "image:" not in done.out
    assert anygpt("chat", checkpoint, stdin="").out == ""
    assert anygpt("chat", checkpoint, stdin=b"/seed 1\n\xff\xfe\n").code == 0  # not UTF-8


def test_seeds_reproduce(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    anygpt("chat", checkpoint, "--output-dir", "a", "--seed", 7, stdin="draw")
    anygpt("chat", checkpoint, "--output-dir", "b", stdin="/seed 7\ndraw")
    anygpt("chat", checkpoint, "--output-dir", "c", stdin="draw")
    bytes_of = [(tmp_path / folder / "image_0.png").read_bytes() for folder in "abc"]
    assert bytes_of[0] == bytes_of[1] != bytes_of[2]


def test_names_of_files_in_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "one.PNG")
    picture(tmp_path / "two words.png")
    sound(tmp_path / "tone.wav")
    (tmp_path / "notes.txt").write_text("")
    assert _split_paths("what is in one.PNG?") == ("what is in ?", [("image", Path("one.PNG"))])
    assert _split_paths("'two words.png' or two\\ words.png")[1] == [("image", Path("two words.png"))] * 2
    text, found = _split_paths(f"play {tmp_path}/tone.wav  again, not notes.txt or none.png")
    assert (text, found) == (
        "play again, not notes.txt or none.png",
        [("audio", tmp_path / "tone.wav")],
    )
    assert _split_paths("it's  two   spaces") == ("it's  two   spaces", [])
    assert _split_paths("x" * 5000 + ".png")[1] == []


def test_a_folder_without_permission(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(CommandError, match="permission"):
        check_output_dir(locked / "out")


class Terminal:
    """The command at a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "anygpt", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env={**environment(), "TERM": "xterm", "COLORTERM": "", "NO_COLOR": "1"},
            start_new_session=True,
            preexec_fn=hear_ctrl_c,
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def interrupt(self, after: float = 0.0) -> None:
        """Press Ctrl-C; at the prompt a moment later, as a person does.

        A signal that falls between readline's prompt and its wait for keys is only noticed with the next key.
        """
        time.sleep(after)
        self.process.send_signal(signal.SIGINT)

    def wait_for(self, words: str, timeout: float = 240) -> None:
        """Read until `words` appear after what was waited for last."""
        end = time.monotonic() + timeout
        while words not in self.seen:
            assert time.monotonic() < end, f"{words!r} did not come: {self.seen}"
            if select.select([self.master], [], [], 1)[0]:
                try:
                    self.seen += os.read(self.master, 65536).decode(errors="replace")
                except OSError as error:  # the other end is closed
                    raise AssertionError(f"{words!r} did not come: {self.seen}") from error
        self.seen = self.seen.partition(words)[2]


@pytest.mark.slow
def test_at_a_terminal(checkpoint: str, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "chat", checkpoint)
    try:
        terminal.wait_for("/help says what you can do")  # before anything slow
        terminal.wait_for("> ")
        terminal.type("draw\n")
        terminal.wait_for("drawing a picture")
        terminal.wait_for("output/image_0.png")
        terminal.wait_for("output/video_0.mp4")
        terminal.interrupt()  # there are five more media to come
        terminal.wait_for("stopped")
        terminal.wait_for("> ")
        terminal.type("/seed 4\n")
        terminal.wait_for("seed 4")
        terminal.wait_for("> ")
        terminal.interrupt(after=1.0)
        terminal.wait_for("again to leave")
        terminal.wait_for("> ")
        for _ in range(
            30
        ):  # one that comes between two reads of the keyboard is lost: a person presses again
            terminal.interrupt(after=1.0)
            with suppress(subprocess.TimeoutExpired):
                terminal.process.wait(timeout=10)
                break
        assert terminal.process.returncode == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.master)
