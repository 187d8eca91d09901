"""Signed file URLs: good for one path, until their time is up, and made by nobody else."""

import pytest

from imgsvc.domain.file_urls import Verdict, sign, verify

SECRET = b"a secret of some length"
PATH = "/files/processed/3f0c6e1e-0b5f-4d4e-9d3b-0f3b1a2c4d5e/ein Bild_thumbnail.jpeg"
EXP = 1_800_000_000
SIG = sign(PATH, EXP, SECRET)


def test_a_signed_url_is_good_until_its_time_is_up() -> None:
    assert verify(PATH, str(EXP), SIG, [SECRET], EXP - 0.001) is Verdict.VALID
    assert verify(PATH, str(EXP), SIG, [SECRET], EXP) is Verdict.EXPIRED


def test_a_signature_stands_in_a_url_as_it_is() -> None:
    signatures = {sign(PATH, exp, SECRET) for exp in range(EXP, EXP + 200)}
    assert len(signatures) == 200
    assert all(len(sig) == 43 and sig.replace("-", "").replace("_", "").isalnum() for sig in signatures)


@pytest.mark.parametrize(
    ("path", "exp", "sig", "secret"),
    [
        (PATH + "x", str(EXP), SIG, SECRET),
        (PATH.upper(), str(EXP), SIG, SECRET),
        (PATH, str(EXP + 1), SIG, SECRET),
        (PATH, str(EXP - 1), SIG, SECRET),
        (PATH, f"0{EXP}", SIG, SECRET),
        (PATH, f"+{EXP}", SIG, SECRET),
        (PATH, f"{EXP}\n", SIG, SECRET),
        (PATH, f"{EXP}.0", SIG, SECRET),
        (PATH, "9" * 5000, SIG, SECRET),
        (PATH, "\u0661\u0668", SIG, SECRET),
        (PATH, "", SIG, SECRET),
        (PATH, str(EXP), "", SECRET),
        (PATH, str(EXP), SIG[:-1], SECRET),
        (PATH, str(EXP), SIG + "=", SECRET),
        (PATH, str(EXP), SIG.swapcase(), SECRET),
        (PATH, str(EXP), "\u00e9" * 43, SECRET),
        (PATH, str(EXP), SIG, SECRET[:-1]),
        (PATH, str(EXP), SIG, b""),
    ],
)
def test_h20_whatever_was_tampered_with_is_invalid(path: str, exp: str, sig: str, secret: bytes) -> None:
    assert verify(path, exp, sig, [secret], now_s=0) is Verdict.INVALID


def test_h20_an_expired_url_with_a_wrong_signature_is_invalid_and_tells_nothing() -> None:
    assert verify(PATH, "1", SIG, [SECRET], EXP) is Verdict.INVALID


def test_u10_what_any_of_the_secrets_has_signed_is_good() -> None:
    newer = b"the secret that comes next"
    for secrets in ([newer, SECRET], [SECRET, newer], [SECRET]):
        assert verify(PATH, str(EXP), SIG, secrets, 0) is Verdict.VALID
    assert verify(PATH, str(EXP), SIG, [newer], 0) is Verdict.INVALID
    assert verify(PATH, str(EXP), SIG, [], 0) is Verdict.INVALID
