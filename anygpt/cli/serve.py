"""`anygpt serve`: the server, until it is told to stop."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from anygpt.cli.errors import CommandError
from anygpt.cli.loading import be_quiet, find_model, load_model, with_torch

PAGE_PATIENCE = 5  # seconds; an open page never hangs up by itself


def serve(
    model: str,
    host: str,
    port: int,
    *,
    api_key: str | None,
    allow_remote_media: bool,
    limits: dict[str, Any],
    loading: dict[str, Any],
    replicas: tuple[int, int] | None = None,
    with_page: bool = False,
) -> None:
    """Serve `model` at host:port.

    Args:
        limits: the fields of `anygpt.serving.limits.Limits`.
        loading: how the model is loaded (see `anygpt.fitting.read_loading`).
        replicas: with Ray, of the LLM and of each decoder, at least and at most; None is this process alone.
        with_page: also the page, at the root.
    """
    try:
        import uvicorn

        from anygpt.serving import application
        from anygpt.serving.limits import Limits

        if replicas is not None:
            from anygpt.serving.cluster import deploy, on_ray
            from anygpt.serving.front import load_front
        if with_page:
            os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
            from anygpt.serving import page
    except ModuleNotFoundError as error:
        extra = "ui" if with_page else "ray" if replicas else "serve"
        raise CommandError(f"{error.name} is missing; pip install 'anygpt[{extra}]'") from error
    if api_key is not None and not api_key.strip():
        raise CommandError("--api-key is empty; give one, or leave it out")
    folder, config = find_model(model)
    try:
        listening = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise CommandError(f"--host {host} --port {port}: {error.strerror or error}") from error
    name = Path(model).resolve().name if Path(model).exists() else model
    with ExitStack() as stack:
        stack.enter_context(listening)
        engine: dict[str, Any] = {}
        if replicas is None:
            loaded = load_model(folder, config, loading)
        else:
            be_quiet()
            print("starting processes on Ray, which takes a while …", file=sys.stderr)
            kinds = 1 + len(config.outputs)
            try:
                stack.enter_context(on_ray(1 + replicas[1] * kinds))
            except ConnectionError as error:
                raise CommandError(f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}: {error}") from error
            loaded = load_front(folder)
            engine["engine"] = partial(deploy, folder, with_torch(loading), replicas)
        app = application.create(
            loaded,
            name,
            limits=Limits(**limits),
            api_key=api_key,
            allow_remote_media=allow_remote_media,
            **engine,
        )
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listening.getsockname()[1]}"
        media = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="anygpt-page-", ignore_cleanup_errors=True)
        )
        if with_page:
            os.environ["GRADIO_TEMP_DIR"] = media  # what people show and get, gone with the server
            page.mount(app, f"{url}/v1", name, config, api_key)
            print(f"the page is at {url}", file=sys.stderr)
        print(f"serving {name} at {url}/v1; Ctrl-C stops", file=sys.stderr)
        settings = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=PAGE_PATIENCE if with_page else None,
        )
        # uvicorn sends itself the signal again when all is done, which must not end us before we tidy up
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        uvicorn.Server(settings).run(sockets=[listening])
