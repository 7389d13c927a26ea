"""Static files without leaving the event loop's thread for everything else.

WhiteNoise's own middleware is synchronous only; under ASGI it would put a thread below every request, and those of open streams
keep a stopping server from ending.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]
    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def add_files(self, root: str | Path, prefix: str | None = None) -> None:
        """A development installation has no collected files; those of the apps are served from where they are."""
        if Path(root).is_dir() or not self.use_finders:
            super().add_files(root, prefix)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._answer(request)
        return super().__call__(request)  # type: ignore[no-any-return]

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        if self.autorefresh:
            found = await sync_to_async(self.find_file)(request.path_info)
        else:
            found = self.files.get(request.path_info)
        if found is None:
            response: HttpResponseBase = await self.get_response(request)
            return response
        return await sync_to_async(self._whole)(found, request)

    def _whole(self, found: Any, request: HttpRequest) -> HttpResponse:
        """The file in one piece: a few hundred kilobytes at most, and ASGI cannot stream a synchronous file."""
        streamed = self.serve(found, request)
        try:
            response = HttpResponse(b"".join(streamed.streaming_content), status=streamed.status_code)
        finally:
            streamed.close()
        del response["content-type"]
        for name, value in streamed.items():
            response[name] = value
        return response
