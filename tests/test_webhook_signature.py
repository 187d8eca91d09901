"""Webhook signatures, held against the public verifier of Standard Webhooks."""

import base64
from pathlib import Path
from time import time
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from imgsvc.cli.parser import FAILED, SUCCEEDED, USAGE
from imgsvc.cli.webhook_secret import webhook_secret
from imgsvc.runtime.loading import load
from imgsvc.runtime.local_settings import SettingsError
from imgsvc.runtime.owners import read_owners
from imgsvc.runtime.settings import Settings
from imgsvc.runtime.webhook_secrets import Keys, WebhookKeys, secret_of
from imgsvc.worker.webhooks import Message

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
MESSAGE = Message("3f0c6e1e-0b5f-4d4e-9d3b-0f3b1a2c4d5e_1800000000000", '{"filename": "grün.jpg"}'.encode())


def test_the_public_verifier_takes_a_signed_message() -> None:
    headers = MESSAGE.headers((KEY,), int(time()))
    assert Webhook(SECRET).verify(MESSAGE.body, headers) == {"filename": "grün.jpg"}


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_the_public_verifier_refuses_what_was_tampered_with(header: str) -> None:
    headers = MESSAGE.headers((KEY,), int(time()))
    forged = Message("another", MESSAGE.body).headers((KEY,), int(time()) - 1)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(MESSAGE.body, headers | {header: forged[header]})
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(MESSAGE.body + b" ", headers)


def test_a_message_that_is_told_again_keeps_its_id_and_is_signed_anew() -> None:
    first, second = MESSAGE.headers((KEY,), 1_800_000_000), MESSAGE.headers((KEY,), 1_800_000_005)
    assert first["webhook-id"] == second["webhook-id"]
    assert first["webhook-signature"] != second["webhook-signature"]


@pytest.mark.parametrize(
    "secret",
    ["hunter2", "whsec_", "whsec_hunter2!", "whsec_" + base64.b64encode(KEY[:23]).decode(), SECRET + SECRET],
)
def test_a_secret_that_receivers_could_not_use_is_refused_at_start(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("IMGSVC_REDIS_URL", "redis://localhost:6379/0")
    monkeypatch.setenv("IMGSVC_WEBHOOK_SECRET", secret)
    with pytest.raises(SettingsError, match="IMGSVC_WEBHOOK_SECRET is wrong: must be whsec_") as caught:
        load(Settings)
    assert secret not in str(caught.value) or secret == "whsec_"


def test_the_key_is_what_its_secret_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGSVC_REDIS_URL", "redis://localhost:6379/0")
    assert load(Settings).webhook_keys.of("", ()) == ()
    monkeypatch.setenv("IMGSVC_WEBHOOK_SECRET", SECRET)
    assert load(Settings).webhook_keys.of("", ()) == (KEY,)
    assert SECRET not in repr(load(Settings))
    assert repr(KEY) not in repr(load(Settings).webhook_keys)


def signed(keys: Keys) -> dict[str, str]:
    return MESSAGE.headers(keys, int(time()))


def verify(key: bytes, headers: dict[str, str]) -> None:
    """As the receiver does that was given this key's secret."""
    Webhook(secret_of(key)).verify(MESSAGE.body, headers)


def test_w8_a_webhook_of_one_owner_fails_the_verification_of_another() -> None:
    """An owner can name any receiver; what is sent there for him proves to it that it is not its own owner's."""
    keys = WebhookKeys((KEY,))
    (of_shop,), (of_blog,) = keys.of("shop", ()), keys.of("blog", ())
    verify(of_shop, signed((of_shop,)))
    for forged in (signed((of_blog,)), signed(keys.of("", ())), signed(keys.of("shop2", ()))):
        with pytest.raises(WebhookVerificationError):
            verify(of_shop, forged)
    with pytest.raises(WebhookVerificationError):
        verify(KEY, signed((of_shop,)))


def test_w8_an_owner_with_a_secret_of_his_own_is_signed_for_by_it_alone() -> None:
    keys = WebhookKeys((KEY,))
    verify(OTHER, signed(keys.of("shop", (OTHER,))))
    with pytest.raises(WebhookVerificationError):
        verify(keys.of("shop", ())[0], signed(keys.of("shop", (OTHER,))))
    assert WebhookKeys().of("shop", (OTHER,)) == (OTHER,)
    assert WebhookKeys().of("shop", ()) == ()


@pytest.mark.parametrize("owner", ["", "shop"])
def test_w9_a_secret_is_replaced_without_a_gap(owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver changes over at any time between the two changes of the setting."""
    monkeypatch.setenv("IMGSVC_REDIS_URL", "redis://localhost:6379/0")

    def keys_with(secrets: str) -> Keys:
        monkeypatch.setenv("IMGSVC_WEBHOOK_SECRET", secrets)
        return load(Settings).webhook_keys.of(owner, ())

    before, after = keys_with(SECRET), keys_with(secret_of(OTHER))
    both = keys_with(f"{secret_of(OTHER)}, {SECRET}")
    assert both == (*after, *before)
    for key in both:
        verify(key, signed(both))
    with pytest.raises(WebhookVerificationError):
        verify(before[0], signed(after))


@pytest.mark.parametrize("secrets", [f"{SECRET},{SECRET}", f"{SECRET},", f",{SECRET}", f"{SECRET};{SECRET}"])
def test_w9_a_list_that_is_wrong_is_refused_at_start(monkeypatch: pytest.MonkeyPatch, secrets: str) -> None:
    monkeypatch.setenv("IMGSVC_REDIS_URL", "redis://localhost:6379/0")
    monkeypatch.setenv("IMGSVC_WEBHOOK_SECRET", secrets)
    with pytest.raises(SettingsError, match="IMGSVC_WEBHOOK_SECRET is wrong: ") as caught:
        load(Settings)
    assert SECRET not in str(caught.value)


def test_the_command_prints_what_the_receivers_of_an_owner_are_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMGSVC_WEBHOOK_SECRET", f"{secret_of(OTHER)},{SECRET}")
    assert webhook_secret("shop") == SUCCEEDED
    newest, oldest = capsys.readouterr().out.split()
    Webhook(newest).verify(MESSAGE.body, signed(WebhookKeys((OTHER,)).of("shop", ())))
    Webhook(oldest).verify(MESSAGE.body, signed(WebhookKeys((KEY,)).of("shop", ())))


@pytest.mark.parametrize("owner", ["", "Shop", "a b", "x" * 41, "../x", "webhook:shop"])
def test_the_command_refuses_what_is_no_owners_name(owner: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert webhook_secret(owner) == USAGE
    assert "1 to 40 of a-z" in capsys.readouterr().err


def test_the_command_says_what_to_set(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("IMGSVC_WEBHOOK_SECRET", raising=False)
    assert webhook_secret("shop") == FAILED
    assert "IMGSVC_WEBHOOK_SECRET is not set" in capsys.readouterr().err
    monkeypatch.setenv("IMGSVC_WEBHOOK_SECRET", "hunter2")
    assert webhook_secret("shop") == FAILED
    assert "hunter2" not in capsys.readouterr().err


def test_w8_the_secret_of_which_those_of_all_owners_are_derived_cannot_be_that_of_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "owners.toml"
    file.write_text(f'[shop]\nkeys = "key-of-the-shop-0123456789"\nwebhook_secret = "{SECRET}"\n')
    file.chmod(0o600)
    monkeypatch.setenv("IMGSVC_OWNERS_FILE", str(file))
    monkeypatch.setenv("IMGSVC_SIGNING_SECRET", "x" * 32)
    monkeypatch.setenv("IMGSVC_WEBHOOK_SECRET", f"{secret_of(OTHER)},{SECRET}")
    with pytest.raises(SettingsError, match="webhook_secret is that of IMGSVC_WEBHOOK_SECRET") as caught:
        read_owners(load(Settings, redis_url="redis://localhost"))
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("IMGSVC_WEBHOOK_SECRET", secret_of(OTHER))
    assert read_owners(load(Settings, redis_url="redis://localhost")).of("shop").webhook_secrets == (KEY,)


def test_the_documented_receiver_takes_an_event_once_and_no_forged_one() -> None:
    using = (Path(__file__).parent.parent / ".github" / "USING.md").read_text("utf-8")
    code = using.partition("## Webhooks")[2].partition("```python\n")[2].partition("```")[0]
    taken: list[object] = []
    seen = {"another"}

    def is_new(name: str) -> bool:
        return name not in seen

    names: dict[str, Any] = {"SECRET": SECRET, "is_new": is_new, "take": taken.append}
    exec(code, names)
    names["handle"](MESSAGE.body, signed((KEY,)))
    seen.add(MESSAGE.id)
    names["handle"](MESSAGE.body, signed((KEY,)))
    with pytest.raises(WebhookVerificationError):
        names["handle"](MESSAGE.body, signed((OTHER,)))
    assert taken == [{"filename": "grün.jpg"}]
