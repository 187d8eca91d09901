"""compose.yaml and Containerfile: what an operator may rely on, and what an engine itself says where there is one."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from imgsvc.runtime.environment import PREFIX
from imgsvc.runtime.settings import Settings

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("api", "worker")
INSTRUCTIONS = re.findall(r"^([A-Z]+) (.*)", (ROOT / "Containerfile").read_text(), re.MULTILINE)


def arguments(instruction: str) -> list[str]:
    return [rest for name, rest in INSTRUCTIONS if name == instruction]


def test_there_are_four_services_and_two_volumes() -> None:
    assert SERVICES.keys() == {"redis", "minio", "api", "worker"}
    assert COMPOSE["volumes"].keys() == {"redis", "minio"}


def test_only_the_api_is_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8000:8000"]}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_watched_restarted_and_given_time_to_stop(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"]
    assert float(service["stop_grace_period"].removesuffix("s")) > Settings.model_fields["drain_s"].default
    image = re.sub(r"\$\{\w+:-(.*)\}", r"\1", service["image"])  # what it is where no variable says otherwise
    assert re.fullmatch(r"(docker\.io|localhost)/[\w./-]+:[\w.-]+", image), "a full name, with its version"


def test_redis_loses_no_acknowledged_job_and_wants_a_password() -> None:
    (script,) = SERVICES["redis"]["command"]
    settings = dict(line.split(" ", 1) for line in script.splitlines()[1:-1])
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["requirepass"] == '"$$REDIS_PASSWORD"', "of the environment, and in no argument"


def test_what_is_stored_is_reached_by_us_alone_and_reaches_nobody() -> None:
    assert COMPOSE["networks"]["stores"]["internal"]
    assert {name: service["networks"] for name, service in SERVICES.items()} == {
        **{key: ["stores"] for key in ("redis", "minio")},
        **{key: ["stores", "outside"] for key in OURS},
    }


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_has_bounds_and_no_capability(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]


@pytest.mark.parametrize("name", [*OURS, "redis"])
def test_containers_that_need_no_root_have_none_and_change_nothing(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["user"].split(":")[0] != "0"


def test_decoders_are_locked_down_or_there_is_no_worker() -> None:
    assert SERVICES["worker"]["environment"]["IMGSVC_SANDBOX"] == "require"


def test_secrets_pass_through_from_the_environment_or_from_files() -> None:
    for name in ("API_KEYS", "SIGNING_SECRET", "WEBHOOK_SECRET"):
        for variable in (f"IMGSVC_{name}", f"IMGSVC_{name}_FILE"):
            assert all(SERVICES[ours]["environment"][variable] == f"${{{variable}:-}}" for ours in OURS)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(
    "setting", ["FILES", "BASE_PATH", "OUTBOUND_ALLOW", "OUTBOUND_DENY", "LOG_LEVEL", "LOG_FORMAT"]
)
def test_what_both_go_by_passes_through(name: str, setting: str) -> None:
    assert SERVICES[name]["environment"][f"IMGSVC_{setting}"] == f"${{IMGSVC_{setting}:-}}"


def test_an_s3_server_can_be_chosen_with_the_user_that_it_runs_as() -> None:
    chosen = {key: SERVICES["minio"][key].partition(":-")[0] for key in ("image", "command", "user")}
    assert chosen == {key: f"${{IMGSVC_S3_{key.upper()}" for key in chosen}


@pytest.mark.parametrize("name", OURS)
def test_compose_sets_only_settings_that_exist(name: str) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    assert {variable.removesuffix("_FILE") for variable in SERVICES[name]["environment"]} <= known | {
        "IMGSVC_PRESETS"  # whose own name ends so
    }


def test_the_image_has_two_stages_and_no_root() -> None:
    assert [image.split(" ")[0] for image in arguments("FROM")] == ["docker.io/library/python:3.13-slim"] * 2
    assert arguments("USER") == ["10001:10001"]


def test_the_image_is_made_of_what_is_locked() -> None:
    (install, *own) = re.findall(r"pip .*install .*", (ROOT / "Containerfile").read_text())
    assert "--require-hashes -r requirements.txt" in install
    assert all("--no-deps" in line for line in own)


@pytest.mark.parametrize("tool", [["docker-compose"], ["docker", "compose"], ["podman-compose"]], ids="-".join)
def test_the_engines_own_check_accepts_compose_yaml(tool: list[str]) -> None:
    if shutil.which(tool[0]) is None or subprocess.run([*tool, "version"], capture_output=True).returncode:
        pytest.skip(f"{' '.join(tool)} is not installed")
    subprocess.run([*tool, "-f", ROOT / "compose.yaml", "config"], check=True, capture_output=True, timeout=60)
