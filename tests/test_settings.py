"""Settings: what is wrong is named, with what to set."""

import re
from pathlib import Path

import pytest

from imgsvc.process import listen
from imgsvc.settings import PREFIX, LocalSettings, Settings, SettingsError, load

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] (pytest uses it)
    monkeypatch.setenv("IMGSVC_REDIS_URL", "redis://localhost:6379/0")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("IMGSVC_REDIS_URL", "localhost:6379", "IMGSVC_REDIS_URL is wrong: must look like redis://"),
        ("IMGSVC_S3_ENDPOINT_URL", "minio:9000", "IMGSVC_S3_ENDPOINT_URL is wrong: must look like http://"),
        ("IMGSVC_REDIS_URL", "redis://redis:637900", "IMGSVC_REDIS_URL is wrong: Port out of range"),
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
        ("IMGSVC_HOST", "0.0.0.0", "it has no keys: set IMGSVC_API_KEYS"),
        ("IMGSVC_API_KEYS", "", "IMGSVC_API_KEYS is wrong: must name at least one key"),
        ("IMGSVC_API_KEYS", "Shop:0123456789abcdef", "IMGSVC_API_KEYS is wrong: entry 1 must be name:key"),
        ("IMGSVC_API_KEYS", f"{'n' * 41}:0123456789abcdef", "entry 1 must be name:key, its name of 1 to 40"),
        ("IMGSVC_API_KEYS", "0123456789abcdef", "entry 1 must be name:key"),
        ("IMGSVC_API_KEYS", "a:0123456789abcdef,b:0123456789abcde", "the key of entry 2 must be 16 or more"),
        ("IMGSVC_API_KEYS", "a:0123456789 abcdef", "the key of entry 1 must be 16 or more"),
        ("IMGSVC_API_KEYS", "a:0123456789abcdef,b:0123456789abcdef", "the key of entry 2 is there twice"),
        ("IMGSVC_API_KEYS", "a:0123456789abcdef", "IMGSVC_SIGNING_SECRET is not set, and file URLs are to be signed"),
        ("IMGSVC_FILES", "signed", "(IMGSVC_FILES=signed): set it to 32 random characters or more"),
        ("IMGSVC_SIGNING_SECRET", "x" * 31, "IMGSVC_SIGNING_SECRET is wrong"),
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
    keys = settings.known_keys
    assert keys
    given = ("0123456789abcdef", "fedcba9876543210", "0123456789abcde", "0123456789abcdef0")
    assert [caller and caller.owner for caller in map(keys.caller, given)] == ["shop", "shop", None, None]
    monkeypatch.setenv("IMGSVC_FILES", "public")
    assert not load(Settings).signs_files


@pytest.mark.parametrize("host", ["203.0.113.1", "nowhere.invalid"])
def test_an_address_of_elsewhere_is_no_fault_of_its_port(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("IMGSVC_HOST", host)
    monkeypatch.setenv("IMGSVC_ALLOW_OPEN", "1")
    with pytest.raises(SettingsError, match="set IMGSVC_HOST to an address of this machine") as caught:
        listen(load(LocalSettings))
    assert "Unknown error" not in str(caught.value)


@pytest.mark.parametrize("written", ["team/imgsvc", "team/imgsvc/"])
def test_a_prefix_ends_with_one_slash_however_it_is_written(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("IMGSVC_S3_PREFIX", written)
    assert load(Settings).s3_prefix == "team/imgsvc/"


def test_an_ipv6_address_makes_a_url_that_can_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGSVC_HOST", "::1")
    assert load(LocalSettings).url == "http://[::1]:8000"


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGSVC_API_KEYS", "shop:hunter2hunter2hunter2")
    monkeypatch.setenv("IMGSVC_SIGNING_SECRET", "hunter2" * 5)
    monkeypatch.setenv("IMGSVC_S3_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("IMGSVC_S3_SECRET_ACCESS_KEY", "hunter2")
    assert "hunter2" not in repr(load(Settings))


def settings_table() -> str:
    """The README's table, as the code would write it."""
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else "" if field.default_factory else field.default
        shown = "" if default in {None, ""} else f"`{default}`" if default != "required" else "required"
        rows.append(f"| `{PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows)


def test_the_readme_lists_every_setting_as_it_is() -> None:
    found = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", README.read_text(), re.DOTALL)
    assert found, "the README has no settings table"
    assert found[1].strip() == settings_table()
