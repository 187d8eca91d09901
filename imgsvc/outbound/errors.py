"""Why a request to a URL that a client named fails."""

from imgsvc.domain.problems import CodedError


class UrlNotAllowedError(CodedError):
    """This service does not connect to the URL's host. Repeating the request is of no use."""

    def __init__(self, detail: str) -> None:
        super().__init__("url_not_allowed", detail)


class UnreachableError(CodedError):
    """There is no answer, or an incomplete one. The same request may succeed later."""

    def __init__(self, detail: str = "The URL's host did not answer in time, or not in full.") -> None:
        super().__init__("fetch_failed", detail)


class TooLongError(CodedError):
    """An answer's body exceeds its limit."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__("fetch_failed", f"The file is larger than the {max_bytes} bytes that this service takes.")
