"""A client of the service's HTTP API.

Temporary failures (429, 502, 503, 504, broken connections) are retried after the time that the server asks for. An
upload carries an Idempotency-Key, so that one whose answer was lost is not made twice.

    ClientError
     ├── RefusedError             the service refused the request; its problem document has the reason
     └── ServerUnreachableError   no answer, or none of an imgsvc server
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from time import monotonic
from typing import Any, Self, TypeVar, cast
from urllib.parse import quote
from uuid import uuid4

import aiohttp
import orjson
from yarl import URL

from imgsvc.client.form import LocalFile, form
from imgsvc.domain.documents import Accepted, Deliveries, Ended, JobStatus, NotYet, Success
from imgsvc.domain.states import TERMINAL
from imgsvc.domain.token_document import Issued

SILENCE_S = 60.0
"""How long a server may neither read from an upload nor answer."""

_CONNECT_S = 10.0
_TRIES = 6
_PAUSE_S = 0.25
_MAX_PAUSE_S = 60.0  # for a longer Retry-After the user gets the error instead
_HOLD_S = 1
_POLL_S = (0.1, 1.0)
_MAX_ANSWER_BYTES = 1024 * 1024
_READ_BYTES = 64 * 1024
_GOOD = {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED}
_TEMPORARY = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}

T = TypeVar("T")
Json = dict[str, Any]


class ClientError(Exception):
    """`code` is stable, the message says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RefusedError(ClientError):
    """The service refused the request. It can be repeated after `retry_after_s` seconds, or never if that is None."""

    def __init__(self, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(code, message)
        self.retry_after_s = retry_after_s


class ServerUnreachableError(ClientError):
    """There was no answer in time, or not one of an imgsvc server."""

    def __init__(self, message: str) -> None:
        super().__init__("unreachable", message)


class Client:
    """One service at `server`, such as http://127.0.0.1:8000 or https://example.com/images.

    Open it with `Client.open`.
    """

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self._session = session
        self._server = server.rstrip("/")
        self._origin = str(URL(server).origin())
        self._reached = False

    @classmethod
    @asynccontextmanager
    async def open(cls, server: str, key: str | None) -> AsyncGenerator[Self]:
        headers = {"user-agent": "imgsvc"} | ({"authorization": f"Bearer {key}"} if key else {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=SILENCE_S)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            yield cls(session, server)

    def url(self, path: str) -> str:
        """Returns the URL of a path in a document of the service; the path includes the base path."""
        return self._origin + path

    async def upload(self, source: LocalFile, options: Mapping[str, Any], on_sent: Callable[[int], None]) -> Accepted:
        """Uploads a file in chunks. Returns the answer of `POST /upload`.

        `on_sent` receives the number of bytes of the file that were sent; it starts again at 0 with each try.
        """
        key = str(uuid4())

        async def post() -> Json:
            async with asyncio.timeout(SILENCE_S) as silence:

                def sent(size: int) -> None:
                    silence.reschedule(asyncio.get_running_loop().time() + SILENCE_S)
                    on_sent(size)

                # a server that refuses answers before the body is sent, and need not close the connection
                return await self._request(
                    "POST",
                    "/upload",
                    data=form(source, options, sent),
                    headers={"idempotency-key": key},
                    expect100=True,
                )

        return cast("Accepted", await self._with_retries(post))

    async def upload_url(self, url: str, options: Mapping[str, Any]) -> Accepted:
        """Has the service fetch an image. Returns the answer of `POST /upload/url`."""
        headers = {"content-type": "application/json", "idempotency-key": str(uuid4())}
        body = orjson.dumps({"url": url, **options})

        async def post() -> Json:
            async with asyncio.timeout(SILENCE_S):
                return await self._request("POST", "/upload/url", data=body, headers=headers)

        return cast("Accepted", await self._with_retries(post))

    async def issue_token(self, terms: Mapping[str, Any]) -> Issued:
        """Has an upload token issued. `terms` is the body of `POST /tokens`."""
        return cast("Issued", await self._send("POST", "/tokens", terms))

    async def derive(self, upload_id: str, asked: Mapping[str, Any]) -> JobStatus:
        """Has variants made of a stored original. `asked` is the body of `POST /upload/{id}/variants`."""
        path = f"/upload/{quote(upload_id, safe='')}/variants"
        return cast("JobStatus", await self._send("POST", path, asked))

    async def change_focus(self, upload_id: str, focus: Mapping[str, float] | None) -> JobStatus:
        """Changes an upload's focus, and has made anew what is cut by it."""
        path = f"/upload/{quote(upload_id, safe='')}"
        return cast("JobStatus", await self._send("PATCH", path, {"focus": focus}))

    async def deliveries(self, upload_id: str) -> Deliveries:
        return cast("Deliveries", await self._get(f"/upload/{quote(upload_id, safe='')}/deliveries"))

    async def replay(self, upload_id: str, number: int) -> Deliveries:
        """Has an event of an upload sent to its webhook again."""
        path = f"/upload/{quote(upload_id, safe='')}/deliveries/{number}/replay"
        return cast("Deliveries", await self._send("POST", path))

    async def status(self, upload_id: str, **query: str) -> JobStatus:
        return cast("JobStatus", await self._get(f"/upload/{quote(upload_id, safe='')}/status", **query))

    async def result(self, upload_id: str) -> Success | Ended | NotYet:
        document = await self._get(f"/upload/{quote(upload_id, safe='')}/result")
        return cast("Success | Ended | NotYet", document)

    async def ended(self, upload_id: str, on_status: Callable[[JobStatus], None] | None = None) -> JobStatus:
        """Waits for the end of the job, and of the newest derivation. Returns the status document.

        `on_status` receives each one before, too.
        """
        pause_s, most_s = _POLL_S
        while True:
            begin = monotonic()
            document = await self.status(upload_id, wait=str(_HOLD_S))
            if on_status:
                on_status(document)
            if _has_ended(document):
                return document
            # no pause if the server held the answer until the job changed
            await asyncio.sleep(max(0.0, begin + pause_s - monotonic()))
            pause_s = min(most_s, pause_s * 1.5)

    async def download(self, path: str) -> AsyncGenerator[bytes]:
        """Yields the bytes of a file that a result names."""
        answer = await self._with_retries(lambda: self._open(path))
        try:
            while chunk := await self._read(answer):
                yield chunk
        finally:
            answer.close()

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Json:
        data = None if body is None else orjson.dumps(body)
        headers = {} if body is None else {"content-type": "application/json"}

        async def send() -> Json:
            async with asyncio.timeout(SILENCE_S):
                return await self._request(method, path, data=data, headers=headers)

        return await self._with_retries(send)

    async def _get(self, path: str, **query: str) -> Json:
        async def get() -> Json:
            async with asyncio.timeout(SILENCE_S):
                return await self._request("GET", path, params=query)

        return await self._with_retries(get)

    async def _open(self, path: str) -> aiohttp.ClientResponse:
        # the path has a signature of its exact characters
        answer = await self._session.get(URL(self.url(path), encoded=True), allow_redirects=False)
        self._reached = True
        if answer.status != HTTPStatus.OK:
            async with answer:
                raise _refused(answer, await _body(answer))
        return answer

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        try:
            return await answer.content.read(_READ_BYTES)
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error

    async def _request(self, method: str, path: str, **options: Any) -> Json:
        url = URL(self._server + path, encoded=True)
        async with self._session.request(method, url, allow_redirects=False, **options) as answer:
            self._reached = True
            body = await _body(answer)
            if answer.status not in _GOOD:
                raise _refused(answer, body)
            return _document(answer, body)

    async def _with_retries(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Calls `ask` until it succeeds; raises the last error."""
        for attempt in range(1, _TRIES + 1):
            try:
                return await ask()
            except RefusedError as error:
                pause_s = error.retry_after_s
                if pause_s is None or pause_s > _MAX_PAUSE_S or attempt == _TRIES:
                    raise
            except (aiohttp.ClientError, OSError) as error:
                pause_s = _PAUSE_S * 2**attempt
                # if no server answered yet, a wrong address is more likely than a restart
                never_reached = isinstance(error, aiohttp.ClientConnectorError) and not self._reached
                if never_reached or attempt == _TRIES:
                    raise self._unreachable(error) from error
            await asyncio.sleep(pause_s * random.uniform(1, 1.2))  # noqa: S311 (no secret)
        raise AssertionError

    def _unreachable(self, error: BaseException) -> ServerUnreachableError:
        why = "no answer in time" if isinstance(error, TimeoutError) else str(error) or repr(error)
        return ServerUnreachableError(f"cannot reach {self._server}: {why}")


def _has_ended(document: JobStatus) -> bool:
    derivation = document.get("derivation")  # not from a server of a version before derivations
    return document["status"] in TERMINAL and (derivation is None or derivation["status"] in TERMINAL)


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = b""
    # a single read returns only what has arrived so far
    while len(body) < _MAX_ANSWER_BYTES and (chunk := await answer.content.read(_READ_BYTES)):
        body += chunk
    return body


def _document(answer: aiohttp.ClientResponse, body: bytes) -> Json:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise ServerUnreachableError(f"{answer.url.origin()} is not an imgsvc server: check the address")
    return document


def _refused(answer: aiohttp.ClientResponse, body: bytes) -> ClientError:
    if answer.status in range(300, 400):
        return ServerUnreachableError(
            f"the server redirects to {answer.headers.get('location')}: use that address instead"
        )
    retry_after_s = _retry_after_s(answer)
    try:
        problem = _document(answer, body)
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ServerUnreachableError, KeyError):  # from a proxy
        return RefusedError("http_error", f"the server answers {answer.status} {answer.reason}", retry_after_s)
    return RefusedError(code, detail, retry_after_s)


def _retry_after_s(answer: aiohttp.ClientResponse) -> float | None:
    text = answer.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    return 1.0 if answer.status in _TEMPORARY else None
