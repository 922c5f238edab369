"""What every request passes first: the key, the size of its body; and what is noted when it has been answered."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from anygpt.serving.errors import ApiError
from anygpt.serving.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Door:
    """ASGI middleware around the application.

    Args:
        key: wanted as `Authorization: Bearer KEY` at all routes under /v1; None lets everybody in.
        most: bytes of a body, at most.
        patience: seconds that a body may take to come.
    """

    def __init__(self, app: Any, key: str | None, most: int, patience: float, metrics: Metrics) -> None:
        self.app = app
        self.key = key
        self.most = most
        self.patience = patience
        self.metrics = metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status, seen, whole = time.monotonic(), 0, 0, False

        async def counted() -> Message:
            nonlocal seen, whole
            if whole:  # what comes now is that the client leaves
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), begun + self.patience - time.monotonic())
            except TimeoutError:
                raise ApiError(408, "the request's body took too long to come", code="timeout") from None
            seen += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if seen > self.most:
                raise self._too_large()
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            self._check(scope)
            await self.app(scope, counted, noted)
        except ApiError as error:
            if status:
                raise
            await JSONResponse(error.body, error.status_code, error.headers)(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.monotonic() - begun)

    def _check(self, scope: Message) -> None:
        headers = Headers(scope=scope)
        if self.key is not None and (scope["path"] + "/").startswith("/v1/"):
            scheme, _, given = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip(" ").encode("latin-1"), self.key.encode())
            if scheme.lower() != "bearer" or not right:
                raise ApiError(
                    401,
                    "a key is wanted: Authorization: Bearer KEY" if not given else "the key is wrong",
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length) > self.most:
            raise self._too_large()

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"the request has more than {self.most} bytes, the most",
            code="request_too_large",
            headers={"Connection": "close"},
        )
