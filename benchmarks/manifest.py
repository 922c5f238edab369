"""How long a data set of a million rows takes to index, and then to open, in a process of its own, and how much memory.

    python -m benchmarks.manifest [--rows 1000000]

Opening is Python's start, the import of the readers, the opening itself, and reading the first, the middle and the last row, the quickest of three
times; "work" is that of one core, which does not grow where others want it too. Rows are like those of the published files, media need not be there. Shards of WebDataset have two members a sample, 10,000 samples a shard.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SECONDS, MEGABYTES = 2.0, 300.0  # the most, of opening
SHARD = 10_000

OPENING = """
import sys
from anygpt.data import Source, open_source
reader = open_source(Source(sys.argv[1], sys.argv[2]))
rows = [reader.read(row) for row in (0, len(reader) // 2, len(reader) - 1)]
most = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(len(reader), len(rows), int(most) / 1024)
"""


def llava(path: Path, rows: int) -> Path:
    """A JSON list of dialogues."""
    with path.open("w", encoding="utf-8") as file:
        file.write("[\n")
        for row in range(rows):
            turns = [
                {"from": "human", "value": "<image>\nWhat is it?"},
                {"from": "gpt", "value": f"It is number {row}."},
            ]
            record = {"id": f"{row:012d}", "image": f"{row:012d}.jpg", "conversations": turns}
            file.write(json.dumps(record) + ("]" if row + 1 == rows else ",\n"))
    return path


def webvid(path: Path, rows: int) -> Path:
    """A CSV of captions."""
    with path.open("w", encoding="utf-8") as file:
        file.write("videoid,contentUrl,duration,page_dir,name\n")
        for row in range(rows):
            file.write(f'{row},https://films/{row}.mp4,PT00H00M13S,{row % 1000:06d},"Waves, number {row}"\n')
    return path


def cc3m(path: Path, rows: int) -> Path:
    """A TSV of captions."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"a kite, number {row}\thttps://pictures/{row}.jpg\n" for row in range(rows))
    return path


def webdataset(path: Path, rows: int) -> Path:
    """A folder of shards."""
    path.mkdir()
    for start in range(0, rows, SHARD):
        with tarfile.open(path / f"{start // SHARD:05d}.tar", "w") as shard:
            for row in range(start, min(start + SHARD, rows)):
                for ending, data in (("jpg", b"\xff\xd8\xff\xd9"), ("txt", b"a kite, number %d" % row)):
                    entry = tarfile.TarInfo(f"{row:09d}.{ending}")
                    entry.size = len(data)
                    shard.addfile(entry, io.BytesIO(data))
    return path


MAKERS: dict[str, tuple[str, Callable[[Path, int], Path]]] = {
    "llava": ("llava.json", llava),
    "webvid": ("webvid.csv", webvid),
    "cc3m": ("cc3m.tsv", cc3m),
    "webdataset": ("shards", webdataset),
}


def opened(kind: str, path: Path) -> tuple[float, float, float]:
    """Seconds, seconds of one core's work, and MiB of a process that opens it."""
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", OPENING, kind, str(path)], capture_output=True, text=True, check=True
    )
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    work = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, work, float(done.stdout.split()[-1])


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    given = parser.parse_args()
    bars = f"again, s (at most {SECONDS:.0f}) | of it work | MiB (at most {MEGABYTES:.0f})"
    print(f"| {given.rows} rows | size | first opening, work in s | {bars} |\n| --- |{' ---: |' * 5}")
    with tempfile.TemporaryDirectory() as name:
        for kind, (file, make) in MAKERS.items():
            path = make(Path(name, file), given.rows)
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            size = sum(each.stat().st_size for each in files) / 2**20
            _, first, _ = opened(kind, path)
            seconds, work, megabytes = min(opened(kind, path) for _ in range(3))
            print(
                f"| `{kind}` | {size:.0f} MiB | {first:.1f} | {seconds:.2f} | {work:.2f} | {megabytes:.0f} |",
                flush=True,
            )
            for each in files:
                each.unlink()


if __name__ == "__main__":
    main()
