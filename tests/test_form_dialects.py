"""Forms as other clients write them: taken where it is clear what they mean, else refused by the name of what is wrong
(rows H40 to H42 of the fault plan).
"""

import base64
import gzip
import quopri
from typing import Any

import httpx
import pytest

from tests.support import images
from tests.support.service import Service

PHOTO = images.photo(64, 48)
FORM = "multipart/form-data; boundary=b"
DISPOSITION = b'Content-Disposition: form-data; name="file"; filename="a.jpg"'
END = b"\r\n--b--\r\n"


def part(*headers: bytes, body: bytes = PHOTO, boundary: bytes = b"b") -> bytes:
    return b"--" + boundary + b"\r\n" + b"\r\n".join(headers) + b"\r\n\r\n" + body


def field(name: str, value: bytes, *headers: bytes) -> bytes:
    return part(b'Content-Disposition: form-data; name="%b"' % name.encode(), *headers, body=value) + b"\r\n"


async def post(service: Service, body: bytes, content_type: str = FORM, **headers: str) -> httpx.Response:
    return await service.client.post("/upload", content=body, headers={"content-type": content_type, **headers})


async def original(service: Service, answer: httpx.Response) -> dict[str, Any]:
    """What the service took for the uploaded file."""
    assert answer.status_code == 202, answer.text
    return (await service.result(answer.json()["id"]))["original"]


WHOLE = part(DISPOSITION, b"Content-Type: image/jpeg")
LF_HEAD = DISPOSITION + b"\nContent-Type: image/jpeg\n\n"
TAKEN = {
    "as RFC 7578 has it": (FORM, WHOLE + END),
    "a preamble": (FORM, b"This is a multi-part message in MIME format.\r\n" + WHOLE + END),
    "a preamble that mentions the boundary": (FORM, b"not --b\r\n or\r\n--bb\r\nyet\r\n" + WHOLE + END),
    "an epilogue": (FORM, WHOLE + END + b"That was all.\r\n--b\r\nor was it"),
    "no line end behind the last boundary": (FORM, WHOLE + END[:-2]),
    "blanks behind a boundary": (FORM, WHOLE.replace(b"--b\r\n", b"--b \t \r\n") + b"\r\n--b--  \r\n"),
    "blanks behind a boundary within": (FORM, field("preset", b"default") + WHOLE.replace(b"b\r", b"b \t\r", 1) + END),
    "line feeds alone": (FORM, b"--b\n" + LF_HEAD + PHOTO + b"\n--b--\n"),
    "line feeds alone, behind a preamble": (FORM, b"hello\n\n--b\n" + LF_HEAD + PHOTO + b"\n--b--"),
    "line feeds in the head alone": (FORM, b"--b\r\n" + LF_HEAD + PHOTO + END),
    "a folded header": (FORM, part(b'Content-Disposition: form-data;\r\n name="file";\r\n\tfilename="a.jpg"') + END),
    "a header folded at its colon": (FORM, part(b'Content-Disposition:\r\n form-data; name="file"') + END),
    "headers in capitals": (FORM, part(b'CONTENT-DISPOSITION: FORM-DATA; NAME="file"; FILENAME="a.jpg"') + END),
    "headers in small letters": (FORM, part(DISPOSITION.lower()) + END),
    "no blanks in a header": (FORM, part(b'Content-Disposition:form-data;name="file";filename="a.jpg"') + END),
    "many blanks in a header": (
        FORM,
        part(b'Content-Disposition :  form-data ; name = "file" ;filename=a.jpg; ') + END,
    ),
    "a disposition without quotes": (FORM, part(b"Content-Disposition: form-data; name=file; filename=a.jpg") + END),
    "headers of other kinds": (
        FORM,
        part(*(b"X-%d: y" % at for at in range(12)), b"Content-ID: <a>", b"Content-Length: 1", DISPOSITION) + END,
    ),
    "no file name": (FORM, part(b'Content-Disposition: form-data; name="file"') + END),
    "attachment": (FORM, part(DISPOSITION.replace(b"form-data", b"attachment")) + END),
    "a boundary in quotes": ('multipart/form-data; boundary="b"', WHOLE + END),
    "a boundary with a blank": (
        'multipart/form-data; boundary="a b"',
        part(DISPOSITION, boundary=b"a b") + b"\r\n--a b--\r\n",
    ),
    "a boundary of all that may be in one": (
        """multipart/form-data; boundary="=_'()+_,-./:=?"; x""",
        part(DISPOSITION, boundary=b"=_'()+_,-./:=?") + b"\r\n--=_'()+_,-./:=?--\r\n",
    ),
    "the same without quotes": (
        "multipart/form-data; boundary==_'()+_,-./:=?",
        part(DISPOSITION, boundary=b"=_'()+_,-./:=?") + b"\r\n--=_'()+_,-./:=?--\r\n",
    ),
    "a boundary of hyphens": (
        "multipart/form-data; boundary=----",
        part(DISPOSITION, boundary=b"----") + b"\r\n--------\r\n",
    ),
    "BOUNDARY": ("Multipart/Form-Data; BOUNDARY=b", WHOLE + END),
    "a charset beside the boundary": ("multipart/form-data; charset=UTF-8; boundary=b; x", WHOLE + END),
    "Uppy's fields": (
        FORM,
        field("relativePath", b"null") + field("name", b"a.jpg") + field("type", b"image/jpeg") + WHOLE + END,
    ),
    "a field with a type and a charset": (
        FORM,
        field("preset", b"default", b"Content-Type: text/plain;charset=US-ASCII", b"Content-Transfer-Encoding: 8bit")
        + WHOLE
        + END,
    ),
    "base64": (
        FORM,
        part(DISPOSITION, b"Content-Transfer-Encoding: base64", body=base64.encodebytes(PHOTO)) + END,
    ),
    "quoted-printable": (
        FORM,
        part(DISPOSITION, b"Content-Transfer-Encoding: Quoted-Printable", body=quopri.encodestring(PHOTO)) + END,
    ),
    "binary": (FORM, part(DISPOSITION, b"Content-Transfer-Encoding: binary") + END),
    "identity": (FORM, part(DISPOSITION, b"Content-Encoding: identity") + END),
}


@pytest.mark.parametrize(("content_type", "body"), TAKEN.values(), ids=TAKEN.keys())
async def test_h40_a_form_in_another_dialect_is_the_same_upload(
    service: Service, content_type: str, body: bytes
) -> None:
    found = await original(service, await post(service, body, content_type))
    assert (found["bytes"], found["content_type"]) == (len(PHOTO), "image/jpeg")


async def test_h42_a_large_file_in_base64_is_no_longer_than_what_it_decodes_to(service: Service) -> None:
    """Its form is a third longer: that counts for nothing."""
    photo = images.photo(2000, 1500) + bytes(300_000)
    body = part(DISPOSITION, b"Content-Transfer-Encoding: base64", body=base64.encodebytes(photo)) + END
    assert (await original(service, await post(service, body)))["bytes"] == len(photo)


REFUSED = {
    "an unknown transfer encoding": (
        WHOLE.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n", 1) + END,
        (415, "unsupported_media_type", "x-uuencode"),
    ),
    "a packed part": (
        part(DISPOSITION, b"Content-Encoding: gzip", body=gzip.compress(PHOTO)) + END,
        (415, "unsupported_media_type", "gzip"),
    ),
    "base64 that is none": (
        part(DISPOSITION, b"Content-Transfer-Encoding: base64") + END,
        (400, "malformed_body", "'file'"),
    ),
    "a form within the form": (
        part(DISPOSITION, b"Content-Type: multipart/mixed; boundary=c", body=b"--c\r\n\r\nx\r\n--c--") + END,
        (415, "unsupported_media_type", "multipart/mixed"),
    ),
    "a header twice": (part(DISPOSITION, DISPOSITION) + END, (400, "malformed_body", "content-disposition")),
    "a line that is no header": (part(DISPOSITION, b"hello") + END, (400, "malformed_body", "header")),
    "a field of Uppy's twice": (
        field("name", b"a") + field("name", b"b") + WHOLE + END,
        (422, "invalid_field", "'name' is there twice"),
    ),
    "a field in a charset that there is none of": (
        field("preset", b"default", b"Content-Type: text/plain; charset=klingon") + WHOLE + END,
        (422, "invalid_field", "klingon"),
    ),
    "a field in what is no charset": (
        field("preset", b"default", b"Content-Type: text/plain; charset=unicode_escape") + WHOLE + END,
        (422, "invalid_field", "unicode_escape"),
    ),
    "a charset for all fields that there is none of": (
        field("_charset_", b"klingon") + WHOLE + END,
        (422, "invalid_field", "klingon"),
    ),
}


@pytest.mark.parametrize(("body", "refusal"), REFUSED.values(), ids=REFUSED.keys())
async def test_h42_what_cannot_be_read_is_refused_by_its_name(
    service: Service, body: bytes, refusal: tuple[int, str, str]
) -> None:
    answer = await post(service, body)
    assert (answer.status_code, answer.json()["code"]) == refusal[:2], answer.text
    assert refusal[2] in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/upload", "/upload/url"])
@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
async def test_h42_a_packed_body_is_refused_with_the_coding_that_is_read(
    service: Service, path: str, coding: str
) -> None:
    kind = "image/jpeg" if path == "/upload" else "application/json"
    headers = {"content-type": kind, "content-encoding": coding}
    answer = await service.client.post(path, content=gzip.compress(PHOTO), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert answer.headers["accept-encoding"] == "identity"
    assert coding.rpartition(", ")[2] in answer.json()["detail"]


async def test_h40_fields_come_in_the_charset_that_they_say(service: Service) -> None:
    metadata = '{"who": "Jürgen"}'
    for body in (
        field("metadata", metadata.encode()),
        field("metadata", metadata.encode("latin-1"), b"Content-Type: text/plain; charset=ISO-8859-1"),
        field("_charset_", b"windows-1252") + field("metadata", metadata.encode("cp1252")),
    ):
        answer = await post(service, body + WHOLE + END)
        assert (await service.status(answer.json()["id"]))["metadata"] == {"who": "Jürgen"}


def word(text: str, encoding: str = "B", charset: str = "utf-8") -> str:
    raw = text.encode(charset)
    coded = base64.b64encode(raw).decode() if encoding in "Bb" else "".join(f"={byte:02X}" for byte in raw)
    return f"=?{charset}?{encoding}?{coded}?="


EXTENDED = "filename*=UTF-8''n%C3%A4h.jpg"
ANYWHERE = {
    "a token": (b"filename=token.jpg", "token.jpg"),
    "raw UTF-8": ('filename="näh \U0001f9d1.jpg"'.encode(), "näh \U0001f9d1.jpg"),
    "raw Latin-1": ('filename="näh.jpg"'.encode("latin-1"), "näh.jpg"),
    "an escaped quotation mark": (rb'filename="a\"b.jpg"', 'a"b.jpg'),
    "an escaped backslash": (rb'filename="C:\\photos\\a.jpg"', "a.jpg"),
    "a path of Internet Explorer": (rb'filename="C:\photos\new\a.jpg"', "a.jpg"),
    "a semicolon": (b'filename="a;b.jpg"', "a;b.jpg"),
    "an extended one": (EXTENDED.encode(), "näh.jpg"),
    "an extended one, as .NET writes it": (
        f"filename=\"{word('näh.jpg')}\"; filename*=utf-8''n%C3%A4h.jpg".encode(),
        "näh.jpg",
    ),
    "an extended one before a plain one": (f'{EXTENDED}; filename="nah.jpg"'.encode(), "näh.jpg"),
    "an extended one behind a plain one": (f'filename="nah.jpg"; {EXTENDED}'.encode(), "näh.jpg"),
    "an extended one in Latin-1": (b"filename*=iso-8859-1'de'n%E4h.jpg", "näh.jpg"),
    "an extended one in quotes": (b"filename*=\"UTF-8''n%C3%A4h.jpg\"", "näh.jpg"),
    "an extended one that is broken": (b"filename*=UTF-8''n%E4h.jpg; filename=plain.jpg", "plain.jpg"),
    "an extended one of no charset": (b"filename*=klingon''n%E4h.jpg; filename=plain.jpg", "plain.jpg"),
    "an extended one without its quotes": (b"filename*=a.jpg; filename=plain.jpg", "plain.jpg"),
    "a name in pieces": (b"filename*0*=UTF-8''n%C3; filename*1*=%A4h; filename*2=\".jpg\"", "näh.jpg"),
    "a name in plain pieces": (b'filename*0="a b"; filename*1=".jpg"', "a b.jpg"),
    "a word in base64, as .NET writes it": (f'filename="{word("näh.jpg")}"'.encode(), "näh.jpg"),
    "a word in quoted-printable, as Spring writes it": (b'filename="=?UTF-8?Q?n=C3=A4h_x.jpg?="', "näh x.jpg"),
    "a word without quotes": (f"filename={word('näh.jpg')}".encode(), "näh.jpg"),
    "a word in Latin-1": (f'filename="{word("näh.jpg", "Q", "iso-8859-1")}"'.encode(), "näh.jpg"),
    "a word in Shift_JIS": (f'filename="{word("写真.jpg", "B", "shift_jis")}"'.encode(), "写真.jpg"),
    "two words": (f'filename="{word("nä")} {word("h.jpg", "q")}"'.encode(), "näh.jpg"),
    "two words with a character between them": (b'filename="=?utf-8?Q?n=C3?= =?utf-8?Q?=A4h.jpg?="', "näh.jpg"),
    "a word among others": (f'filename="x {word("ä")}.jpg"'.encode(), "x ä.jpg"),
    "a word that is none": (b'filename="=?utf-8?B?%%%?=.jpg"', "=?utf-8?B?%%%?=.jpg"),
    "a path in an extended one": (b"filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", "passwd"),
    "a line end in an extended one": (b"filename*=UTF-8''a%0D%0AX:%201.jpg", "aX: 1.jpg"),
    "a line end in a word": (b'filename="=?utf-8?Q?a=0D=0AX:_1.jpg?="', "aX: 1.jpg"),
    "nothing": (b'filename=""', "image"),
}


@pytest.mark.parametrize(("written", "name"), ANYWHERE.values(), ids=ANYWHERE.keys())
async def test_h41_a_file_has_the_name_that_its_client_gave_it(service: Service, written: bytes, name: str) -> None:
    in_form = await post(service, part(b'Content-Disposition: form-data; name="file"; ' + written) + END)
    headers = [(b"content-type", b"image/jpeg"), (b"content-disposition", b"attachment; " + written)]
    alone = await service.client.post("/upload", content=PHOTO, headers=headers)
    for answer in (in_form, alone):
        assert (answer.status_code, answer.json()["filename"]) == (202, name)


async def test_h41_what_browsers_escape_in_a_form_is_a_name_again(service: Service) -> None:
    """`%22`, and all of a name that is escaped all over; else a percent sign may well be a part of the name."""
    for written, name in (
        (b"%22100%25 off%22.jpg", '"100%25 off".jpg'),
        (b"n%C3%A4h%20x.jpg", "näh x.jpg"),
        (b"n%E4h.jpg", "n%E4h.jpg"),
    ):
        answer = await post(
            service, part(b'Content-Disposition: form-data; name="file"; filename="%b"' % written) + END
        )
        assert answer.json()["filename"] == name


async def test_the_202_names_the_upload_itself(service: Service) -> None:
    """Where Uppy's XHR plugin looks for it."""
    document = (await post(service, WHOLE + END)).json()
    assert document["url"] == f"/upload/{document['id']}"
    assert (await service.client.get(document["url"])).status_code == 200
