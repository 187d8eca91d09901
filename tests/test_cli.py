"""The client commands: how they are used, what they ask, and how they end."""

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from imgsvc.client.http import Client
from imgsvc.local.ports import free_port
from tests.support import images
from tests.support.callers import SHOP
from tests.support.command import Ended, imgsvc
from tests.support.peers import Listener
from tests.support.service import DEADLINE_S, Service
from tests.support.tokens import ask


@pytest.mark.parametrize("command", [("upload", "photo.jpg"), ("status", "3f0c"), ("result", "3f0c")])
async def test_a_key_that_is_missing_is_said_with_where_to_put_it(folder: Path, command: tuple[str, ...]) -> None:
    problem = json.dumps({"code": "unauthorized", "detail": "Send a key."}).encode()
    answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n" % len(problem) + problem
    async with Listener.start(answer) as listener:
        ended = await imgsvc(*command, cwd=folder, env={"IMGSVC_SERVER": f"http://127.0.0.1:{listener.port}"})
    assert ended.code == 1
    assert ended.err.strip().endswith("Send a key. The key is set by IMGSVC_KEY or --key.")


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
    assert "is not an imgsvc server: check the address" in ended.err


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


async def test_variants_of_an_earlier_upload_are_made_by_one_command(service: Service, folder: Path) -> None:
    square = {"width": 8, "height": 8, "fit": "cover", "gravity": "focus"}
    upload_id = await service.upload(images.photo(160, 120))
    await service.ended(upload_id)

    async def derive(*args: str) -> Ended:
        return await imgsvc("derive", upload_id, *args, "--wait", cwd=folder, env={"IMGSVC_SERVER": service.url})

    made = await derive("--variants", json.dumps({"square": square, "other": square}), "--only", "square")
    assert made.code == 0, made.err
    rows = dict(line.split(maxsplit=1) for line in made.out.splitlines())
    assert (rows["derivation.revision"], rows["derivation.variants"]) == ("2", "square")
    focused = await derive("--focus", '{"x": 0.25, "y": 0.5}', "--json")
    (document,) = focused.objects
    assert (focused.code, document["focus"]) == (0, {"x": 0.25, "y": 0.5})
    assert (document["derivation"]["revision"], document["derivation"]["status"]) == (3, "SUCCESS")
    refused = await derive("--preset", "nobodys")
    assert (refused.code, refused.out) == (1, "")
    assert "nobodys" in refused.err


async def test_a_token_is_issued_by_one_command_and_its_url_takes_a_file(keyed: Service, folder: Path) -> None:
    env = {"IMGSVC_SERVER": keyed.url, "IMGSVC_KEY": SHOP}
    given = ("--metadata", "sku=81", "--max-bytes", "100000", "--content-type", "image/jpeg", "--valid-for", "60")
    plain = await imgsvc("token", *given, "--origin", "https://app.example.com", cwd=folder, env=env)
    assert plain.code == 0, plain.err
    assert plain.out.startswith(f"{keyed.url}/upload?token=iut1.")
    answer = await ask(keyed, "POST", plain.out.strip(), content=images.photo())
    assert answer.status_code == 202, answer.text
    assert (await keyed.status(answer.json()["id"]))["metadata"] == {"sku": "81"}
    (document,) = (await imgsvc("token", "--json", cwd=folder, env=env)).objects
    assert document["upload_url"] == f"/upload?token={document['token']}"
    refused = await imgsvc("token", "--origin", "app.example.com", cwd=folder, env=env)
    assert (refused.code, refused.out) == (1, "")
    assert "https://app.example.com" in refused.err


async def test_an_id_that_nobody_knows_is_code_1(service: Service, folder: Path) -> None:
    for command in ("status", "result"):
        ended = await imgsvc(command, "../../healthz", cwd=folder, env={"IMGSVC_SERVER": service.url})
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith("imgsvc: No such")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("upload",), "FILE"),
        (("upload", "a.jpg", "--variants", "{"), "not JSON"),
        (("upload", "a.jpg", "--preset", "a", "--variants", '{"card": {"width": 9}}'), "not allowed with"),
        (("upload", "a.jpg", "--expires-in", "0"), "must be a whole number of seconds from 1 to"),
        (("upload", "-", "-"), "once"),
        (("upload", "photo.jpg", "--save", "notes.txt"), "notes.txt"),
        (("upload", "photo.jpg", "--server", "localhost"), "must look like http://"),
        (("upload", "photo.jpg", "--key", "a\nb"), "one line of printable characters"),
        (("status", "3f0c", "--server", "http://localhost:80000"), "Port out of range"),
        (("derive", "3f0c"), "what is to be made"),
        (("derive", "3f0c", "--focus", '{"x": 2, "y": 0}'), "must be"),
        (("derive", "3f0c", "--focus", '{"x": 0, "y": 0}', "--only", "card"), "--only"),
        (("derive", "3f0c", "--focus", '{"x": 0, "y": 0}', "--preset", "a"), "not allowed with"),
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


@pytest.mark.parametrize(
    "command",
    [
        "",
        "upload",
        "status",
        "result",
        "derive",
        "token",
        "deliveries",
        "webhook-secret",
        "health",
        "doctor",
        "completion",
    ],
)
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
