"""`imgsvc upload`: what goes up, what is saved, and what is said of it."""

import asyncio
import hashlib
import json
import os
import pty
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.command import imgsvc, running
from tests.support.peers import Listener
from tests.support.service import DEADLINE_S, Servers, Service, until

LARGE = 30 * MIB


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


async def test_all_files_of_a_set_are_saved_and_shown(service: Service, folder: Path) -> None:
    variants = '{"hero": {"widths": [40, 80], "formats": ["webp", "jpeg"]}, "icon": {"width": 16}}'
    environment = {"IMGSVC_SERVER": service.url}
    args = ("--variants", variants, "--save", "set", "--json")
    (told,) = (await imgsvc("upload", "photo.jpg", *args, cwd=folder, env=environment)).objects
    names = [f"hero-{width}.{kind}" for kind in ("webp", "jpeg") for width in (40, 80)]
    assert told["saved"] == {name: f"set/photo_{name}" for name in names} | {"icon": "set/photo_icon.jpeg"}
    for name, path in told["saved"].items():
        width = int(name.partition("-")[2].partition(".")[0] or 16)
        assert images.opened((folder / path).read_bytes()).width == width
    shown = await imgsvc("result", told["id"], cwd=folder, env=environment)
    assert [line.split()[0] for line in shown.out.splitlines() if line[0] != " "][2:] == [*names, "icon"]


async def test_a_file_of_many_megabytes_is_streamed(service: Service, folder: Path) -> None:
    """A file that was read whole would show in the peak of the process's memory."""
    (folder / "large.jpg").write_bytes(images.photo() + bytes(LARGE))
    small, large = [await peak_bytes(service, folder, name) for name in ("photo.jpg", "large.jpg")]
    print(f"peaks: {small / MIB:.1f} and {large / MIB:.1f} MiB")
    assert large - small < LARGE / 3


async def peak_bytes(service: Service, folder: Path, name: str) -> int:
    code = f"""import sys; sys.argv = ["imgsvc", "upload", "{name}"]
from imgsvc.cli.main import main
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


@pytest.mark.parametrize("size", [8000, 64 * 1024 + 1])
async def test_stdin_is_sent_to_its_last_byte(service: Service, folder: Path, size: int) -> None:
    small = images.photo(16, 16)
    args = ("upload", "-", "--wait", "--json")
    sent = small + bytes(size - len(small))
    ended = await imgsvc(*args, cwd=folder, feed=sent, env={"IMGSVC_SERVER": service.url})
    assert ended.code == 0, ended.err
    assert ended.objects[0]["result"]["original"]["sha256"] == hashlib.sha256(sent).hexdigest()


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
    assert "out/photo_thumbnail.jpeg exists already: use --force" in refused.err
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


async def test_a_body_too_large_is_refused_with_the_reason_before_it_is_sent(servers: Servers, folder: Path) -> None:
    (folder / "large.jpg").write_bytes(images.photo() + bytes(LARGE))
    async with Service.start(servers.environment(), workers=0, max_upload_bytes=1_000_000) as service:
        ended = await imgsvc("upload", "large.jpg", "--json", cwd=folder, env={"IMGSVC_SERVER": service.url})
    assert ended.code == 1
    assert ended.objects[0]["error"]["code"] == "upload_too_large"


async def test_ctrl_c_ends_it_at_once_and_leaves_nothing_half_saved(servers: Servers, folder: Path) -> None:
    async with Service.start(servers.environment(), workers=0) as service:
        args = ("upload", "photo.jpg", "--save", "out", "--json")
        async with running(*args, cwd=folder, env={"IMGSVC_SERVER": service.url}) as process:
            await until_accepted(service)
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(DEADLINE_S):  # its job never ends
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
                assert b"all uploads" in await drawn
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
