"""Logs: an upload can be followed through both processes, and no secret, no name and no forged line gets in."""

import asyncio
import json
import logging
import os
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from imgsvc.local.ports import free_port
from imgsvc.runtime import logs
from tests.support import images
from tests.support.service import DEADLINE_S, Servers, Service, until

PHOTO = images.photo()
SECRETS = ("hunter2-of-redis", "hunter2-of-s3", "hunter2-of-bearer", "hunter2-of-signature")
NASTY = "a\r\n2026-01-01 00:00:00,000 INFO imgsvc: forged\x1b[2J\u202e\x9b\u2028"


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def requests(told: list[dict[str, Any]], route: str) -> list[dict[str, Any]]:
    return [line for line in told if line["message"] == "request" and line["route"] == route]


def record(message: object, *args: object, error: Exception | None = None, **fields: object) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("imgsvc.test", logging.INFO, __file__, 1, message, args, exc_info)
    made.__dict__.update(logs.fields(**fields))
    return made


async def test_an_upload_is_followed_from_its_request_to_its_jobs_end(
    capfd: pytest.CaptureFixture[str], servers: Servers
) -> None:
    async with Service.start(servers.environment()) as service:
        answer = await service.client.post(
            "/upload", files={"file": ("holiday.jpg", PHOTO)}, headers={"x-request-id": "one-story-0001"}
        )
        upload_id = answer.json()["id"]
        await service.file(upload_id, "thumbnail")
        await service.client.get("/photos/holiday.jpg?sig=abc")
    told = lines(capfd)
    (upload,) = requests(told, "/upload")
    assert upload["request_id"] == "one-story-0001"
    assert upload["upload_id"] == upload_id
    assert (upload["method"], upload["status"], upload["level"]) == ("POST", 202, "info")
    assert len(PHOTO) < upload["bytes_in"] < len(PHOTO) + 1000
    assert upload["bytes_out"] == len(answer.content)
    assert upload["ms"] > 0
    (job,) = [line for line in told if line["message"] == "job"]
    assert (job["request_id"], job["upload_id"]) == ("one-story-0001", upload_id)
    assert (job["code"], job["attempt"]) == ("success", 1)
    assert job["ms"] >= job["fetch_ms"] + job["decode_ms"] + job["store_ms"] - 1
    (file,) = requests(told, "/files/{path}")
    assert (file["upload_id"], file["status"]) == (upload_id, 200)
    assert [line["status"] for line in requests(told, "none")] == [404]
    assert not requests(told, "/readyz"), "machines that ask all the time are told of at debug level alone"
    assert "holiday" not in json.dumps(told)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in told)


async def test_file_names_are_told_where_they_are_wanted(capfd: pytest.CaptureFixture[str], servers: Servers) -> None:
    async with Service.start(servers.environment(), log_filenames=True, log_level="debug") as service:
        upload_id = await service.upload(PHOTO, "holiday.jpg")
        await service.file(upload_id, "thumbnail")
    told = lines(capfd)
    assert requests(told, "/readyz")
    assert [line["path"] for line in requests(told, "/files/{path}")] == [
        f"/files/processed/{upload_id}/holiday_thumbnail.jpeg"
    ]
    (job,) = [line for line in told if line["message"] == "job"]
    assert job["filename"] == "holiday.jpg"
    steps = [(line["step"], line["upload_id"]) for line in told if line["message"] == "step"]
    assert steps == [(step, upload_id) for step in ("fetch", "decode", "store")]


async def test_a_failed_job_says_its_code(capfd: pytest.CaptureFixture[str], servers: Servers) -> None:
    async with Service.start(servers.environment()) as service:
        await service.ended(await service.upload(PHOTO[: len(PHOTO) // 2]))
    (job,) = [line for line in lines(capfd) if line["message"] == "job"]
    assert job["code"] == "decode_failed"
    assert "store_ms" not in job


async def test_pipelined_requests_are_not_mixed_up(capfd: pytest.CaptureFixture[str], servers: Servers) -> None:
    upload_id = str(uuid4())
    async with Service.start(servers.environment(), workers=0) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        head = "GET {} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {}\r\n{}\r\n"
        writer.write(head.format(f"/upload/{upload_id}/status", "first-one", "").encode())
        writer.write(head.format("/presets", "second-one", "Connection: close\r\n").encode())
        await asyncio.wait_for(reader.read(), DEADLINE_S)
        writer.close()
    told = lines(capfd)
    (first,), (second,) = requests(told, "/upload/{id}/status"), requests(told, "/presets")
    assert (first["request_id"], first["upload_id"]) == ("first-one", upload_id)
    assert second["request_id"] == "second-one"
    assert "upload_id" not in second


async def test_no_secret_is_logged_while_everything_fails(capfd: pytest.CaptureFixture[str]) -> None:
    nowhere = free_port()
    environment = {
        "IMGSVC_REDIS_URL": f"redis://imgsvc:hunter2-of-redis@127.0.0.1:{nowhere}/0",
        "IMGSVC_S3_ENDPOINT_URL": f"http://127.0.0.1:{nowhere}",
        "IMGSVC_S3_ACCESS_KEY_ID": "imgsvc",
        "IMGSVC_S3_SECRET_ACCESS_KEY": "hunter2-of-s3",
        "IMGSVC_LOG_LEVEL": "debug",
    }
    service = Service(environment)
    headers = {"authorization": "Bearer hunter2-of-bearer"}
    try:
        await service.start_api()
        await service.start_worker()

        async def answers() -> bool:
            try:
                return (await service.client.get("/healthz")).status_code == 200
            except httpx.TransportError:
                return False

        await until(answers)
        path = f"/files/processed/{uuid4()}/holiday_thumbnail.jpeg?exp=1&sig=hunter2-of-signature"
        assert (await service.client.get(path, headers=headers)).status_code == 503
        assert (await service.post(PHOTO)).status_code == 503
        assert (await service.client.get("/metrics?sig=hunter2-of-signature", headers=headers)).status_code == 200
    finally:
        await service.stop()
    told = lines(capfd)
    text = json.dumps(told)
    assert [line["status"] for line in requests(told, "/files/{path}")] == [503]
    assert {line["level"] for line in told if line.get("route") == "/upload"} == {"warning"}
    assert "the queue is not available" in text
    assert "storage_unavailable" in text
    assert not [word for word in (*SECRETS, "holiday") if word in text]


@pytest.mark.parametrize("kind", [logs.Json, logs.Text])
@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("cannot reach redis://user:hunter2@localhost:6379/0", "@localhost:6379/0"),
        ("cannot reach redis://:hunter2@localhost", "redis://***@localhost"),
        ("GET /files/a.jpg?exp=12&sig=hunter2&download=1", "&download=1"),
        ("sig=hunter2 and exp=12", "exp=12"),
        ("PUT /key?X-Amz-Credential=hunter2&X-Amz-Signature=hunter2&x-id=PutObject", "&x-id=PutObject"),
        ("{'Authorization': 'AWS4-HMAC-SHA256 Credential=a/b, Signature=hunter2', 'Host': 'localhost'}", "localhost"),
        ("[(b'host', b'localhost'), (b'authorization', b'Basic hunter2')]", "localhost"),
        ('{"authorization": "Bearer hunter2", "host": "localhost"}', "localhost"),
        ("authorization: Bearer hunter2", "authorization"),
        ("signed with whsec_hunter2", "signed with"),
        ("processed/3f0c9e11-0118-4947-9976-efd47a127d82/hunter2_thumbnail.jpeg is gone", "is gone"),
        ('the secret h"u\\nter2!, in full', "in full"),
    ],
)
def test_secrets_and_names_are_taken_out_of_a_line(kind: type[logs.Json | logs.Text], message: str, kept: str) -> None:
    formatter = kind(secrets=['h"u\\nter2!'])
    for made in (record(message), record("%s", message), record("x", error=ValueError(message))):
        line = formatter.format(made)
        assert "hunter2" not in line
        assert "nter2!" not in line
        assert kept in line
        if kind is logs.Json:
            json.loads(line)


def test_nothing_in_a_line_looks_like_another_line_or_speaks_to_a_terminal() -> None:
    told = logs.Text().format(record("path %s", NASTY, error=ValueError(NASTY), owner=NASTY))
    first, *below = told.split("\n")
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO    imgsvc\.test: path a", first)
    assert below
    assert all(line.startswith("    ") for line in below)
    assert all(line.isprintable() for line in (first, *below))
    told = logs.Json().format(record("path %s", NASTY, owner=NASTY))
    assert told.isprintable()
    assert json.loads(told)["owner"] == NASTY


class Rude:
    def __repr__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize("kind", [logs.Json, logs.Text])
@pytest.mark.parametrize(
    "made",
    [
        record("%s", Rude()),
        record("%d", "eleven"),
        record("%s %s", "one"),
        record(Rude()),
        record("x", field=Rude()),
        record("half a pair: \ud800", size=2**70, raw=b"\xff", nothing=None),
    ],
    ids=["rude", "type", "count", "message", "field", "odd"],
)
def test_no_line_breaks_what_it_tells_of(kind: type[logs.Json | logs.Text], made: logging.LogRecord) -> None:
    line = kind().format(made)
    assert "imgsvc.test" in line
    assert len(line.splitlines()) == 1
    line.encode()


async def test_the_service_goes_on_when_nobody_reads_its_log_any_more(servers: Servers) -> None:
    reading, writing = os.pipe()
    with _as_stderr(writing):
        os.close(writing)
        async with Service.start(servers.environment(), workers=0, log_level="debug") as service:
            os.close(reading)
            for _ in range(3):
                assert (await service.client.get("/healthz")).status_code == 200
            assert (await service.post(PHOTO)).status_code == 202


async def test_a_person_at_a_terminal_reads_text_of_the_api_and_the_worker_too(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    environment = os.environ | {"IMGSVC_DATA_DIR": str(tmp_path), "IMGSVC_PORT": str(free_port())}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "imgsvc", env=environment, stdout=PIPE, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        assert process.stdout
        async with asyncio.timeout(DEADLINE_S):
            while b"Stop it" not in await process.stdout.readline():
                pass
        text = ""
        async with asyncio.timeout(DEADLINE_S):
            while "imgsvc.worker: ready" not in text:
                text += (await asyncio.to_thread(os.read, ours, 65536)).decode()
    finally:
        process.terminate()
        await process.wait()
        os.close(ours)
    written = r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO    "
    assert re.search(written + r"imgsvc\.api\.server: listening on", text), text
    assert re.search(written + r"imgsvc\.worker: ready", text), text
    assert "{" not in text


@contextmanager
def _as_stderr(descriptor: int) -> Generator[None]:
    """Gives processes that are started meanwhile this standard error."""
    kept = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
