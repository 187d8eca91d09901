"""Settings: what is wrong is named, with what to set."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from imgsvc.runtime import logs
from imgsvc.runtime.client_settings import ClientSettings
from imgsvc.runtime.environment import PREFIX
from imgsvc.runtime.loading import load
from imgsvc.runtime.local_settings import LocalSettings, SettingsError
from imgsvc.runtime.owners import read_owners
from imgsvc.runtime.settings import Settings

OPERATING = Path(__file__).parent.parent / ".github" / "OPERATING.md"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] (pytest uses it)
    monkeypatch.setenv("IMGSVC_REDIS_URL", "redis://localhost:6379/0")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("IMGSVC_REDIS_URL", "localhost:6379", "IMGSVC_REDIS_URL is wrong: must look like redis://"),
        ("IMGSVC_S3_ENDPOINT_URL", "minio:9000", "IMGSVC_S3_ENDPOINT_URL is wrong: must look like http://"),
        ("IMGSVC_REDIS_URL", "redis://redis:637900", "IMGSVC_REDIS_URL is wrong: its port is none"),
        ("IMGSVC_S3_ENDPOINT_URL", "http://minio:90000", "IMGSVC_S3_ENDPOINT_URL is wrong: Port out of range"),
        ("IMGSVC_S3_ENDPOINT_URL", "http://key:secret@minio:9000", "without a user, a query or a fragment"),
        ("IMGSVC_S3_ENDPOINT_URL", "http://my_minio:9000", "my_minio is no host name"),
        ("IMGSVC_S3_ENDPOINT_URL", "http://minio..internal", "is no host name"),
        ("IMGSVC_S3_BUCKET", "my bucket", "IMGSVC_S3_BUCKET is wrong: must be letters, digits"),
        ("IMGSVC_S3_BUCKET", "s3://bucket", "IMGSVC_S3_BUCKET is wrong: must be letters, digits"),
        ("IMGSVC_S3_REGION", "Frankfurt (eu)", "such as eu-central-1"),
        ("IMGSVC_S3_PREFIX", "/team", "IMGSVC_S3_PREFIX is wrong: must look like team/imgsvc"),
        ("IMGSVC_S3_PREFIX", "team/../other", "IMGSVC_S3_PREFIX is wrong"),
        ("IMGSVC_S3_PREFIX", "team//", "IMGSVC_S3_PREFIX is wrong"),
        ("IMGSVC_S3_PREFIX", "/", "IMGSVC_S3_PREFIX is wrong"),
        ("IMGSVC_S3_PREFIX", "a" * 201, "200 characters at most"),
        ("IMGSVC_S3_CA_FILE", "/nowhere/ca.pem", "IMGSVC_S3_CA_FILE is wrong"),
        ("IMGSVC_S3_ADDRESSING", "dns", "IMGSVC_S3_ADDRESSING is wrong"),
        ("IMGSVC_PORT", "http", "IMGSVC_PORT is wrong"),
        ("IMGSVC_S3_ACCESS_KEY_ID", "key", "IMGSVC_S3_SECRET_ACCESS_KEY is not set"),
        ("IMGSVC_HOST", "0.0.0.0", "set IMGSVC_HOST=127.0.0.1, or IMGSVC_ALLOW_OPEN=1"),
        ("IMGSVC_HOST", "0.0.0.0", "it has no keys: set IMGSVC_API_KEYS or IMGSVC_OWNERS_FILE"),
        ("IMGSVC_REDIS_URL", "redis://:0123456789/@redis:6379", "IMGSVC_REDIS_URL is wrong: its port is none"),
        ("IMGSVC_REDIS_URL", " ", "IMGSVC_REDIS_URL is not set"),
        ("IMGSVC_API_KEYS", ",", "IMGSVC_API_KEYS is wrong: must name at least one key"),
        ("IMGSVC_PORT", "tpc://10.0.0.1:8000", "IMGSVC_PORT is wrong"),
        ("IMGSVC_SERVICE_HOTS", "10.0.0.1", "IMGSVC_SERVICE_HOTS is not a setting"),
        ("IMGSVC_PORT_FILE", "/run/port", "IMGSVC_PORT_FILE is not a setting"),
        ("IMGSVC_RECORD_TTL", "60", "IMGSVC_RECORD_TTL is now called IMGSVC_RECORD_TTL_S"),
        ("IMGSVC_MAX_UPLOADS_BYTES", "1", "IMGSVC_MAX_UPLOADS_BYTES is now called IMGSVC_UPLOAD_MEMORY_BYTES"),
        ("imgsvc_api_keys", "shop:x", "imgsvc_api_keys is not a setting; did you mean IMGSVC_API_KEYS?"),
        ("IMGSVC_API_KEYS", "Shop:0123456789abcdef", "IMGSVC_API_KEYS is wrong: entry 1 must be name:key"),
        ("IMGSVC_API_KEYS", f"{'n' * 41}:0123456789abcdef", "entry 1 must be name:key, its name of 1 to 40"),
        ("IMGSVC_API_KEYS", "0123456789abcdef", "entry 1 must be name:key"),
        ("IMGSVC_API_KEYS", "a:0123456789abcdef,b:0123456789abcde", "the key of entry 2 must be 16 or more"),
        ("IMGSVC_API_KEYS", "a:0123456789 abcdef", "the key of entry 1 must be 16 or more"),
        ("IMGSVC_API_KEYS", "a:0123456789abcdef,b:0123456789abcdef", "the key of entry 2 is there twice"),
        ("IMGSVC_API_KEYS", "a:0123456789abcdef", "IMGSVC_SIGNING_SECRET is not set, and file URLs are to be signed"),
        ("IMGSVC_FILES", "signed", "(IMGSVC_FILES=signed): set it to 32 random characters or more"),
        ("IMGSVC_SIGNING_SECRET", "x" * 31, "IMGSVC_SIGNING_SECRET is wrong: must be 32 random characters or more"),
        ("IMGSVC_SIGNING_SECRET", f"{'x' * 32}, {'y' * 31}", "several such secrets separated by commas"),
        ("IMGSVC_SIGNING_SECRET", f"{'x' * 32},", "IMGSVC_SIGNING_SECRET is wrong"),
        ("IMGSVC_ALLOWED_HOSTS", "api:8000", "'api:8000' must be a name such as images.example.com"),
        ("IMGSVC_ALLOWED_HOSTS", "https://api", "without scheme or port"),
        ("IMGSVC_CORS_ORIGINS", "*", "'*' must be an origin such as https://app.example.com"),
        ("IMGSVC_CORS_ORIGINS", "null", "'null' must be an origin"),
        ("IMGSVC_CORS_ORIGINS", "https://app.example.com/", "must be an origin"),
        ("IMGSVC_QUOTA_BYTES", "1000", "set IMGSVC_MAX_UPLOAD_BYTES to no more than it"),
        ("IMGSVC_REDIS_URI", "redis://x", "IMGSVC_REDIS_URI is not a setting; did you mean IMGSVC_REDIS_URL?"),
    ],
)
def test_a_wrong_setting_is_named_with_what_to_set(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load(Settings)
    assert says in str(caught.value)
    assert "0123456789" not in str(caught.value), "a key is never repeated"


def test_a_missing_setting_is_named_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMGSVC_REDIS_URL")
    with pytest.raises(SettingsError, match=r"IMGSVC_REDIS_URL is not set: .*redis://localhost:6379/0"):
        load(Settings)
    assert load(LocalSettings).port == 8000, "the one-machine mode brings its own Redis"


def test_an_open_api_may_listen_beyond_loopback_only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGSVC_HOST", "0.0.0.0")
    monkeypatch.setenv("IMGSVC_ALLOW_OPEN", "1")
    assert load(Settings).host == "0.0.0.0"


def test_an_api_with_keys_may_listen_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGSVC_HOST", "0.0.0.0")
    monkeypatch.setenv("IMGSVC_API_KEYS", "shop:0123456789abcdef, shop:fedcba9876543210")
    monkeypatch.setenv("IMGSVC_SIGNING_SECRET", "s" * 32)
    settings = load(Settings)
    assert settings.signs_files, "unless it is told otherwise"
    keys = read_owners(settings).keys
    given = ("0123456789abcdef", "fedcba9876543210", "0123456789abcde", "0123456789abcdef0")
    assert [caller and caller.owner for caller in map(keys.caller, given)] == ["shop", "shop", None, None]
    monkeypatch.setenv("IMGSVC_FILES", "public")
    assert not load(Settings).signs_files


@pytest.mark.parametrize("written", ["team/imgsvc", "team/imgsvc/"])
def test_a_prefix_ends_with_one_slash_however_it_is_written(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("IMGSVC_S3_PREFIX", written)
    assert load(Settings).s3_prefix == "team/imgsvc/"


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGSVC_API_KEYS", "shop:hunter2hunter2hunter2")
    monkeypatch.setenv("IMGSVC_SIGNING_SECRET", "hunter2" * 5)
    monkeypatch.setenv("IMGSVC_S3_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("IMGSVC_S3_SECRET_ACCESS_KEY", "hunter2")
    assert "hunter2" not in repr(load(Settings))


def settings_table() -> str:
    """The table in OPERATING.md, as the code would write it."""
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else "" if field.default_factory else field.default
        shown = "" if default in {None, ""} else f"`{default}`" if default != "required" else "required"
        rows.append(f"| `{PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows)


def test_the_operating_guide_lists_every_setting_as_it_is() -> None:
    found = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", OPERATING.read_text("utf-8"), re.DOTALL)
    assert found, "OPERATING.md has no settings table"
    assert found[1].strip() == settings_table()


def service_links(service: str, address: str) -> dict[str, str]:
    """What Kubernetes tells of a Service with two ports (pkg/kubelet/envvars/envvars.go)."""
    name = service.upper().replace("-", "_")
    bracketed = f"[{address}]" if ":" in address else address
    links = {
        f"{name}_SERVICE_HOST": address,
        f"{name}_SERVICE_PORT": "8000",
        f"{name}_SERVICE_PORT_HTTP": "8000",
        f"{name}_SERVICE_PORT_DNS_UDP": "53",
        f"{name}_PORT": f"tcp://{bracketed}:8000",
    }
    for port, protocol in ((8000, "TCP"), (53, "UDP"), (132, "SCTP")):
        link = f"{name}_PORT_{port}_{protocol}"
        links |= {
            link: f"{protocol.lower()}://{bracketed}:{port}",
            f"{link}_PROTO": protocol.lower(),
            f"{link}_PORT": str(port),
            f"{link}_ADDR": address,
        }
    return links


DOCKER_LINKS = {
    "IMGSVC_NAME": "/web/imgsvc",
    "IMGSVC_ENV_PATH": "/usr/bin",
    "IMGSVC_ENV_IMGSVC_PORT": "9000",
    "IMGSVC_1_NAME": "/web/imgsvc_1",
    "IMGSVC_1_PORT": "tcp://172.17.0.2:8000",
}


@pytest.mark.parametrize("service", ["imgsvc", "imgsvc-api", "imgsvc-metrics", "imgsvc-redis", "imgsvc-s3-endpoint"])
@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1"])
@pytest.mark.parametrize("kind", [Settings, LocalSettings, ClientSettings])
def test_n1_what_kubernetes_and_docker_tell_of_a_service_is_no_setting(
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    address: str,
    kind: type[Settings | LocalSettings | ClientSettings],
) -> None:
    before = load(kind)
    for name, value in (service_links(service, address) | DOCKER_LINKS).items():
        monkeypatch.setenv(name, value)
    assert load(kind) == before
    monkeypatch.setenv("IMGSVC_PROT", "9000")
    with pytest.raises(SettingsError, match=r"^IMGSVC_PROT is not a setting; did you mean IMGSVC_PORT\?$"):
        load(kind)


def test_n2_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(Settings)
    for name in Settings.model_fields.keys() - {"redis_url"}:
        monkeypatch.setenv(PREFIX + name.upper(), "" if len(name) % 2 else " \n")
    monkeypatch.setenv("IMGSVC_REDIS_URL_FILE", "")
    assert load(Settings) == before


def test_n2_what_was_pasted_around_a_value_is_not_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGSVC_PORT", " 9000\n")
    monkeypatch.setenv("IMGSVC_FILES", "signed\r\n")
    monkeypatch.setenv("IMGSVC_SIGNING_SECRET", f"{'s' * 32}\n")
    settings = load(Settings)
    assert (settings.port, settings.file_secrets) == (9000, (b"s" * 32,))


SECRETS = {
    "redis_url": "redis://:0123456789@redis:6379/0",
    "api_keys": "shop:0123456789abcdef",
    "signing_secret": "0123456789" * 4,
    "s3_access_key_id": "0123456789",
    "s3_proxy_url": "http://user:0123456789@proxy:3128",
    "s3_secret_access_key": "0123456789abcdef",
    "webhook_secret": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5",
}


@pytest.fixture
def secret_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of secrets, as an orchestrator mounts them: one a file, with a line end."""
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(f"{value}\n")
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
        monkeypatch.setenv(f"{PREFIX}{name.upper()}_FILE", str(tmp_path / name))
    return tmp_path


def test_n2_every_secret_can_come_from_a_file(secret_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(Settings)
    for name, value in SECRETS.items():
        given = getattr(settings, name)
        assert (given.get_secret_value() if isinstance(given, SecretStr) else given) == value
    (secret_files / "key").write_bytes(b"\xef\xbb\xbf0123456789abcdef\r\n")  # as an editor on Windows leaves it
    monkeypatch.setenv("IMGSVC_KEY_FILE", str(secret_files / "key"))
    key = load(ClientSettings).key
    assert key
    assert key.get_secret_value() == "0123456789abcdef"


def test_n2_no_field_of_secrets_is_without_its_file() -> None:
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secret | {"redis_url"} == SECRETS.keys(), "name it in SECRETS, and so in the tests of files"


def test_n2_a_secret_from_a_file_is_kept_out_of_logs_too(secret_files: Path) -> None:
    (secret_files / "redis_url").write_text("redis://:hunter2%2Fhunter2@redis:6379/0")
    known = logs._secrets(load(Settings))  # pyright: ignore[reportPrivateUsage]
    said = f"hunter2/hunter2 hunter2%2Fhunter2 {SECRETS['signing_secret']}"
    line = logs.Json(secrets=known).format(logging.LogRecord("x", logging.INFO, "", 0, said, None, None))
    assert "hunter2" not in line
    assert "0123456789" not in line


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"0123456789\x00", "printable characters"),
        (b"0123456789\xff", "is not text in UTF-8"),
        (b"0123456789\n0123456789", "one line"),
        (b"0123456789" * 10_000, "so it holds no secret"),
        (b"0123456789", "is wrong: entry 1 must be name:key"),
    ],
)
def test_n2_a_secret_file_of_no_use_is_named_and_never_quoted(secret_files: Path, content: bytes, says: str) -> None:
    (secret_files / "api_keys").write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load(Settings)
    assert "IMGSVC_API_KEYS_FILE" in str(caught.value)
    assert str(secret_files / "api_keys") in str(caught.value)
    assert says in str(caught.value)
    assert "0123456789" not in str(caught.value)
    assert "0123456789" not in repr(caught.value.__cause__)


@pytest.mark.parametrize(("path", "says"), [("missing", "No such file"), (".", "is not a file")])
def test_n2_a_secret_file_that_cannot_be_read_is_named(
    secret_files: Path, monkeypatch: pytest.MonkeyPatch, path: str, says: str
) -> None:
    monkeypatch.setenv("IMGSVC_SIGNING_SECRET_FILE", str(secret_files / path))
    with pytest.raises(SettingsError, match=f"IMGSVC_SIGNING_SECRET_FILE: .*{says}"):
        load(Settings)


def test_n2_a_secret_set_twice_is_refused_with_both_names(secret_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert secret_files
    monkeypatch.setenv("IMGSVC_API_KEYS", "shop:0123456789abcdef")
    with pytest.raises(SettingsError, match=r"^IMGSVC_API_KEYS and IMGSVC_API_KEYS_FILE are both set: unset one"):
        load(Settings)


@pytest.mark.parametrize(
    "variable", ["WEB_CONCURRENCY=many", "FORWARDED_ALLOW_IPS=*", "UVICORN_PORT=1", "PROMETHEUS_MULTIPROC_DIR=/nowhere"]
)
def test_n1_what_libraries_read_by_themselves_changes_nothing(variable: str) -> None:
    name, _, value = variable.partition("=")
    code = """if True:
        from imgsvc.api.server import config_of
        from imgsvc.runtime.metrics import ApiMetrics
        from imgsvc.runtime.loading import load
        from imgsvc.runtime.settings import Settings
        metrics = ApiMetrics()
        config = config_of(lambda: None, load(Settings))
        print(config.workers, config.proxy_headers, config.port, len(metrics.exposition()) > 0)
    """
    env = os.environ | {name: value}
    ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert ended.stdout.split() == ["1", "False", "8000", "True"], ended.stderr
