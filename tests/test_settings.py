"""Settings: what is wrong is named, with what to set."""

import re
from pathlib import Path

import pytest

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
        ("IMGSVC_PORT", "http", "IMGSVC_PORT is wrong"),
        ("IMGSVC_S3_ACCESS_KEY_ID", "key", "IMGSVC_S3_SECRET_ACCESS_KEY is not set"),
        ("IMGSVC_HOST", "0.0.0.0", "set IMGSVC_HOST=127.0.0.1, or IMGSVC_ALLOW_OPEN=1"),
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


def test_a_missing_setting_is_named_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMGSVC_REDIS_URL")
    with pytest.raises(SettingsError, match=r"IMGSVC_REDIS_URL is not set: .*redis://localhost:6379/0"):
        load(Settings)
    assert load(LocalSettings).port == 8000, "the one-machine mode brings its own Redis"


def test_an_open_api_may_listen_beyond_loopback_only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGSVC_HOST", "0.0.0.0")
    monkeypatch.setenv("IMGSVC_ALLOW_OPEN", "1")
    assert load(Settings).host == "0.0.0.0"


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
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
