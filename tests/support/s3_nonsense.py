"""What may answer in S3's place: each of these is a whole answer, and none of them one that S3 gives."""

import gzip

from tests.support.scripted_s3 import answer, error, stored

PHOTO = b"photo"
ENDLESS = "<ListBucketResult><IsTruncated>true</IsTruncated>{}</ListBucketResult>"
HTML = "<!DOCTYPE html><html><body>Welcome to the hotel</body></html>"


def raw(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


NONSENSE: dict[str, bytes | None] = {
    "reset": None,
    "nothing": b"\r\n\r\n",
    "no HTTP": b"-ERR unknown command\r\n\r\n",
    "a status that is none": raw("HTTP/1.1 0 No\nContent-Length: 0\n\n"),
    "only a head": raw("HTTP/1.1 200 OK\nContent-Length: 100\nConnection: close\n\n"),
    "two lengths": raw("HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2\n\nxx"),
    "a negative length": raw("HTTP/1.1 200 OK\nContent-Length: -1\n\n"),
    "a broken chunk": raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nxyz\n"),
    "headers that are no UTF-8": b"HTTP/1.1 200 OK\r\nETag: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    "a header too long": raw(f"HTTP/1.1 200 OK\nX-Long: {'x' * 100_000}\nContent-Length: 0\n\n"),
    "200 and nothing": answer(200),
    "204": answer(204, content_length=""),
    "206 unasked": stored(content_range="bytes 3-7/90"),
    "a range of nothing": stored(content_range="bytes */90"),
    "a range that is none": stored(content_range="many"),
    "200 without length": raw('HTTP/1.1 200 OK\nETag: "1"\nConnection: close\n\nphoto'),
    "no ETag": stored(etag=""),
    "no Last-Modified": stored(last_modified=""),
    "a date that is none": stored(last_modified="yesterday"),
    "a time that is none": stored(x_amz_meta_expires_at="soon"),
    "gzip": stored(gzip.compress(PHOTO), content_encoding="gzip"),
    "gzip that is none": stored(content_encoding="gzip"),
    "HTML": answer(200, HTML, content_type="text/html"),
    "XHTML": answer(200, "<html><body><p>Welcome</p></body></html>", content_type="text/html"),
    "JSON": answer(200, '{"error": "no"}', content_type="application/json"),
    "XML of another kind": answer(200, "<rss version='2.0'><channel/></rss>"),
    "half an XML": answer(200, "<ListBucketResult><Contents><Key>a"),
    "XML with an entity bomb": answer(200, '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>'),
    "an error with 200": error(200, "InternalError"),
    "a lasting error with 200": error(200, "AccessDenied"),
    "an endless list of nothing": answer(200, ENDLESS.format("")),
    "an endless list": answer(200, ENDLESS.format("<Contents><Key>photo</Key></Contents>")),
    "a list of others' keys": answer(200, ENDLESS.format("<Contents><Key>others</Key></Contents>")),
    "a list without keys": answer(200, ENDLESS.format("<Contents><Size>7</Size></Contents>")),
    "301": answer(301, content_length="0"),
    "301 PermanentRedirect": error(301, "PermanentRedirect"),
    "301 with a region": error(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1"),
    "302 to itself": answer(302, location="/"),
    "307 to elsewhere": error(307, "TemporaryRedirect", location="http://127.0.0.1:9/"),
    "308": answer(308, location="not a URL://"),
    "400": answer(400),
    "400 RequestTimeout": error(400, "RequestTimeout"),
    "400 of another region": error(400, "AuthorizationHeaderMalformed", more="<Region>eu-west-1</Region>"),
    "403": answer(403),
    "404 in HTML": answer(404, HTML),
    "409": error(409, "OperationAborted"),
    "411": error(411, "MissingContentLength"),
    "412": error(412, "PreconditionFailed"),
    "416": error(416, "InvalidRange"),
    "417": answer(417),
    "418 without a code": answer(418, "<Error><Message>short and stout</Message></Error>"),
    "429": error(429, "TooManyRequests"),
    "451 with a deep body": answer(451, "<a>" * 3000 + "</a>" * 3000),
    "500 in HTML": answer(500, HTML),
    "501": error(501, "NotImplemented"),
    "502": answer(502, HTML),
    "503": error(503, "SlowDown"),
    "504": answer(504),
    "507": answer(507),
    "599": answer(599),
    "999": answer(999),
}
