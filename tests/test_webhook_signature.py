"""Webhook signatures, held against the public verifier of Standard Webhooks."""

import base64
from time import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from imgsvc.runtime.loading import load
from imgsvc.runtime.local_settings import SettingsError
from imgsvc.runtime.settings import Settings
from imgsvc.worker.webhooks import Message

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
MESSAGE = Message("3f0c6e1e-0b5f-4d4e-9d3b-0f3b1a2c4d5e_1800000000000", '{"filename": "grün.jpg"}'.encode())


def test_the_public_verifier_takes_a_signed_message() -> None:
    headers = MESSAGE.headers(KEY, int(time()))
    assert Webhook(SECRET).verify(MESSAGE.body, headers) == {"filename": "grün.jpg"}


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_the_public_verifier_refuses_what_was_tampered_with(header: str) -> None:
    headers = MESSAGE.headers(KEY, int(time()))
    forged = Message("another", MESSAGE.body).headers(KEY, int(time()) - 1)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(MESSAGE.body, headers | {header: forged[header]})
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(MESSAGE.body + b" ", headers)


def test_a_message_that_is_told_again_keeps_its_id_and_is_signed_anew() -> None:
    first, second = MESSAGE.headers(KEY, 1_800_000_000), MESSAGE.headers(KEY, 1_800_000_005)
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
    assert load(Settings).webhook_key is None
    monkeypatch.setenv("IMGSVC_WEBHOOK_SECRET", SECRET)
    assert load(Settings).webhook_key == KEY
    assert SECRET not in repr(load(Settings))
