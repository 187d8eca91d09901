"""The reader of forms: cut anywhere it reads the same, and what other readers read."""

import base64
import logging
import quopri
import random
import re
from collections.abc import Iterable
from email import message_from_bytes
from email.policy import HTTP
from itertools import pairwise
from typing import Any

import pytest
from python_multipart import MultipartParser as OtherParser
from python_multipart.exceptions import FormParserError

from imgsvc.api.receive.disposition import filename, parameters
from imgsvc.api.receive.multipart import MultipartError, MultipartParser, PartBegins
from imgsvc.api.receive.transfer_encoding import decoder

Part = tuple[dict[bytes, bytes], bytes]
BOUNDARIES = (b"b", b"--x", b"a b", b"=_:9'()+_,-./?")
HEAD = b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'


def read(body: bytes, boundary: bytes, cuts: Iterable[int] = ()) -> list[Part]:
    """The parts of a form that comes in pieces, cut where `cuts` says."""
    parser = MultipartParser(boundary)
    parts: list[tuple[dict[bytes, bytes], bytearray]] = []
    for begin, end in pairwise([0, *cuts, len(body)]):
        for event in parser.feed(body[begin:end]):
            if isinstance(event, PartBegins):
                parts.append((event.headers, bytearray()))
            elif isinstance(event, bytes):
                parts[-1][1].extend(event)
    assert parser.ended
    return [(headers, bytes(content)) for headers, content in parts]


def made(rng: random.Random, boundary: bytes, newline: bytes = b"\r\n") -> tuple[bytes, list[bytes]]:
    """A form whose contents are all but delimiters, and those contents."""
    delimiter = re.compile(rb"(?:^|\n)--" + re.escape(boundary) + rb"(?:--|[ \t]|\r?\n)")
    bits = [b"\r", b"\n", b"\r\n", b"-", b"--", b"--" + boundary[:-1], b"\r\n--", b"x", b" "]
    bits += [b"\r\n--" + boundary[:-1], b"\r\n--" + boundary + b"x", b"\n--" + boundary + b"-x", b"\r--" + boundary]
    body, contents = b"", list[bytes]()
    for _ in range(rng.randrange(1, 4)):
        content = b"".join(rng.choice([*bits, rng.randbytes(3)]) for _ in range(rng.randrange(9)))
        if delimiter.search(content + newline):
            continue
        contents.append(content)
        body += b"--" + boundary + newline + HEAD.replace(b"\r\n", newline) + content + newline
    return body + b"--" + boundary + b"--" + newline, contents


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("newline", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
def test_h40_a_form_is_read_the_same_wherever_it_is_cut(boundary: bytes, newline: bytes) -> None:
    rng = random.Random(40)
    for _ in range(40):
        body, contents = made(rng, boundary, newline)
        whole = read(body, boundary)
        assert [content for _, content in whole] == contents
        for cut in range(1, len(body)):
            assert read(body, boundary, [cut]) == whole
        assert read(body, boundary, range(1, len(body))) == whole


def test_h40_forms_are_read_as_other_readers_read_them() -> None:
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    rng = random.Random(41)
    for number in range(300):
        boundary = BOUNDARIES[number % len(BOUNDARIES)]
        body, contents = made(rng, boundary)
        assert other(body, boundary) == contents == [content for _, content in read(body, boundary)]
    for _ in range(100):  # the standard library's ends lines as it likes within contents: let there be none
        content = rng.randbytes(200).translate(None, b"\r\n")
        body = b"preamble\r\n--b\r\n" + HEAD + content + b"\r\n--b--\r\nepilogue"
        mail = message_from_bytes(b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + body, policy=HTTP)
        (part,) = mail.iter_parts()
        assert [part.get_payload(decode=True)] == [content] == [found for _, found in read(body, b"b")]


def other(body: bytes, boundary: bytes) -> list[bytes]:
    parts: list[bytearray] = []

    def on_data(data: bytes, start: int, end: int) -> None:
        parts[-1].extend(data[start:end])

    callbacks: Any = {"on_part_begin": lambda: parts.append(bytearray()), "on_part_data": on_data}
    OtherParser(boundary, callbacks).write(body)
    return [bytes(part) for part in parts]


def test_h40_bytes_that_are_no_form_end_in_its_own_error() -> None:
    """And cost no more than time in proportion to their length, whatever they are."""
    rng = random.Random(42)
    bits = [b"--b", b"\r\n", b"\n", b": ", b"\r\n\r\n", b"--b\r\n", b"--b--", b'a: "', b";", b"=", b"\0", b" \t", HEAD]
    refused = 0
    for _ in range(2000):
        body = b"".join(rng.choice(bits) for _ in range(rng.randrange(60)))
        parser = MultipartParser(b"b")
        try:
            for cut in range(0, len(body), 7):
                list(parser.feed(body[cut : cut + 7]))
        except MultipartError:
            refused += 1
    assert 0 < refused < 2000


@pytest.mark.parametrize("boundary", [b"", b"x" * 201, b"a\r\nb", b"a\nb"])
def test_h40_a_boundary_that_is_none_is_refused(boundary: bytes) -> None:
    with pytest.raises(MultipartError):
        MultipartParser(boundary)


def test_h40_the_other_reader_refuses_what_a_preamble_is() -> None:
    """The reason for a reader of our own: forms that are good, and that this one does not read."""
    with pytest.raises(FormParserError):
        other(b"preamble\r\n--b\r\n" + HEAD + b"x\r\n--b--\r\n", b"b")


@pytest.mark.parametrize(
    "header",
    [
        b"x; " + b"a" * 30_000,
        b"x; " + b'a="' * 10_000,
        b"x; " + b"=;" * 15_000,
        b"x; filename=" + b" " * 30_000 + b'"',
        b'x; filename="' + b"\\" * 30_000,
        b"x; filename*=" + b"utf-8''%" * 4_000,
        b'x; filename="' + b"=?utf-8?B?" * 3_000 + b'"',
        b'x; filename="' + b"=?utf-8?Q?=?= " * 2_000 + b'"',
        b"x; " + b"".join(b"filename*%d=a;" % at for at in range(2_000)),
        bytes(range(256)) * 100,
    ],
)
def test_h41_a_header_of_any_kind_is_read_in_no_time(header: bytes) -> None:
    """30 kB, where what is quadratic takes a second."""
    kind, given = parameters(header)
    assert isinstance(filename(given, in_form=True), str)
    assert len(kind) <= len(header)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 57, 1000])
def test_h42_encoded_content_is_decoded_wherever_it_is_cut(size: int) -> None:
    content = random.Random(43).randbytes(size)
    for name, text in ((b"BASE64", base64.encodebytes(content)), (b"quoted-printable", quopri.encodestring(content))):
        for cut in range(len(text) + 1):
            reading = decoder(name)
            assert reading
            pieces = [reading.feed(text[:cut]), reading.feed(text[cut:]), reading.finish()]
            assert b"".join(pieces) == content
