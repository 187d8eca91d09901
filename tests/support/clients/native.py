"""The clients that Python programs use, each as its own documentation shows it."""

import http.client
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import aiohttp
import httpx
import requests
import urllib3

Answer = tuple[int, bytes]
Headers = Mapping[str, str]


def of_requests(url: str, headers: Headers, file: Path | None, name: str, fields: Headers) -> Answer:
    if file is None:
        answer = requests.get(url, headers=headers, timeout=60)
    else:
        with file.open("rb") as opened:
            answer = requests.post(url, headers=headers, data=fields, files={"file": (name, opened)}, timeout=60)
    return answer.status_code, answer.content


def of_httpx(url: str, headers: Headers, file: Path | None, name: str, fields: Headers) -> Answer:
    if file is None:
        answer = httpx.get(url, headers=headers, timeout=60)
    else:
        with file.open("rb") as opened:
            answer = httpx.post(url, headers=headers, data=dict(fields), files={"file": (name, opened)}, timeout=60)
    return answer.status_code, answer.content


def of_urllib3(url: str, headers: Headers, file: Path | None, name: str, fields: Headers) -> Answer:
    if file is None:
        answer = urllib3.request("GET", url, headers=headers)
    else:
        form = {**fields, "file": (name, file.read_bytes())}
        answer = urllib3.request("POST", url, headers=headers, fields=form)
    return answer.status, answer.data


def of_http_client(url: str, headers: Headers, file: Path | None, name: str, fields: Headers) -> Answer:
    """The file as the body itself, in chunks."""
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=60)) as connection:
        if file is None:
            connection.request("GET", f"{parts.path}?{parts.query}", headers=dict(headers))
        else:
            query = urlencode({**fields, "filename": name})
            kind = {"Content-Type": "image/jpeg"}
            with file.open("rb") as opened:
                connection.request("POST", f"{parts.path}?{query}", opened, {**headers, **kind}, encode_chunked=True)
        answer = connection.getresponse()
        return answer.status, answer.read()


async def of_aiohttp(url: str, headers: Headers, file: Path | None, name: str, fields: Headers) -> Answer:
    async with aiohttp.ClientSession(headers=headers) as session:
        if file is None:
            async with session.get(url) as answer:
                return answer.status, await answer.read()
        form = aiohttp.FormData(dict(fields))
        with file.open("rb") as opened:
            form.add_field("file", opened, filename=name)
            async with session.post(url, data=form) as answer:
                return answer.status, await answer.read()


BLOCKING: dict[str, Callable[[str, Headers, Path | None, str, Headers], Answer]] = {
    "requests": of_requests,
    "httpx": of_httpx,
    "urllib3": of_urllib3,
    "http.client": of_http_client,
}
