"""`anygpt chat`: a conversation in the terminal, or a message a line from a pipe."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anygpt.cli.answering import show
from anygpt.cli.boxes import show_boxes, window_of
from anygpt.cli.errors import CommandError, is_mistake, one_line
from anygpt.cli.examples import Examples, read_examples
from anygpt.cli.files import check_output_dir, take_name, write_text
from anygpt.cli.loading import check_modality, find_model, load_model
from anygpt.cli.terminal import Screen
from anygpt.config import INPUT_MODALITIES, AnyGPTConfig, unknown
from anygpt.grounding import in_view
from encoders import media

if TYPE_CHECKING:
    from anygpt.generation import Session

PROMPT = "> "
EXTENSIONS = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    "audio": (".wav", ".flac", ".mp3", ".ogg"),
    "video": (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v"),
}
# A file's name in a message: in quotes, or without spaces but for those after a backslash, as shells write it.
WORD = re.compile(r""""([^"]+)"|'([^']+)'|((?:\\.|[^\s\\"'])+)""")

HELP = """\
/image PATH, /audio PATH, /video PATH, /depth PATH, /thermal PATH, /imu PATH
             attach a file to your next message; the name of a picture, sound or film in a message does, too
/reset       begin a new conversation
/save [FILE] save the conversation as JSON, with the paths of its media
/seed N      answer with another seed
/help        show this
/quit        leave, as Ctrl-D does; Ctrl-C stops an answer"""


def chat(
    model: str,
    output_dir: Path,
    seed: int,
    *,
    examples: Path | None,
    shots: int | None,
    interleaved: bool,
    boxes: bool,
    loading: dict[str, Any],
) -> None:
    """Talk until the input ends or the person leaves.

    Args:
        examples, shots, interleaved: see `anygpt.cli.examples`; they stand before the first message.
        boxes: draw those of the answers.
        loading: how the model is loaded (see `anygpt.fitting.read_loading`).
    """
    check_output_dir(output_dir)
    folder, config = find_model(model)
    shown = read_examples(examples, shots, interleaved, config)
    lively = sys.stdin.isatty() and sys.stdout.isatty()
    screen = Screen(lively)
    screen.note(f"AnyGPT, {model}. /help says what you can do; Ctrl-D leaves.")
    screen.status("loading the model …")
    session = load_model(folder, config, loading).session()
    talk = Talk(session, config, model, screen, output_dir, seed, shown, boxes)
    for line in _typed(screen) if lively else _piped():
        if not talk.take(line.strip()):
            break


def _piped() -> Iterator[str]:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    yield from sys.stdin


def _typed(screen: Screen) -> Iterator[str]:
    """Lines typed at the prompt, up to Ctrl-D or the second Ctrl-C in a row."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  gives `input` its keys and its history
    warned = False
    while True:
        screen.clear()
        try:
            line = input(PROMPT)
        except EOFError:
            screen.say("")
            return
        except KeyboardInterrupt:
            if warned:
                screen.say("")
                return
            screen.note("\nPress Ctrl-C again to leave.")
            warned = True
        else:
            warned = False
            yield line


class Talk:
    """A conversation under way: what was said, what is attached to the next message, and the commands."""

    def __init__(
        self,
        session: Session,
        config: AnyGPTConfig,
        model: str,
        screen: Screen,
        output_dir: Path,
        seed: int,
        examples: Examples | None,
        boxes: bool,
    ) -> None:
        self.examples, self.boxes = examples, boxes
        self.picture: Any = None  # the last one that the person gave
        self.session, self.config, self.model = session, config, model
        self.screen, self.output_dir, self.seed = screen, output_dir, seed
        self.attached: list[tuple[str, Path, Any]] = []  # modality, path, medium
        self.transcript: list[dict[str, Any]] = []  # messages, with paths in place of media
        self.saved: set[Path] = set()
        self.commands: dict[str, Callable[[str], None]] = {
            "reset": self.reset,
            "save": self.save,
            "seed": self.set_seed,
            "help": lambda _: self.screen.say(HELP),
        }

    def take(self, line: str) -> bool:
        """Do what a line says; False if it says to leave. Mistakes are told on stderr and change nothing."""
        first, _, rest = line.partition(" ")
        try:
            if first in ("/quit", "/exit"):
                return False
            if line.startswith("/") and not _is_file(first):
                self._command(first[1:], rest.strip())
            elif line:
                self.say(line)
        except (ValueError, OSError) as error:
            if not is_mistake(error):
                raise
            self.screen.error(one_line(error))
        except KeyboardInterrupt:
            if not self.screen.lively:
                raise
            self.screen.note("stopped; the conversation goes on as if you had not asked")
        return True

    def _command(self, name: str, rest: str) -> None:
        if name in INPUT_MODALITIES:
            self.attach(name, rest)
        elif name in self.commands:
            self.commands[name](rest)
        else:
            raise CommandError(unknown("command", f"/{name}", self._names()))

    def _names(self) -> list[str]:
        return [f"/{name}" for name in (*INPUT_MODALITIES, *self.commands, "quit")]

    def attach(self, modality: str, name: str) -> None:
        """Attach a file to the next message."""
        if not name:
            raise CommandError(f"/{modality} needs a file: /{modality} PATH")
        path = Path(_unquoted(name)).expanduser()
        self.attached.append(self._read(modality, path))
        self.screen.note(f"attached {path}")

    def _read(self, modality: str, path: Path) -> tuple[str, Path, Any]:
        check_modality(modality, self.config)
        return modality, path, media.read(modality, path)

    def say(self, text: str) -> None:
        """Send a message, with what is attached and the files it names, and show the answer."""
        text, named = _split_paths(text)
        given = [*self.attached, *(self._read(modality, path) for modality, path in named)]
        said = [{"type": "text", "text": text}] if text else []
        content = [*({"type": modality, modality: medium} for modality, _, medium in given), *said]
        self.attached = []
        self.picture = next((m for kind, _, m in reversed(given) if kind == "image"), self.picture)
        model = self.session.model
        if self.boxes and self.picture is not None and said:
            words = in_view(text, window_of(model, self.picture))
            content[-1] = {"type": "text", "text": words}
        messages = [{"role": "user", "content": content}]
        if self.examples is not None and not self.transcript:
            messages = self.examples.before(model, messages)
        answer = show(self.session.continued(messages, seed=self.seed), self.screen, self.output_dir)
        if self.boxes:
            show_boxes(model, answer, self.picture, self.output_dir, self.screen)
        paths = [{"type": modality, "path": str(path.absolute())} for modality, path, _ in given]
        answer = [_absolute(part) for part in answer]
        self.transcript += [
            {"role": "user", "content": [*paths, *said]},
            {"role": "assistant", "content": answer},
        ]

    def reset(self, _: str) -> None:
        """Begin anew."""
        self.session.reset()
        self.attached, self.transcript, self.picture = [], [], None
        self.screen.note("a new conversation")

    def set_seed(self, text: str) -> None:
        """Change the seed of the answers to come."""
        if not (text.isascii() and text.isdigit() and int(text) < 2**63):
            raise CommandError(f"/seed needs a whole number of at least 0, not {text!r}")
        self.seed = int(text)
        self.screen.note(f"seed {self.seed}")

    def save(self, name: str) -> None:
        """Write the conversation as JSON; its messages are such as `anygpt generate --batch` takes."""
        if name:
            path = Path(_unquoted(name)).expanduser()
            if path.is_dir():
                raise CommandError(f"{path} is a folder; name a file")
            if path.exists() and path not in self.saved:
                raise CommandError(f"{path} exists; name a new file")
            path.parent.mkdir(parents=True, exist_ok=True)
        else:
            path = take_name(self.output_dir, "conversation", ".json")
        conversation = {"model": self.model, "messages": self.transcript}
        write_text(path, json.dumps(conversation, indent=2, ensure_ascii=False) + "\n")
        self.saved.add(path)
        self.screen.say(f"saved: {path}")


def _split_paths(text: str) -> tuple[str, list[tuple[str, Path]]]:
    """A message without the names of media files in it, and those files, each with its modality."""
    named: list[tuple[str, Path]] = []

    def take(match: re.Match[str]) -> str:
        word = match[1] or match[2] or match[3]
        for candidate in (word, re.sub(r"\\(.)", r"\1", word), word.rstrip(".,;:!?")):
            path = Path(candidate).expanduser()
            for modality, extensions in EXTENSIONS.items():
                if path.suffix.lower() in extensions and _is_file(candidate):
                    named.append((modality, path))
                    return word[len(candidate) :] if word.startswith(candidate) else ""
        return match[0]

    rest = WORD.sub(take, text)
    return (re.sub(r"\s+", " ", rest).strip() if named else text), named


def _is_file(name: str) -> bool:
    try:
        return Path(name).expanduser().is_file()
    except (OSError, RuntimeError):  # a name too long, or ~nobody
        return False


def _unquoted(name: str) -> str:
    """A path as it was typed, without the quotes or backslashes that a shell would want."""
    if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
        return name[1:-1]
    return name if _is_file(name) else re.sub(r"\\(.)", r"\1", name)


def _absolute(part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "path": str(Path(part["path"]).absolute())} if "path" in part else part
