"""`anygpt serve`: the server, until it is told to stop."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

from anygpt.cli.errors import CommandError
from anygpt.cli.loading import find_model, load_model


def serve(
    model: str,
    host: str,
    port: int,
    *,
    api_key: str | None,
    allow_remote_media: bool,
    limits: dict[str, Any],
) -> None:
    """Serve `model` at host:port.

    Args:
        limits: the fields of `anygpt.serving.limits.Limits`.
    """
    try:
        import uvicorn

        from anygpt.serving import application
        from anygpt.serving.limits import Limits
    except ModuleNotFoundError as error:
        raise CommandError(f"{error.name} is missing; pip install 'anygpt[serve]'") from error
    if api_key is not None and not api_key.strip():
        raise CommandError("--api-key is empty; give one, or leave it out")
    folder, config = find_model(model)
    try:
        listening = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise CommandError(f"--host {host} --port {port}: {error.strerror or error}") from error
    with listening:
        name = Path(model).resolve().name if Path(model).exists() else model
        app = application.create(
            load_model(folder, config),
            name,
            limits=Limits(**limits),
            api_key=api_key,
            allow_remote_media=allow_remote_media,
        )
        shown = f"[{host}]" if ":" in host else host
        print(
            f"serving {name} at http://{shown}:{listening.getsockname()[1]}/v1; Ctrl-C stops", file=sys.stderr
        )
        settings = uvicorn.Config(app, log_level="warning", access_log=False)
        uvicorn.Server(settings).run(sockets=[listening])
