"""How long one waits: for the first token after the start, and then for a picture, a sound and a film.

    python -m benchmarks.startup [MODEL] [--runs 3]

The start is compared with a process that imports nothing but torch, and transformers' and diffusers' own classes that
the model is made of, in the same run: the rest of the time is ours. All are processes as a person would start them;
each figure is the median over the runs. What is the processor's work alone (imports, loading, `--help`) is counted in seconds of it,
so that other processes hardly matter.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

IMPORTS = """
import torch
from transformers import AutoTokenizer, ClapTextModelWithProjection, CLIPTextModel, LlamaForCausalLM
from diffusers import AudioLDMPipeline, StableDiffusionPipeline, TextToVideoSDPipeline
print("ready")
"""
OURS = f"from anygpt import AnyGPT{IMPORTS}import peft\n"
LOADED = f"{OURS}AnyGPT.from_pretrained(sys.argv[1])\n"
HELP = "import runpy\nsys.argv = ['anygpt', '--help']\nrunpy.run_module('anygpt', run_name='__main__')\n"
MORE, LOADING, HELPING = 1.15, 2.0, 0.5  # times the libraries' imports, seconds, seconds
# What is asked for, and the seconds that it may take on two cores.
REQUESTS = {
    "image": ("draw a large red circle", 2.0),
    "audio": ("play the sound of a small blue square", 3.0),
    "video": ("make a film of a large green star moving left", 6.0),
}
FIRST_TOKEN = 3.0  # seconds that the first token may come after the imports
LAST_OF_HELP = "/quit"


def imports() -> float:
    """Seconds from the start of a process until it has imported the libraries."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True)
    return time.perf_counter() - started


def work(code: str, model: str = "") -> float:
    """Seconds of the processor's work in a process that runs the code."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = spent()
    subprocess.run([sys.executable, "-c", f"import sys\n{code}", model], check=True, capture_output=True)
    return spent() - before


def chat(model: str) -> dict[str, float]:
    """Seconds from the start of `anygpt chat` to its first token, and from each request to its medium."""
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "anygpt", "chat", model, "--output-dir", folder]
        started = time.perf_counter()
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdin and process.stdout
            process.stdin.write(b"hello\n")
            process.stdin.flush()
            if process.stdout.read(1):
                seconds["first token"] = time.perf_counter() - started
            for modality, (request, _) in REQUESTS.items():
                started = time.perf_counter()
                process.stdin.write(
                    f"/reset\n{request}\n/help\n".encode()
                )  # the help is the end of the answer
                process.stdin.flush()
                for line in process.stdout:
                    if line.startswith(f"{modality}: ".encode()):
                        seconds.setdefault(modality, time.perf_counter() - started)
                    if line.startswith(LAST_OF_HELP.encode()):
                        break
            process.stdin.close()
    return seconds


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("model", nargs="?", default="anygpt-tiny")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    model = str(Path(given.model).resolve()) if Path(given.model).is_dir() else given.model
    imported: list[float] = []
    measured: dict[str, list[float]] = {}
    worked: list[tuple[float, float, float, float]] = []
    for _ in range(given.runs):
        worked.append((work(IMPORTS), work(OURS), work(LOADED, model), work(HELP)))
        imported.append(imports())
        for what, seconds in chat(model).items():
            measured.setdefault(what, []).append(seconds)
    print("| what | seconds | at most |\n| --- | ---: | ---: |")
    print(f"| importing torch, transformers, diffusers | {median(imported):.2f} | |")
    libraries, ours, loaded, helped = (median(column) for column in zip(*worked, strict=True))
    print(f"| the same, work | {libraries:.2f} | |")
    print(f"| importing anygpt with them, work | {ours:.2f} | {MORE * libraries:.2f} |")
    print(f"| loading the model after that, work | {loaded - ours:.2f} | {LOADING:.2f} |")
    print(f"| anygpt --help, work | {helped:.2f} | {HELPING:.2f} |")
    limits = {"first token": median(imported) + FIRST_TOKEN} | {m: most for m, (_, most) in REQUESTS.items()}
    for what, most in limits.items():
        figure = f"{median(measured[what]):.2f}" if what in measured else "none came"
        print(f"| {what} | {figure} | {most:.2f} |")


if __name__ == "__main__":
    main()
