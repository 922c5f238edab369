"""The `anygpt` command. Nothing heavy is imported before a command has been understood and checked."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import anygpt
from anygpt.cli.errors import CommandError, is_mistake, one_line
from anygpt.cli.train import STAGES, find_tables, run_stage, train_preset
from anygpt.config import unknown
from anygpt.evaluation import SUITES
from anygpt.fitting import read_loading

DEFAULT_MODEL = "anygpt-tiny"
MODEL_HELP = "A packaged name, a folder, or a hub id."

app = typer.Typer(
    add_completion=False,
    help="A model that reads and writes text, pictures, sound and film.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
train = typer.Typer(
    help="Run a stage of training: one of a preset's, or one by its name, with options of its own.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(train, name="train")
data_app = typer.Typer(help="Read other people's data: into our own form, or into a report.")
app.add_typer(data_app, name="data")
convert = typer.Typer(help="Turn published checkpoints into folders that anygpt loads.")
app.add_typer(convert, name="convert")

Load = Annotated[
    list[str] | None,
    typer.Option(
        "--load",
        metavar="KEY=VALUE",
        help="How to load the model: device=cuda, dtype=bfloat16, offload=cpu or disk, quantization=int8 or nf4, device_map=auto, …",
    ),
]
OutputDir = Annotated[Path, typer.Option(help="Where media are saved.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same answer.")]
ExamplesFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Show the solved examples in this JSON Lines file first.")
]
Shots = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Of the examples, only the N most like the request.")
]
Interleaved = Annotated[
    bool, typer.Option("--interleaved", help="Examples as one document, not as earlier turns.")
]
DrawBoxes = Annotated[
    bool, typer.Option("--draw-boxes", help="Save the picture with the answer's boxes drawn on it.")
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; its exit code: 0, 2 after a person's mistake, 130 after Ctrl-C."""
    command = typer.main.get_command(app)
    try:
        code = command.main(args=argv, prog_name="anygpt", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        return _fail(" ".join(error.format_message().split()))
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        if not is_mistake(error):
            raise
        return _fail(one_line(error))


def _fail(problem: str) -> int:
    sys.stdout.flush()
    print(f"anygpt: error: {problem}", file=sys.stderr)
    return 2


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False,
) -> None:
    if version:
        print(f"anygpt {anygpt.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@data_app.callback(invoke_without_command=True)
@convert.callback(invoke_without_command=True)
def start_group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@train.callback(invoke_without_command=True)
def start_train(
    context: typer.Context,
    preset: Annotated[str | None, typer.Option(help=f"A system: {', '.join(find_tables())}.")] = None,
    stage: Annotated[int | None, typer.Option(metavar="N", help="Which of its stages.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting in place of the table's."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would train, memory and steps; load no weights.")
    ] = False,
) -> None:
    flags = [name for name, given in (("--resume", resume), ("--dry-run", dry_run)) if given]
    if context.invoked_subcommand is None:
        if preset is None and stage is None and not changes and not flags:
            print(context.get_help())
            return
        raise typer.Exit(train_preset(preset, stage, changes or [], flags))
    if preset is not None or stage is not None or changes or flags:
        raise CommandError(
            f"give options after the stage's name: anygpt train {context.invoked_subcommand} …"
        )


@app.command()
def chat(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)] = DEFAULT_MODEL,
    output_dir: OutputDir = Path("output"),
    seed: Seed = 0,
    examples: ExamplesFile = None,
    shots: Shots = None,
    interleaved: Interleaved = False,
    draw_boxes: DrawBoxes = False,
    load: Load = None,
) -> None:
    """Talk with the model; /help there says how. Piped input: a message a line."""
    from anygpt.cli.chat import chat

    chat(
        model,
        output_dir,
        seed,
        examples=examples,
        shots=shots,
        interleaved=interleaved,
        boxes=draw_boxes,
        loading=read_loading(load or ()),
    )


def _pools(text: str) -> tuple[int, int]:
    numbers = [int(number) if number.isascii() and number.isdigit() else 0 for number in text.split(",")]
    if len(numbers) != 2 or min(numbers) < 1:
        raise CommandError(f"--ray {text}: two numbers of at least 1 are wanted, as in --ray 1,2")
    return numbers[0], numbers[1]


def _files(letter: str) -> Any:
    return typer.Option(metavar="PATH", help=f"{letter}; may be given several times.")


@app.command()
def generate(
    prompt: Annotated[str | None, typer.Argument(help="What you want.")] = None,
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = DEFAULT_MODEL,
    image: Annotated[list[Path] | None, _files("A picture")] = None,
    audio: Annotated[list[Path] | None, _files("A sound")] = None,
    video: Annotated[list[Path] | None, _files("A film")] = None,
    depth: Annotated[list[Path] | None, _files("A depth map")] = None,
    thermal: Annotated[list[Path] | None, _files("A thermal picture")] = None,
    imu: Annotated[list[Path] | None, _files("A motion signal")] = None,
    batch: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Answer the requests in this JSON Lines file.")
    ] = None,
    output_dir: OutputDir = Path("output"),
    seed: Seed = 0,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="At most so many tokens of text.")] = 160,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy; above, more varied.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw from this share of the probability.")] = 1.0,
    examples: ExamplesFile = None,
    shots: Shots = None,
    interleaved: Interleaved = False,
    draw_boxes: DrawBoxes = False,
    load: Load = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="LLMS,DECODERS", help="--batch on Ray: how many processes think and how many make media."
        ),
    ] = None,
) -> None:
    """Answer one request, or with --batch a file of them."""
    given = {"image": image, "audio": audio, "video": video, "depth": depth, "thermal": thermal, "imu": imu}
    files = [(modality, path) for modality, paths in given.items() for path in paths or ()]
    options = {
        "seed": seed,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
    }
    if batch is not None:
        if prompt is not None or files or json_output:
            raise CommandError("--batch takes requests from its file: give no prompt, no media and no --json")
        if examples is not None or shots is not None or interleaved or draw_boxes:
            raise CommandError(
                "--batch takes no --examples and no --draw-boxes: a request's messages can begin with its examples"
            )
        from anygpt.cli.batch import generate_batch

        generate_batch(
            batch,
            model=model,
            output_dir=output_dir,
            options=options,
            loading=read_loading(load or ()),
            pools=_pools(ray) if ray is not None else None,
        )
        return
    if ray is not None:
        raise CommandError("--ray shares out a file of requests: give --batch FILE")
    from anygpt.cli.generate import generate

    generate(
        prompt or "",
        files,
        model=model,
        output_dir=output_dir,
        options=options,
        json_output=json_output,
        examples=examples,
        shots=shots,
        interleaved=interleaved,
        boxes=draw_boxes,
        loading=read_loading(load or ()),
    )


@app.command()
def serve(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)] = DEFAULT_MODEL,
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0 is every one of this machine.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 8000,
    api_key: Annotated[
        str | None, typer.Option(envvar="ANYGPT_API_KEY", help="Clients must send it as a bearer token.")
    ] = None,
    allow_remote_media: Annotated[
        bool, typer.Option("--allow-remote-media", help="Fetch media from public web addresses.")
    ] = False,
    max_batch: Annotated[int, typer.Option(min=1, help="Answers that are written at once.")] = 16,
    max_queue: Annotated[int, typer.Option(min=1, help="Answers that wait; more get 429.")] = 64,
    max_megabytes: Annotated[int, typer.Option(min=1, help="Of a request.")] = 64,
    max_megapixels: Annotated[
        int, typer.Option(min=1, help="Of a request's pictures and its films' frames.")
    ] = 256,
    max_audio_seconds: Annotated[float, typer.Option(min=0.1, help="Of a sound that is sent.")] = 300,
    max_video_seconds: Annotated[float, typer.Option(min=0.1, help="Of a film that is sent.")] = 60,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Of prompt and answer together; what the LLM can read.")
    ] = None,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds that an answer may take.")] = 300,
    ray: Annotated[
        bool, typer.Option("--ray", help="The LLM and each decoder as deployments of Ray Serve.")
    ] = False,
    min_replicas: Annotated[
        int, typer.Option(min=1, help="With --ray: of the LLM and of each decoder, at least.")
    ] = 1,
    max_replicas: Annotated[int, typer.Option(min=1, help="With --ray: of each, under load.")] = 4,
    load: Load = None,
) -> None:
    """Serve a model to OpenAI's clients; Ctrl-C finishes what runs, a second one does not."""
    from anygpt.cli.serve import serve

    limits = {
        "bytes": max_megabytes * 2**20,
        "pixels": max_megapixels * 10**6,
        "audio_seconds": max_audio_seconds,
        "video_seconds": max_video_seconds,
        "tokens": max_tokens,
        "time": time_limit,
        "batch": max_batch,
        "queue": max_queue,
    }
    if min_replicas > max_replicas:
        raise CommandError(f"--min-replicas {min_replicas} is more than --max-replicas {max_replicas}")
    serve(
        model,
        host,
        port,
        api_key=api_key,
        allow_remote_media=allow_remote_media,
        limits=limits,
        replicas=(min_replicas, max_replicas) if ray else None,
        loading=read_loading(load or ()),
    )


@app.command()
def ui(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)] = DEFAULT_MODEL,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="ANYGPT_API_KEY", help="Of the API, and the page's password for the user anygpt."
        ),
    ] = None,
    load: Load = None,
) -> None:
    """Chat in the browser: `anygpt serve` with a page at its root."""
    from anygpt.cli.serve import serve

    serve(
        model,
        host,
        port,
        api_key=api_key,
        allow_remote_media=False,
        limits={},
        loading=read_loading(load or ()),
        with_page=True,
    )


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)] = DEFAULT_MODEL,
    suite: Annotated[str, typer.Option(help=f"What to measure: {', '.join(SUITES)} or all.")] = "all",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Cases with right answers, JSON Lines; without it, from the toy world."
        ),
    ] = None,
    report: Annotated[Path, typer.Option(metavar="DIR", help="Where results and report go.")] = Path(
        "output/report"
    ),
    count: Annotated[
        int | None, typer.Option(min=1, help="Cases of each cell (100), or of the file (all of it).")
    ] = None,
    seed: Seed = 0,
    shots: Annotated[
        str | None,
        typer.Option(metavar="N,N,…", help="Examples before a question, in in-context (0,1,2,4,8)."),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(metavar="ENCODER", help="What FID and CLIPScore compare by; the model's own encoder."),
    ] = None,
    load: Load = None,
) -> None:
    """Measure a model: results as JSON, a report with a gallery. The same command goes on with an interrupted run."""
    if suite not in (*SUITES, "all"):
        raise CommandError(unknown("suite", suite, (*SUITES, "all")))
    from anygpt.cli.evaluate import run_suites

    run_suites(
        model,
        suite,
        data=data,
        report=report,
        count=count,
        seed=seed,
        shots=shots,
        features=features,
        load=load or (),
    )


@app.command()
def info(
    model: Annotated[str | None, typer.Argument(help=f"{MODEL_HELP} [default: {DEFAULT_MODEL}]")] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="A preset instead: its sizes, and what fits here.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a model is made of: its parts, parameters, bytes, and which are frozen."""
    if preset is None:
        from anygpt.cli.info import info

        info(model or DEFAULT_MODEL, json_output)
        return
    if model is not None:
        raise CommandError("give a model or --preset, not both")
    from anygpt.cli.preset_info import preset_info

    preset_info(preset, json_output)


DataFormat = Annotated[str, typer.Argument(metavar="FORMAT", help="messages, llava, nextgpt, cc3m, …")]
DataPath = Annotated[Path, typer.Argument(metavar="PATH", help="The file of its rows.")]
DataMedia = Annotated[Path | None, typer.Option(metavar="DIR", help="Where its media are; beside PATH.")]
DataSecond = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="The second file: VQAv2's and OK-VQA's answers, RefCOCO's instances.json."
    ),
]
DataLimit = Annotated[int | None, typer.Option(min=1, help="The first so many rows alone.")]
DataTask = Annotated[str, typer.Option(help="Captioned media: describe, make, or both by turns.")]


@data_app.command("convert")
def convert_data(
    format: DataFormat,
    path: DataPath,
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="A new JSON Lines file.")],
    media: DataMedia = None,
    annotations: DataSecond = None,
    limit: DataLimit = None,
    task: DataTask = "describe",
    max_skipped: Annotated[
        float, typer.Option(min=0, max=1, help="The share of rows that may be left out.")
    ] = 0.01,
) -> None:
    """Write any known format in our own: a conversation a line."""
    from anygpt.cli.data import convert_data

    convert_data(_source(format, path, media, annotations, limit, task), output, max_skipped)


@data_app.command("check")
def check_data(
    format: DataFormat,
    path: DataPath,
    media: DataMedia = None,
    annotations: DataSecond = None,
    limit: DataLimit = None,
    task: DataTask = "describe",
    report: Annotated[Path, typer.Option(metavar="DIR", help="Where the report goes.")] = Path("output/data"),
) -> None:
    """Open every file of a data set: counts, what cannot be used and why, lengths, a gallery."""
    from anygpt.cli.data import check_data

    check_data(_source(format, path, media, annotations, limit, task), report)


def _source(
    format: str, path: Path, media: Path | None, annotations: Path | None, limit: int | None, task: str
) -> Any:
    from anygpt.data.source import Source

    if task not in ("describe", "make", "both"):
        raise CommandError(unknown("task", task, ("describe", "make", "both")))
    return Source(
        format,
        str(path),
        None if media is None else str(media),
        limit=limit,
        task=task,  # type: ignore[arg-type]  # checked
        annotations=None if annotations is None else str(annotations),
    )


NewFolder = Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")]


@convert.command("nextgpt")
def convert_nextgpt(
    checkpoint: Annotated[
        list[Path],
        typer.Argument(
            help="pytorch_model.pt, or the current tree's files, or folders of them; the last one has its way."
        ),
    ],
    llm: Annotated[
        str, typer.Option(metavar="VICUNA", help="The base it was trained on: a folder or a hub id.")
    ],
    out: NewFolder,
    preset: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Encoder and decoders, if others than its own.")
    ] = None,
) -> None:
    """NExT-GPT's published weights, or those of your own run of its code; every tensor is checked."""
    from anygpt.cli.convert import nextgpt

    nextgpt(checkpoint, llm, out, preset)


@convert.command("imagebind")
def convert_imagebind(
    weights: Annotated[Path, typer.Argument(help="imagebind_huge.pth")],
    out: NewFolder,
    nextgpt: Annotated[
        bool, typer.Option("--nextgpt", help="Hear and watch as NExT-GPT does: clips evenly spread.")
    ] = False,
) -> None:
    """The published ImageBind."""
    from anygpt.cli.convert import imagebind

    imagebind(weights, out, nextgpt)


@convert.command("transformers")
def convert_transformers(
    checkpoint: Annotated[str, typer.Argument(help="A folder or a hub id.")], out: NewFolder
) -> None:
    """LLaVA 1.5 or BLIP-2 (with OPT) as transformers has them."""
    from anygpt.cli.convert import transformers

    transformers(checkpoint, out)


STAGE_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command("precompute", context_settings=STAGE_OPTIONS)
def precompute(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="encoder-features, caption-embeddings or latents")],
    stage: Annotated[str, typer.Argument(help="The stage; what follows are its options: --config FILE …")],
) -> None:
    """Compute once what the frozen parts make of a stage's data, into its `precomputed` folder; run again, it goes on."""
    if stage not in STAGES:
        raise CommandError(unknown("stage", stage, STAGES))
    raise typer.Exit(run_stage(stage, ["--precompute", what, *context.args]))


def _add_stage(name: str, does: str) -> None:
    def run(context: typer.Context) -> None:
        raise typer.Exit(run_stage(name, context.args))

    # Everything after the stage's name, --help too, is the stage's to read.
    train.command(name, help=does, context_settings=STAGE_OPTIONS)(run)


for name, does in STAGES.items():
    _add_stage(name, does)
