"""Pictures on the web: fetched from public hosts, within limits of time and size."""

from __future__ import annotations

import itertools
import random
import time
from base64 import b64encode
from collections.abc import Iterable, Mapping
from http.client import responses
from io import BytesIO
from typing import TYPE_CHECKING

from lancedb_embedders.errors import ImageError
from lancedb_embedders.http_rules import pause_asked
from lancedb_embedders.inputs.images.limits import ImageLimits
from lancedb_embedders.version import __version__

if TYPE_CHECKING:
    import httpx

    from lancedb_embedders.inputs.images.transport import Bounds

_ATTEMPTS = 3
_PAUSE = 0.2  # seconds before the second attempt; doubles, and grows by chance
_PASSING = frozenset({429, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class _PassingError(ImageError):
    """What may be gone when it is tried again, after `retry_after` seconds at the earliest."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def fetch(url: str, limits: ImageLimits) -> bytes:
    """Return what is at `url`, as it is; whether it is a picture is not looked at.

    Parameters
    ----------
    url : str
        Of ``http`` or ``https``; a user and a password in it are sent to its host only.
    limits : ImageLimits
        Bytes, seconds in all, redirects, and the hosts that need not be public.

    Raises
    ------
    ImageError
        It is not there, not allowed, too large or too slow; says why, without the URL.
    """
    import stamina

    from lancedb_embedders.inputs.images import transport

    with transport.within(limits) as bounds:
        pauses = (_PAUSE * 2**n * (1 + random.random()) for n in itertools.count())

        def pause(error: Exception) -> float | bool:
            if not isinstance(error, _PassingError):
                return False
            seconds = max(error.retry_after, next(pauses))
            return seconds if seconds < bounds.deadline - time.monotonic() else False

        try:
            target = _parsed(url)
            for attempt in stamina.retry_context(on=pause, attempts=_ATTEMPTS, timeout=None):
                with attempt:
                    return _follow(target, bounds)
        except _PassingError as error:
            raise ImageError(str(error)) from None
    raise AssertionError("the last attempt returns or raises")


def _follow(url: httpx.URL, bounds: Bounds) -> bytes:
    for _ in range(bounds.limits.max_redirects + 1):
        answer = _ask(url, bounds)
        if isinstance(answer, bytes):
            return answer
        url = answer
    raise ImageError(
        f"redirects more than {bounds.limits.max_redirects} times (settings.max_redirects)"
    )


def _ask(url: httpx.URL, bounds: Bounds) -> bytes | httpx.URL:
    """Return what is at `url`, or where it redirects to."""
    import httpcore
    import httpx

    from lancedb_embedders.inputs.images.transport import pool

    target = httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )
    try:
        with pool.stream("GET", target, headers=_headers(url)) as response:
            headers = httpx.Headers(response.headers)
            if response.status in _REDIRECTS and "location" in headers:
                return _redirected(url, headers["location"])
            _check(response.status, headers, bounds.limits)
            return _read(response.iter_stream(), headers, bounds.limits)
    except httpcore.TimeoutException:
        raise bounds.late() from None
    except httpcore.NetworkError as error:
        raise _PassingError(f"no connection: {error}") from None
    except httpcore.RemoteProtocolError:
        raise _PassingError("its server hung up, or answers in something else than HTTP") from None
    except ImageError:
        raise
    except (httpcore.LocalProtocolError, ValueError, OSError) as error:
        raise ImageError(f"it cannot be asked for: {type(error).__name__}") from None


def _headers(url: httpx.URL) -> list[tuple[bytes, bytes]]:
    headers = {
        "Host": url.netloc,
        "User-Agent": f"lancedb-embedders/{__version__}".encode(),
        "Accept": b"*/*",
        "Accept-Encoding": b"identity",  # a small answer must not unpack to a large one
    }
    if url.userinfo:
        headers["Authorization"] = b"Basic " + b64encode(f"{url.username}:{url.password}".encode())
    return [(name.encode(), value) for name, value in headers.items()]


def _check(status: int, headers: Mapping[str, str], limits: ImageLimits) -> None:
    """Raise if the body is not what was asked for, or too large by what the headers say."""
    if status != 200:
        said = f"HTTP {status} {responses.get(status, '')}".strip()
        if status in _PASSING:
            raise _PassingError(said, pause_asked(headers.get("retry-after", "")) or 0.0)
        raise ImageError(said)
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity"}:
        raise ImageError(f"its server encodes it as {encoding[:40]!r}, though asked not to")
    length = _length(headers)
    if length is not None:
        limits.check_bytes(length)


def _read(chunks: Iterable[bytes], headers: Mapping[str, str], limits: ImageLimits) -> bytes:
    import httpcore

    data = BytesIO()
    try:
        for chunk in chunks:
            data.write(chunk)
            limits.check_bytes(data.tell())
    except (httpcore.ReadError, httpcore.RemoteProtocolError):
        length = _length(headers)
        whole = "" if length is None else f" of {length:,}"
        raise _PassingError(f"ended after {data.tell():,}{whole} bytes") from None
    limits.check_bytes(data.tell())
    return data.getvalue()


def _length(headers: Mapping[str, str]) -> int | None:
    # Where a body comes in chunks, a length beside them counts for nothing.
    length = headers.get("content-length")
    return None if length is None or "transfer-encoding" in headers else int(length)


def _redirected(url: httpx.URL, location: str) -> httpx.URL:
    try:
        target = _parsed(location, url)
    except ImageError as error:
        raise ImageError(f"redirects to {error}") from None
    if (url.scheme, target.scheme) == ("https", "http"):
        raise ImageError("redirects from https to http")
    if not target.userinfo and _origin(target) == _origin(url):
        return target.copy_with(userinfo=url.userinfo)
    return target


def _origin(url: httpx.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port


def _parsed(url: str, base: httpx.URL | None = None) -> httpx.URL:
    import httpx

    try:
        parsed = httpx.URL(url) if base is None else base.join(url)
    except (httpx.InvalidURL, ValueError) as error:
        # What follows a colon, or the words of other errors, may hold a password.
        words = f" ({str(error).partition(':')[0]})" if isinstance(error, httpx.InvalidURL) else ""
        raise ImageError(f"an invalid URL{words}") from None
    if parsed.scheme not in {"http", "https"}:
        kind = f"{parsed.scheme[:20]}:" if parsed.scheme else "no scheme"
        raise ImageError(f"another kind of URL than http and https ({kind})")
    if not parsed.raw_host:
        raise ImageError("a URL without a host")
    if parsed.port is not None and not 0 < parsed.port < 65536:
        raise ImageError(f"a URL with the port {parsed.port}, which cannot be")
    return parsed
