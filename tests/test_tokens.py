"""Upload tokens by themselves: what is bound into them, and that nobody else makes one (rows U1, U2 and U10)."""

import base64
import hashlib
import hmac
import zlib
from dataclasses import replace
from itertools import pairwise

import orjson
import pytest

from imgsvc.domain.file_urls import sign
from imgsvc.domain.tokens import MAX_TOKEN_CHARS, PREFIX, UploadToken, issue, verify

SECRET, NEXT = b"a secret of 32 characters or more", b"the next secret, of 32 characters"
TOKEN = UploadToken(
    id="3f0c6e1e-0b5f-4d4e-9d3b-0f3b1a2c4d5e",
    owner="shop",
    expires_at=1_800_000_000,
    options={"preset": "shop", "metadata": '{"sku":"81"}'},
    max_bytes=20_000_000,
    content_types=("image/jpeg", "image/heic"),
    origin="https://app.example.com",
)
TEXT = issue(TOKEN, SECRET)


def text_of(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(terms: object, key: bytes, prefix: str = PREFIX) -> str:
    signed = prefix + text_of(zlib.compress(orjson.dumps(terms)))
    return f"{signed}.{text_of(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def test_all_that_a_token_allows_is_in_it() -> None:
    assert verify(TEXT, [SECRET]) == TOKEN
    bare = UploadToken(TOKEN.id, "", TOKEN.expires_at)
    assert verify(issue(bare, SECRET), [SECRET]) == bare


def test_a_token_stands_in_a_url_as_it_is() -> None:
    assert TEXT.replace("-", "").replace("_", "").replace(".", "").isalnum()
    assert len(TEXT) < 400


def test_u1_a_token_with_any_character_changed_missing_or_added_is_none() -> None:
    for at in range(len(TEXT)):
        assert verify(TEXT[:at], [SECRET]) is None
        assert verify(TEXT[at + 1 :], [SECRET]) is None
        assert verify(TEXT[:at] + TEXT[at + 1 :], [SECRET]) is None
        for other in {"A", "B", "-", ".", "=", "\n", "\u00e9", "\u0661"} - {TEXT[at]}:
            assert verify(TEXT[:at] + other + TEXT[at + 1 :], [SECRET]) is None, (at, other)
    for text in (TEXT + "=", TEXT + "A", TEXT + "\n", f" {TEXT}", f"{TEXT}.{TEXT}", TEXT.swapcase(), TEXT.upper()):
        assert verify(text, [SECRET]) is None


def test_u1_the_last_character_of_a_signature_has_one_form() -> None:
    """Base64 of 32 bytes has two bits to spare."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert [last for last in alphabet if verify(TEXT[:-1] + last, [SECRET])] == [TEXT[-1]]


def test_u1_no_other_key_purpose_or_algorithm_makes_a_token() -> None:
    terms = {"id": TOKEN.id, "owner": "shop", "expires_at": TOKEN.expires_at}
    derived = hmac.digest(SECRET, b"imgsvc upload token v1", hashlib.sha256)
    assert verify(forged(terms, derived), [SECRET]), "only the key below differs"
    signed = TEXT.rpartition(".")[0]
    wrong = [
        forged(terms, SECRET),
        forged(terms, b""),
        forged(terms, hmac.digest(SECRET, b"imgsvc file URL v1", hashlib.sha256)),
        forged(terms, derived, "iut2."),
        forged(terms, derived, "none."),
        forged(terms, derived, ""),
        issue(TOKEN, SECRET[:-1]),
        issue(TOKEN, b""),
        f"{signed}.{sign(signed, TOKEN.expires_at, SECRET)}",
        f"{signed}.{text_of(hashlib.sha256(SECRET + signed.encode()).digest())}",
        f"{signed}.",
        signed,
        "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJpZCI6IjEifQ.",
        "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6IjEifQ.YWJj",
        "",
        PREFIX,
        "..",
    ]
    assert [text for text in wrong if verify(text, [SECRET])] == []


def test_u1_nothing_of_a_token_is_read_before_its_signature_is_known() -> None:
    """A compressed bomb, as 43 characters of any signature would send it."""
    bomb = PREFIX + text_of(zlib.compress(bytes(3_000_000), 9))
    assert len(bomb) < MAX_TOKEN_CHARS
    assert verify(f"{bomb}.{'A' * 43}", [SECRET]) is None
    assert verify(PREFIX + "A" * 10_000_000, [SECRET]) is None


def test_u1_a_token_is_not_a_signature_of_a_file_url() -> None:
    signature = TEXT.rpartition(".")[2]
    for path in (TEXT, TEXT.rpartition(".")[0], "/upload"):
        assert sign(path, TOKEN.expires_at, SECRET) != signature


def test_u2_a_token_ends_at_its_time_by_the_clock_of_whoever_reads_it() -> None:
    assert not TOKEN.has_expired(TOKEN.expires_at - 0.001)
    assert TOKEN.has_expired(TOKEN.expires_at)
    assert TOKEN.has_expired(TOKEN.expires_at + 10**9)


def test_u10_each_secret_verifies_and_the_newest_signs() -> None:
    newer = issue(TOKEN, NEXT)
    assert newer != TEXT
    for secrets in ([NEXT, SECRET], [SECRET, NEXT]):
        assert verify(TEXT, secrets) == verify(newer, secrets) == TOKEN
    assert verify(TEXT, [NEXT]) is None
    assert verify(TEXT, []) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(TOKEN, id="3f0c6e1e-0b5f-4d4e-9d3b-0f3b1a2c4d5f"),
        replace(TOKEN, owner="blog"),
        replace(TOKEN, expires_at=TOKEN.expires_at + 1),
        replace(TOKEN, options={}),
        replace(TOKEN, max_bytes=20_000_001),
        replace(TOKEN, content_types=("image/jpeg",)),
        replace(TOKEN, origin="https://app.example.org"),
    ],
)
def test_u1_each_term_is_bound(other: UploadToken) -> None:
    """Terms of one with the signature of another."""
    mixed = issue(other, SECRET).rpartition(".")[0] + "." + TEXT.rpartition(".")[2]
    assert verify(mixed, [SECRET]) is None


def test_tokens_of_the_same_terms_are_the_same() -> None:
    assert all(first == second for first, second in pairwise(issue(TOKEN, SECRET) for _ in range(3)))
