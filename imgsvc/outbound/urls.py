"""The form of a URL that this service requests."""

import re

from yarl import URL

from imgsvc.domain.addresses import MAX_URL_BYTES
from imgsvc.outbound.errors import UrlNotAllowedError

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")  # some parsers drop these, and others read them as something else


def parse_url(text: str) -> URL:
    """Parses a URL, and refuses what this service does not request.

    Raises:
        UrlNotAllowedError: names what is wrong with the URL.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_URL_BYTES:
        raise UrlNotAllowedError(f"The URL is longer than {MAX_URL_BYTES} bytes.")
    if _FORBIDDEN.search(text):
        raise UrlNotAllowedError("The URL contains white space, control characters or backslashes. Encode them.")
    try:
        url = URL(text)
    except ValueError:
        raise UrlNotAllowedError("This is not a URL.") from None
    if url.scheme not in {"http", "https"}:
        raise UrlNotAllowedError("The URL must begin with http:// or https://.")
    if "@" in url.raw_authority:
        raise UrlNotAllowedError("The URL contains a user or a password. Leave them out.")
    if not url.raw_host or "%" in url.raw_host or not url.port:
        raise UrlNotAllowedError("The URL's host or port is not one that can be reached.")
    return url


def redirected(url: URL, location: str) -> URL:
    """Returns the URL that `url` redirects to, by the `Location` of its answer.

    Raises:
        UrlNotAllowedError: it is no URL, or not one that this service requests.
    """
    try:
        return parse_url(str(url.join(URL(location))))
    except ValueError:
        raise UrlNotAllowedError("The URL redirects to something that is not a URL.") from None
