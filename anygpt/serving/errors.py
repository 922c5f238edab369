"""What goes wrong, in OpenAI's shape: {"error": {"message", "type", "param", "code"}} and a status."""

from __future__ import annotations

import logging
import math
from typing import Any

from starlette.exceptions import HTTPException

from anygpt.messages import MessageError
from anygpt.options import OptionError
from decoders.errors import DecoderError
from encoders.media import MediaError

log = logging.getLogger("anygpt.serving")

MISTAKES = (MessageError, OptionError, MediaError, DecoderError)
TYPES = {401: "authentication_error", 429: "rate_limit_error"}


class ApiError(HTTPException):
    """An answer other than the one that was asked for."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.param = param
        self.code = code

    @property
    def body(self) -> dict[str, Any]:
        """What the client is sent."""
        kind = TYPES.get(
            self.status_code, "invalid_request_error" if self.status_code < 500 else "server_error"
        )
        return {"error": {"message": self.detail, "type": kind, "param": self.param, "code": self.code}}


class Busy(Exception):
    """The queue is full; there may be a place in it after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__("too many requests are waiting; try again later")
        self.seconds = seconds


class Closing(Exception):
    """The server is shutting down and takes nothing new."""


class OverTime(Exception):
    """An answer took longer than the `seconds` that it may."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the answer was not complete within {seconds:g} s")


class Gone(Exception):
    """The client has left."""


# what clients are told and nobody need look into
EXPECTED = (HTTPException, *MISTAKES, Busy, Closing, OverTime, Gone)


def as_api_error(error: BaseException) -> ApiError:
    """Any error as one that a client can be told; what is no fault of the request goes to the log."""
    match error:
        case ApiError():
            return error
        case HTTPException():
            return ApiError(error.status_code, error.detail, headers=dict(error.headers or {}))
        case Busy():
            retry = str(max(1, math.ceil(error.seconds)))
            return ApiError(429, str(error), code="queue_full", headers={"Retry-After": retry})
        case Closing():
            return ApiError(503, "the server is shutting down", code="shutting_down")
        case OverTime():
            return ApiError(504, str(error), code="timeout")
        case Gone():
            return ApiError(499, "the client has left")
        case _ if isinstance(error, MISTAKES):
            return ApiError(400, " ".join(str(error).split()))
        case _:
            log.error("a request failed", exc_info=error)
            return ApiError(500, "the server failed at this request; its log says why", code="internal_error")
