"""The application of the example, for gunicorn's WSGI workers and for its ASGI workers."""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qs


def answer(path: str, query: str) -> bytes:
    """Purr, or hold the worker for so long as the query says, as a careless handler does."""
    if path != "/nap":
        return b"Tom purrs.\n"
    time.sleep(float(parse_qs(query)["seconds"][0]))
    return b"Tom has slept.\n"


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer for workers of the class `sync` or `gthread`."""
    said = answer(environ["PATH_INFO"], environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(said)))])
    return [said]


async def asgi(
    scope: dict[str, Any],
    _: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer for workers of the class `asgi` or `uvicorn_worker.UvicornWorker`."""
    if scope["type"] != "http":
        raise NotImplementedError("it has no lifespan and no web sockets")
    said = answer(scope["path"], scope["query_string"].decode())
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(said)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said})
