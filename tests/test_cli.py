"""The client commands, as processes of their own against a real service."""

import asyncio
import json
import os
import pty
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from imgsvc.client.http import Client
from imgsvc.embedded import free_port
from tests import images
from tests.peers import Listener
from tests.service import Servers, Service, decoders, until

Env = Mapping[str, str] | None

DEADLINE_S = 30
MIB = 1024 * 1024
LARGE = 30 * MIB


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What --json wrote: one object a line, and nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]


@asynccontextmanager
async def running(
    *args: str, cwd: Path, stdout: int = PIPE, stderr: int = PIPE, env: Env = None
) -> AsyncGenerator[Process]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IMGSVC_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "imgsvc", *args),
        cwd=cwd,
        env=clean | dict(env or {}),
        stdin=PIPE,
        stdout=stdout,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def imgsvc(*args: str, cwd: Path, feed: bytes = b"", env: Env = None) -> Ended:
    async with running(*args, cwd=cwd, env=env) as process, asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate(feed)
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photo.jpg").write_bytes(images.photo())
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


async def test_a_photo_goes_up_and_its_variants_are_saved(service: Service, folder: Path) -> None:
    ended = await imgsvc(
        "upload", "photo.jpg", "--save", "out", "--json", cwd=folder, env={"IMGSVC_SERVER": service.url}
    )
    assert (ended.code, ended.err) == (0, ""), "no progress where nobody looks"
    (told,) = ended.objects
    assert told["file"] == "photo.jpg"
    assert told["status"] == "SUCCESS"
    assert told["error"] is None
    assert told["saved"] == {
        "resized_compressed": "out/photo_resized_compressed.jpeg",
        "thumbnail": "out/photo_thumbnail.jpeg",
    }
    for name, path in told["saved"].items():
        assert (folder / path).read_bytes() == await service.file(told["id"], name)
    assert {path.name for path in (folder / "out").iterdir()} == {Path(path).name for path in told["saved"].values()}


async def test_without_waiting_it_says_where_the_job_can_be_followed(service: Service, folder: Path) -> None:
    ended = await imgsvc("upload", "photo.jpg", "--server", service.url, cwd=folder)
    assert ended.code == 0
    name, _, url = ended.out.strip().partition(": ")
    assert name == "photo.jpg"
    assert (await service.client.get(url)).status_code == 200


async def test_what_is_asked_of_the_variants_reaches_the_service(service: Service, folder: Path) -> None:
    (folder / "wanted.json").write_text('{"card": {"width": 64, "height": 64, "fit": "cover", "format": "webp"}}')
    args = ("--variants", "@wanted.json", "--expires-in", "600", "--wait", "--json")
    ended = await imgsvc("upload", "photo.jpg", *args, cwd=folder, env={"IMGSVC_SERVER": service.url})
    (told,) = ended.objects
    card = told["result"]["variants"]["card"]
    assert (card["width"], card["height"], card["content_type"]) == (64, 64, "image/webp")
    assert (await service.status(told["id"]))["expires_at"] is not None


async def test_a_file_of_many_megabytes_is_streamed(service: Service, folder: Path) -> None:
    """A file that was read whole would show in the peak of the process's memory."""
    (folder / "large.jpg").write_bytes(images.photo() + bytes(LARGE))
    small, large = [await peak_bytes(service, folder, name) for name in ("photo.jpg", "large.jpg")]
    print(f"peaks: {small / MIB:.1f} and {large / MIB:.1f} MiB")
    assert large - small < LARGE / 3


async def peak_bytes(service: Service, folder: Path, name: str) -> int:
    code = f"""import sys; sys.argv = ["imgsvc", "upload", "{name}"]
from imgsvc.cli import main
try: main()
finally: print(open("/proc/self/status").read())"""
    env = os.environ | {"IMGSVC_SERVER": service.url}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=folder, env=env, stdout=PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    line = next(line for line in out.decode().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


async def test_stdin_is_an_image_too(service: Service, folder: Path) -> None:
    args = ("upload", "-", "--wait", "--json")
    ended = await imgsvc(*args, cwd=folder, feed=images.photo(), env={"IMGSVC_SERVER": service.url})
    assert ended.code == 0
    assert ended.objects[0]["file"] == "-"


async def test_one_bad_file_stops_none_of_the_others(service: Service, folder: Path) -> None:
    names = [f"{number}.jpg" for number in range(9)]
    for name in names:
        (folder / name).write_bytes(images.photo())
    bad = ["notes.txt", "missing.jpg", str(folder)]
    ended = await imgsvc("upload", *names, *bad, "--wait", "--json", cwd=folder, env={"IMGSVC_SERVER": service.url})
    assert ended.code == 1
    told = {item["file"]: item for item in ended.objects}
    assert told.keys() == {*names, *bad}
    assert {told[name]["status"] for name in names} == {"SUCCESS"}
    assert told["notes.txt"]["error"]["code"] == "unsupported_media_type"
    assert told["missing.jpg"]["error"] == {
        "code": "unreadable",
        "message": "cannot be read: No such file or directory",
    }
    assert "is a directory: name the files in it" in told[str(folder)]["error"]["message"]


async def test_a_job_that_fails_is_said_with_its_reason(service: Service, folder: Path) -> None:
    (folder / "torn.jpg").write_bytes(images.photo()[:2000])
    ended = await imgsvc("upload", "torn.jpg", "--wait", cwd=folder, env={"IMGSVC_SERVER": service.url})
    assert ended.code == 1
    assert ended.err.startswith("imgsvc: torn.jpg: The file is damaged")


async def test_a_file_that_is_there_is_replaced_only_by_force(service: Service, folder: Path) -> None:
    mine = folder / "out" / "photo_thumbnail.jpeg"
    mine.parent.mkdir()
    mine.write_text("mine")
    args = ("upload", "photo.jpg", "--save", "out")
    refused = await imgsvc(*args, cwd=folder, env={"IMGSVC_SERVER": service.url})
    assert refused.code == 1
    assert "out/photo_thumbnail.jpeg is there already: use --force" in refused.err
    assert mine.read_text() == "mine"
    forced = await imgsvc(*args, "--force", cwd=folder, env={"IMGSVC_SERVER": service.url})
    assert (forced.code, mine.read_bytes()[:2]) == (0, b"\xff\xd8")


async def test_a_server_that_names_a_file_elsewhere_gets_nothing_written(folder: Path) -> None:
    upload_id = "3f0c4f1e-8a57-4c0f-9d43-0b1c5f1c2a77"
    evil = {"url": "/files/processed/x/%2E%2E%2Fphoto.jpg%2F..", "width": 1, "height": 1, "bytes": 1, "sha256": ""}
    told: dict[bytes, tuple[int, Any]] = {
        b"POST /upload ": (202, {"id": upload_id, "status_url": "/s"}),
        b"/status": (200, {"status": "SUCCESS", "error": None, "step": None, "progress": 100}),
        b"/result": (200, {"status": "SUCCESS", "variants": {"evil": evil}}),
    }

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = listener.requests[-1]
        status, document = next(value for key, value in told.items() if key in head)
        body = json.dumps(document).encode()
        writer.write(b"HTTP/1.1 %d OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)

    async with Listener.start(answer) as listener:
        server = f"http://127.0.0.1:{listener.port}"
        ended = await imgsvc("upload", "photo.jpg", "--save", "out", cwd=folder, env={"IMGSVC_SERVER": server})
    assert ended.code == 1
    assert "not safe to save" in ended.err
    assert list((folder / "out").iterdir()) == []


async def test_while_the_service_is_overloaded_an_upload_is_tried_again(servers: Servers, folder: Path) -> None:
    async with Service.start(servers.environment(), max_queued=1, lease_s=2) as service:
        for decoder in decoders(service.workers[0]):
            decoder.suspend()
        first = await service.upload(images.photo())
        async with running(
            "upload", "photo.jpg", "--wait", "--json", cwd=folder, env={"IMGSVC_SERVER": service.url}
        ) as process:
            await until_refused(service)
            assert process.returncode is None, "503 overloaded is no end"
            for decoder in decoders(service.workers[0]):
                decoder.resume()
            async with asyncio.timeout(DEADLINE_S):
                out, _ = await process.communicate()
        assert process.returncode == 0
        assert json.loads(out)["status"] == "SUCCESS"
        assert json.loads(out)["id"] != first


async def test_retry_after_is_honoured_and_the_key_goes_along(folder: Path) -> None:
    upload_id = "3f0c4f1e-8a57-4c0f-9d43-0b1c5f1c2a77"
    asked: list[float] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(monotonic())
        if len(asked) == 1:
            writer.write(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = int(headers(listener.requests[-1])["content-length"])
        assert images.photo() in await reader.readexactly(length)
        body = json.dumps({"id": upload_id, "status_url": f"/upload/{upload_id}/status"}).encode()
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with Listener.start(answer) as listener:
        env = {"IMGSVC_SERVER": f"http://127.0.0.1:{listener.port}", "IMGSVC_KEY": "s3cret"}
        ended = await imgsvc("upload", "photo.jpg", "--json", cwd=folder, env=env)
    assert ended.code == 0
    assert ended.objects[0]["id"] == upload_id
    first, second = map(headers, listener.requests)
    assert asked[1] - asked[0] >= 1
    assert first["authorization"] == second["authorization"] == "Bearer s3cret"
    assert first["idempotency-key"] == second["idempotency-key"], "a repeat is known as one"
    assert "s3cret" not in ended.out + ended.err


@pytest.mark.parametrize("command", [("upload", "photo.jpg"), ("status", "3f0c"), ("result", "3f0c")])
async def test_a_key_that_is_missing_is_said_with_where_to_put_it(folder: Path, command: tuple[str, ...]) -> None:
    problem = json.dumps({"code": "unauthorized", "detail": "Send a key."}).encode()
    answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n" % len(problem) + problem
    async with Listener.start(answer) as listener:
        ended = await imgsvc(*command, cwd=folder, env={"IMGSVC_SERVER": f"http://127.0.0.1:{listener.port}"})
    assert ended.code == 1
    assert ended.err.strip().endswith("Send a key. Set IMGSVC_KEY, or give --key.")


def headers(request: bytes) -> dict[str, str]:
    lines = (line.partition(": ") for line in request.decode().split("\r\n")[1:] if line)
    return {name.lower(): value for name, _, value in lines}


async def test_a_name_of_any_bytes_goes_up_and_harms_no_terminal(service: Service, folder: Path) -> None:
    name = os.fsdecode(b'b\xffd"\n\x1b[31m\xc3\xa9.jpg')
    (folder / name).write_bytes(images.photo())
    env = {"IMGSVC_SERVER": service.url}
    told = (await imgsvc("upload", name, "--save", "out", "--json", cwd=folder, env=env)).objects[0]
    assert told["status"] == "SUCCESS"
    assert (await service.status(told["id"]))["filename"] == 'b_d"__[31m\u00e9.jpg'
    plain = await imgsvc("upload", name, "--wait", cwd=folder, env=env)
    assert plain.code == 0
    assert "\x1b" not in plain.out
    assert len(plain.out.splitlines()) == 2


async def test_a_reader_that_leaves_early_is_no_failure_of_ours(service: Service, folder: Path) -> None:
    env = {"IMGSVC_SERVER": service.url}
    reader, writer = os.pipe()
    os.close(reader)
    async with running("upload", "photo.jpg", "photo.jpg", cwd=folder, stdout=writer, env=env) as process:
        os.close(writer)
        assert process.stderr
        async with asyncio.timeout(DEADLINE_S):
            assert await process.stderr.read() == b""
            assert await process.wait() == 1


async def until_refused(service: Service) -> None:
    """Long enough for the command to have been told 503 for the first time."""

    async def refused() -> bool:
        answer = await service.post(images.photo())
        return answer.status_code == 503

    await until(refused)


async def test_an_upload_whose_answer_was_lost_is_not_made_twice(servers: Servers, folder: Path) -> None:
    """A proxy cuts the first connection when the answer comes."""
    async with Service.start(servers.environment()) as service:
        cut: list[bytes] = []

        async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", service.port)
            far_writer.write(listener.requests[-1])

            async def there() -> None:
                while data := await reader.read(65536):
                    far_writer.write(data)
                    await far_writer.drain()

            up = asyncio.create_task(there())
            try:
                while data := await far_reader.read(65536):
                    if b" 202 " in data and not cut:
                        cut.append(data)
                        return
                    writer.write(data)
                    await writer.drain()
            finally:
                up.cancel()
                far_writer.close()

        async with Listener.start(between) as listener:
            server = f"http://127.0.0.1:{listener.port}"
            ended = await imgsvc("upload", "photo.jpg", "--wait", "--json", cwd=folder, env={"IMGSVC_SERVER": server})
        assert ended.code == 0
        assert len(cut) == 1
        assert ended.objects[0]["id"].encode() in cut[0], "the repeat found the first one"


async def test_a_body_too_large_is_refused_with_the_reason_before_it_is_sent(servers: Servers, folder: Path) -> None:
    (folder / "large.jpg").write_bytes(images.photo() + bytes(LARGE))
    async with Service.start(servers.environment(), workers=0, max_upload_bytes=1_000_000) as service:
        ended = await imgsvc("upload", "large.jpg", "--json", cwd=folder, env={"IMGSVC_SERVER": service.url})
    assert ended.code == 1
    assert ended.objects[0]["error"]["code"] == "upload_too_large"


async def test_a_server_that_is_not_there_is_code_3(folder: Path) -> None:
    ended = await imgsvc("upload", "photo.jpg", cwd=folder, env={"IMGSVC_SERVER": f"http://127.0.0.1:{free_port()}"})
    assert ended.code == 3
    assert ended.err.startswith("imgsvc: photo.jpg: cannot reach http://127.0.0.1:")
    assert len(ended.err.splitlines()) == 1


async def test_a_server_of_another_kind_is_code_3(folder: Path) -> None:
    async with Listener.start() as listener:
        server = f"http://127.0.0.1:{listener.port}"
        ended = await imgsvc("status", "3f0c", cwd=folder, env={"IMGSVC_SERVER": server})
    assert ended.code == 3
    assert "is this the right address?" in ended.err


async def test_an_answer_that_comes_in_pieces_is_read_whole() -> None:
    told = {"status": "SUCCESS"}

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = json.dumps(told).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:7])
        await asyncio.wait({asking}, timeout=0.2)  # returns at once when the first piece is taken for all
        writer.write(body[7:])

    async with Listener.start(answer) as listener, Client.open(f"http://127.0.0.1:{listener.port}", None) as client:
        asking = asyncio.create_task(client.status("3f0c"))
        async with asyncio.timeout(DEADLINE_S):
            assert await asking == told


async def test_a_pipe_is_refused_with_how_to_send_it(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    ended = await imgsvc("upload", "pipe", "--json", cwd=folder)
    assert ended.code == 1
    assert ended.objects[0]["error"]["code"] == "unreadable"
    assert "imgsvc upload - <pipe" in ended.objects[0]["error"]["message"]


async def test_ctrl_c_ends_it_at_once_and_leaves_nothing_half_saved(servers: Servers, folder: Path) -> None:
    async with Service.start(servers.environment(), workers=0) as service:
        args = ("upload", "photo.jpg", "--save", "out", "--json")
        async with running(*args, cwd=folder, env={"IMGSVC_SERVER": service.url}) as process:
            await until_accepted(service)
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(3):
                out, err = await process.communicate()
        assert (process.returncode, out, err) == (130, b"", b"imgsvc: interrupted\n")
        assert list((folder / "out").iterdir()) == []


async def until_accepted(service: Service) -> None:
    async def accepted() -> bool:
        return (await service.client.get("/readyz")).json()["checks"]["workers"]["queued"] > 0

    await until(accepted)


async def test_on_a_terminal_there_are_bars_and_a_pipe_still_gets_json_alone(service: Service, folder: Path) -> None:
    master, slave = pty.openpty()
    try:
        args = ("upload", "photo.jpg", "photo.jpg", "--wait", "--json")
        async with running(
            *args, cwd=folder, stderr=slave, env={"IMGSVC_SERVER": service.url, "TERM": "xterm"}
        ) as process:
            os.close(slave)
            drawn = asyncio.create_task(asyncio.to_thread(read_terminal, master))
            assert process.stdout
            async with asyncio.timeout(DEADLINE_S):
                out = await process.stdout.read()
                assert await process.wait() == 0
                assert b"all files" in await drawn
    finally:
        os.close(master)
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["SUCCESS", "SUCCESS"]


def read_terminal(fd: int) -> bytes:
    read = b""
    while True:
        try:
            read += os.read(fd, 65536)
        except OSError:  # how Linux says that nobody writes to it any more
            return read


async def test_status_and_result_for_people_and_for_programs(service: Service, folder: Path) -> None:
    upload_id = await service.upload(images.photo())
    server = service.url
    status = await imgsvc("status", upload_id, "--wait", cwd=folder, env={"IMGSVC_SERVER": server})
    assert status.code == 0
    assert dict(line.split(maxsplit=1) for line in status.out.splitlines())["status"].strip() == "SUCCESS"
    result = await imgsvc("result", upload_id, cwd=folder, env={"IMGSVC_SERVER": server})
    url = (await service.result(upload_id))["result"]["thumbnail"]
    assert server + url in [line.strip() for line in result.out.splitlines()]
    for command in ("status", "result"):
        machine = await imgsvc(command, upload_id, "--json", cwd=folder, env={"IMGSVC_SERVER": server})
        assert machine.objects == [(await service.client.get(f"/upload/{upload_id}/{command}")).json()]


async def test_an_id_that_nobody_knows_is_code_1(service: Service, folder: Path) -> None:
    for command in ("status", "result"):
        ended = await imgsvc(command, "../../healthz", cwd=folder, env={"IMGSVC_SERVER": service.url})
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith("imgsvc: There is no")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("upload",), "FILE"),
        (("upload", "a.jpg", "--variants", "{"), "no JSON"),
        (("upload", "a.jpg", "--preset", "a", "--variants", "{}"), "not allowed with"),
        (("upload", "a.jpg", "--expires-in", "0"), "1 or more"),
        (("upload", "-", "-"), "once"),
        (("upload", "photo.jpg", "--save", "notes.txt"), "notes.txt"),
        (("upload", "photo.jpg", "--server", "localhost"), "must look like http://"),
        (("status", "3f0c", "--server", "http://localhost:80000"), "Port out of range"),
        (("frobnicate",), "invalid choice"),
    ],
)
async def test_wrong_usage_is_code_2(folder: Path, args: tuple[str, ...], says: str) -> None:
    ended = await imgsvc(*args, cwd=folder)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert "Traceback" not in ended.err


async def test_a_client_setting_misspelt_is_named(folder: Path) -> None:
    ended = await imgsvc("status", "3f0c", cwd=folder, env={"IMGSVC_SERVR": "http://x"})
    assert ended.code == 2
    assert "IMGSVC_SERVR is not a setting; did you mean IMGSVC_SERVER?" in ended.err


@pytest.mark.parametrize("command", ["", "upload", "status", "result", "doctor", "completion"])
async def test_help_fits_a_screen_and_has_examples(folder: Path, command: str) -> None:
    ended = await imgsvc(*command.split(), "--help", cwd=folder, env={"COLUMNS": "100"})
    assert ended.code == 0
    assert "examples:\n  " in ended.out
    assert len(ended.out.splitlines()) <= 40


async def test_bash_completes_commands_and_options(folder: Path) -> None:
    script = await imgsvc("completion", "bash", cwd=folder)
    (folder / "completion").write_text(script.out)
    code = 'source completion; COMP_WORDS=(imgsvc upload --pre); COMP_CWORD=2; _shtab_imgsvc; echo "${COMPREPLY[@]}"'
    process = await asyncio.create_subprocess_exec("bash", "-c", code, cwd=folder, stdout=PIPE)
    out, _ = await process.communicate()
    assert out.decode().split() == ["--preset"]


@pytest.mark.parametrize(("shell", "says"), [("zsh", "--preset"), ("fish", "-l preset")])
async def test_other_shells_are_told_of_the_options_too(folder: Path, shell: str, says: str) -> None:
    assert says in (await imgsvc("completion", shell, cwd=folder)).out
