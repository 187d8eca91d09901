"""SIGHUP: files are read again while the service serves, and nothing of what is under way is lost (row F28)."""

import asyncio
import os
import pty
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from imgsvc.runtime.webhook_secrets import secret_of
from tests.support.callers import ENVIRONMENT, JPEG, PHOTO, SHOP, answered, by
from tests.support.peers import OK, Receiver, Told
from tests.support.service import Servers, Service, until
from tests.support.streams import Stream
from tests.support.tokens import issued, send

OLD, NEW = "old-key-012345678901", "new-key-012345678901"


def owners(*keys: str, more: str = "") -> str:
    return f"[news]\nkeys = [{', '.join(repr(key) for key in keys)}]\n{more}"


class Files:
    """The operator's files, which are replaced as a whole."""

    def __init__(self, folder: Path) -> None:
        self.owners = folder / "owners.toml"
        self.presets = folder / "presets.toml"
        self.write(self.owners, owners(OLD))
        self.write(self.presets, "[shop.card]\nwidth = 64\n")

    def write(self, file: Path, text: str) -> None:
        beside = file.with_suffix(".new")
        beside.write_text(text)
        beside.chmod(0o600)
        beside.replace(file)


@asynccontextmanager
async def serving(servers: Servers, files: Files, workers: int = 0) -> AsyncGenerator[Service]:
    given = {"owners_file": files.owners, "presets_file": files.presets}
    async with Service.start(servers.environment() | ENVIRONMENT, workers=workers, **given) as service:
        service.client.headers.update(by(SHOP))
        yield service


async def status(service: Service, key: str) -> int:
    return (await service.client.get("/presets", headers=by(key))).status_code


async def reloaded(service: Service, key: str, expected: int) -> None:
    os.kill(service.api.pid, signal.SIGHUP)

    async def shows() -> bool:
        return await status(service, key) == expected

    await until(shows)


async def test_f28_a_removed_key_ends_with_the_next_request_and_what_it_follows_ends_too(
    servers: Servers, tmp_path: Path
) -> None:
    files = Files(tmp_path)
    async with serving(servers, files) as service:
        posted = await service.client.post("/upload", content=PHOTO, headers=JPEG | by(OLD))
        theirs, ours = posted.json()["id"], await service.upload(PHOTO)
        async with Stream.open(service, theirs, **by(OLD)) as ended, Stream.open(service, ours, **by(SHOP)) as lasting:
            for stream in (ended, lasting):
                await stream.next()
                assert (await stream.status())["status"] == "PENDING"
            waiting = asyncio.create_task(service.client.get(f"/upload/{theirs}/status?wait=30", headers=by(OLD)))
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            head = f"POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {OLD}\r\nContent-Type: image/jpeg\r\n"
            writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(PHOTO) + PHOTO[:1000])
            await writer.drain()
            files.write(files.owners, owners(NEW))
            await reloaded(service, NEW, 200)
            assert await status(service, OLD) == 401
            assert await status(service, SHOP) == 200
            assert await ended.next() is None, "its stream ends"
            assert (await asyncio.wait_for(waiting, 10)).status_code in {200, 401}, "it waits no longer"
            writer.write(PHOTO[1000:])
            assert (await answered(reader))[0] == 202, "an upload that was let in is received"
            writer.close()
            await service.client.post(f"/upload/{ours}/cancel")
            assert (await lasting.status())["status"] == "CANCELLED", "another key's stream goes on"
        assert (await service.client.get(f"/upload/{theirs}", headers=by(NEW))).status_code == 200, "its owner's"


async def test_f28_no_request_and_no_connection_is_lost_however_often_it_is_reloaded(
    servers: Servers, tmp_path: Path
) -> None:
    files = Files(tmp_path)
    async with serving(servers, files, workers=1) as service:
        (worker,) = service.workers
        upload_id = await service.upload(PHOTO)
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(base_url=service.url, limits=limits, headers=by(SHOP)) as one:
            for number in range(30):
                for text in ("[news]\nweight = 0", owners(OLD, more=f"weight = {number + 1}")):
                    files.write(files.owners, text)
                    for pid in (service.api.pid, worker.pid):
                        os.kill(pid, signal.SIGHUP)
                    answers = await asyncio.gather(*(one.get("/presets") for _ in range(3)))
                    assert {answer.status_code for answer in answers} == {200}
        assert await service.ended(upload_id)
        assert service.api.running
        assert worker.running
        assert await status(service, OLD) == 200


async def test_f28_presets_are_read_again_too_each_file_by_itself(servers: Servers, tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with serving(servers, files) as service:

        async def offered() -> set[str]:
            return set((await service.client.get("/presets", headers=by(SHOP))).json()["presets"])

        assert await offered() == {"default", "shop"}
        files.write(files.presets, "[shop.card]\nwidth = 64\n[fresh.card]\nwidth = 32\n")
        files.write(files.owners, owners(NEW, more='presets = ["fresh"]'))
        await reloaded(service, NEW, 200)
        assert await offered() == {"default", "shop", "fresh"}
        mine = (await service.client.get("/presets", headers=by(NEW))).json()["presets"]
        assert mine.keys() == {"fresh"}
        described = (await service.client.get("/openapi.json")).text
        assert "fresh" in described
        files.write(files.presets, "[shop.card]\nwidth = 0\n")
        files.write(files.owners, owners(OLD))
        await reloaded(service, OLD, 200)
        assert await offered() == {"default", "shop", "fresh"}, "a wrong file changes nothing"


HANGS = """
import asyncio, signal, sys
from imgsvc.runtime.hangup import ignore, on_hangup
async def main():
    stop = asyncio.Event()
    async def read_again():
        sys.stderr.write("read\\n")
    on_hangup(read_again, stop.set)
    sys.stderr.write("ready\\n")
    await stop.wait()
    sys.stderr.write("stopped\\n")
ignore()
asyncio.run(main())
"""


async def hung_up(preexec: Callable[[], None] | None = None) -> tuple[asyncio.subprocess.Process, int]:
    """A process at a terminal of its own, and the end of that terminal which a person would sit at."""
    ours, theirs = pty.openpty()

    def at_terminal() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which these tests may have been started without, by nohup
        os.setsid()
        os.close(os.open(os.ttyname(0), os.O_RDWR))  # which makes it its terminal
        if preexec:
            preexec()

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANGS, stdin=theirs, stdout=theirs, stderr=asyncio.subprocess.PIPE, preexec_fn=at_terminal
    )
    os.close(theirs)
    assert await said(process) == "ready"
    return process, ours


async def said(process: asyncio.subprocess.Process) -> str:
    assert process.stderr
    return (await asyncio.wait_for(process.stderr.readline(), 20)).decode().strip()


async def test_f29_the_signal_of_an_operator_reads_files_and_that_of_a_closed_terminal_stops() -> None:
    process, terminal = await hung_up()
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
        assert await said(process) == "read"
    os.close(terminal)
    assert await said(process) == "stopped"
    assert await process.wait() == 0


async def test_f29_what_nohup_has_started_outlives_its_terminal() -> None:
    def by_nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process, terminal = await hung_up(by_nohup)
    os.close(terminal)
    process.send_signal(signal.SIGHUP)
    assert await said(process) == "read"
    process.kill()
    await process.wait()


async def test_f30_an_owners_own_secret_signs_its_webhooks_and_is_replaced_without_a_gap(
    servers: Servers, tmp_path: Path
) -> None:
    files = Files(tmp_path)
    first, second = (secret_of(bytes([number]) * 32) for number in (1, 2))
    files.write(files.owners, owners(OLD, more=f"webhook_secret = '{first}'"))
    environment = servers.environment() | ENVIRONMENT
    async with (
        Service.start(environment, owners_file=files.owners, outbound_allow="127.0.0.1") as service,
        Receiver.start(OK) as receiver,
    ):

        async def told() -> Told:
            count = len(receiver.told)
            query = {"webhook_url": receiver.url}
            answer = await service.client.post("/upload", params=query, content=PHOTO, headers=JPEG | by(OLD))
            assert answer.status_code == 202
            return await receiver.until_told(count + 1)

        without = {"webhook_url": receiver.url}
        refused = await service.client.post("/upload", params=without, content=PHOTO, headers=JPEG | by(SHOP))
        assert refused.json()["code"] == "invalid_webhook_url", "neither it nor the service has one"
        (await told()).verify(first)
        files.write(files.owners, owners(OLD, more=f"webhook_secret = ['{second}', '{first}']"))
        os.kill(service.workers[0].pid, signal.SIGHUP)

        async def has_both() -> bool:
            return len((await told()).headers["webhook-signature"].split()) == 2

        await until(has_both)
        for secret in (first, second):
            receiver.told[-1].verify(secret)


async def test_f31_upload_tokens_end_with_the_last_key_of_their_owner(servers: Servers, tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with serving(servers, files) as service:
        theirs, ours = await issued(service, key=OLD), await issued(service, key=SHOP)
        for token in (theirs, ours):
            assert (await send(service, token["upload_url"])).status_code == 202
        bearers = [by(token["token"]) for token in (theirs, ours)]
        async with (
            Stream.open(service, theirs["id"], **bearers[0]) as ended,
            Stream.open(service, ours["id"], **bearers[1]) as lasting,
        ):
            for stream in (ended, lasting):
                await stream.next()
                assert (await stream.status())["status"] == "PENDING"
            files.write(files.owners, owners(NEW))
            await reloaded(service, NEW, 200)
            files.write(files.owners, "[news]\nweight = 1\n")
            await reloaded(service, NEW, 401)
            assert await ended.next() is None
            await service.client.post(f"/upload/{ours['id']}/cancel")
            assert (await lasting.status())["status"] == "CANCELLED"
        pairs = zip((theirs, ours), bearers, strict=True)
        answers = [await service.client.get(token["status_url"], headers=bearer) for token, bearer in pairs]
        assert [answer.status_code for answer in answers] == [401, 200]
