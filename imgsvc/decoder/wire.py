"""The messages between the pool, its fork server and the decoders, and their framing.

A frame is the length of its header (4 bytes, big-endian), the header (a JSON object), and whatever raw bytes the
header announces. A decoder works on untrusted bytes, so its parent trusts nothing that it sends: every length is
bounded before anything is allocated, and every value checked. The fork server sees no image, and is believed.

    pool                            fork server
    Greeting                     →
    Fork, with three pipes       →
                                 ←  Forked, with a pidfd where there are such   or   NotForked
                                 ←  Exited (whenever a decoder does)

    pool                            decoder
                                 ←  Hello
    Request, source file,        →
    files of overlays
                                 ←  Step (before it looks into the file)
                                 ←  Need (from the header, before any pixel)
    Go                           →
                                 ←  Step …
                                 ←  Done, with its files   or   Failed, also instead of a Need
"""

import re
import struct
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, cast

import orjson

from imgsvc.domain import facts
from imgsvc.domain.formats import KNOWN
from imgsvc.domain.model import MAX_RESULTS_BYTES, Limits, Original, Placeholder, Variant, variant_of
from imgsvc.domain.problems import WARNINGS
from imgsvc.domain.sets import is_set, largest_box, max_files

PREFIX = struct.Struct("!I")
MAX_HEADER_BYTES = 64 * 1024

DECODER_CODES = frozenset(
    {
        "crop_outside",
        "decode_failed",
        "encode_failed",
        "image_too_large",
        "too_many_frames",
        "unsupported_format",
        "decoder_oom",
        "overlay_invalid",
    },
)
"""The error codes that a child may report; how it died is for its parent to judge."""

_MAX_STATUS_CHARS = 200
_ENCODER_OVERHEAD_BYTES = 64 * 1024
_MAX_SIDE = 2**16
_THUMBHASH = re.compile(r"[A-Za-z0-9+/]{8,60}={0,2}")
_COLOR = re.compile(r"#[0-9a-f]{6}")


class WireError(Exception):
    """The other side sent what it never should."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a child must know before its first image; `cpu_s` is for its whole life."""

    parent: int
    memory_bytes: int
    cpu_s: int
    sandbox: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork a decoder, with the pipes that come along as its stdin, stdout and stderr."""


@dataclass(frozen=True, slots=True)
class Forked:
    pid: int


@dataclass(frozen=True, slots=True)
class NotForked:
    reason: str


@dataclass(frozen=True, slots=True)
class Exited:
    """`status` is negative for a signal, as subprocess's returncode."""

    pid: int
    status: int


@dataclass(frozen=True, slots=True)
class Hello:
    sandbox_status: str


@dataclass(frozen=True, slots=True)
class OverlaySize:
    """The file of an overlay, of which `size_bytes` follow those of the source and of the overlays before it."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Request:
    variants: tuple[Variant, ...]
    source_bytes: int
    overlays: tuple[OverlaySize, ...] = ()
    keep_location: bool = False


@dataclass(frozen=True, slots=True)
class Need:
    """How much memory decoding the image will take, about."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class Go:
    """There is that much."""


@dataclass(frozen=True, slots=True)
class Step:
    step: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Result:
    """A rendition without its bytes, of which `size_bytes` follow the header."""

    variant: str
    width: int
    height: int
    format: str
    size_bytes: int
    quality: int | None = None
    fits: bool = True
    set_width: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    original: Original
    results: tuple[Result, ...]
    placeholder: Placeholder
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    code: str


Message = Greeting | Fork | Forked | NotForked | Exited | Hello | Request | Need | Go | Step | Done | Failed
Header = dict[str, Any]


def frame(message: Message) -> bytes:
    """The frame of `message`, without the raw bytes that follow it."""
    header = orjson.dumps({type(message).__name__: message})
    return PREFIX.pack(len(header)) + header


def header_length(prefix: bytes) -> int:
    """The length that a frame's prefix announces.

    Raises:
        WireError: more than any message needs.
    """
    (length,) = PREFIX.unpack(prefix)
    if length > MAX_HEADER_BYTES:
        raise WireError(f"a header of {length} bytes")
    return length


def split_frame(data: bytes) -> tuple[bytes, bytes] | None:
    """The header of the first frame in `data`, and what follows it; None while it is not all there."""
    if len(data) < PREFIX.size:
        return None
    end = PREFIX.size + header_length(data[: PREFIX.size])
    return (data[PREFIX.size : end], data[end:]) if len(data) >= end else None


def read_notice(raw: bytes) -> Forked | NotForked | Exited:
    """A message of the fork server."""
    match orjson.loads(raw):
        case {"Forked": {"pid": pid}}:
            return Forked(pid)
        case {"NotForked": {"reason": reason}}:
            return NotForked(reason)
        case {"Exited": {"pid": pid, "status": status}}:
            return Exited(pid, status)
        case _:
            raise WireError("an unknown kind of message")


def read_greeting(raw: bytes) -> Greeting:
    """A pool's first frame; a child believes its parent."""
    body: Header = orjson.loads(raw)["Greeting"]
    limits = Limits(**body.pop("limits"))
    return Greeting(**body, limits=limits)


def read_request(raw: bytes) -> Request:
    body = orjson.loads(raw)["Request"]
    variants = tuple(variant_of(variant.pop("name"), variant) for variant in body["variants"])
    overlays = tuple(OverlaySize(**overlay) for overlay in body["overlays"])
    return Request(variants, body["source_bytes"], overlays, body["keep_location"])


def read_hello(raw: bytes) -> Hello:
    """A child's first frame.

    Raises:
        WireError: it is something else.
    """
    kind, body = _kind_and_body(raw)
    sandbox_status = body.get("sandbox_status")
    if kind != "Hello" or not isinstance(sandbox_status, str) or len(sandbox_status) > _MAX_STATUS_CHARS:
        raise WireError("no hello")
    return Hello(sandbox_status)


def read_reply(raw: bytes, request: Request) -> Step | Need | Done | Failed:
    """A child's frame in answer to `request`.

    Raises:
        WireError: anything in it is not what an uncompromised child would send.
    """
    kind, body = _kind_and_body(raw)
    match kind:
        case "Step":
            return _step(body, request.variants)
        case "Need":
            return Need(_whole(body.get("size_bytes"), 0, 2**48))
        case "Done":
            return _done(body, request)
        case "Failed":
            return Failed(_one_of(body.get("code"), DECODER_CODES))
        case _:
            raise WireError("an unknown kind of message")


def _kind_and_body(raw: bytes) -> tuple[str, Header]:
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise WireError("a header that is no JSON") from error
    match message:
        case dict() if len(message) == 1:
            kind, body = next(iter(message.items()))
            return str(kind), _object(body)
        case _:
            raise WireError("a header that is no message")


def _step(body: Header, variants: Sequence[Variant]) -> Step:
    names = {"decode", *(f"encode:{variant.name}" for variant in variants)}
    total = max_files(variants) + 1
    done = _whole(body.get("done"), 0, total)
    return Step(_one_of(body.get("step"), names), done, _whole(body.get("total"), total, total))


def _done(body: Header, request: Request) -> Done:
    original = _original(_object(body.get("original")), request)
    made = _results(body.get("results"), request.variants, original.frames)
    return Done(original, made, _placeholder(_object(body.get("placeholder"))), _warnings(body.get("warnings", [])))


def _results(items: object, variants: Sequence[Variant], frames: int) -> tuple[Result, ...]:
    if not isinstance(items, list) or len(cast("list[object]", items)) > max_files(variants):
        raise WireError("no list of results")
    by_name = {variant.name: variant for variant in variants}
    made = tuple(_result(_object(item), by_name, frames) for item in cast("list[object]", items))
    if by_name.keys() != {result.variant for result in made}:
        raise WireError("not a result for each variant")
    if len({(result.variant, result.set_width, result.set_width and result.format) for result in made}) < len(made):
        raise WireError("two results in one place")
    if sum(result.size_bytes for result in made) > MAX_RESULTS_BYTES:
        raise WireError("more bytes than a parent takes")
    return made


def _original(body: Header, request: Request) -> Original:
    side = 2**31
    try:
        told = facts.checked(body.get("facts"))
    except ValueError as error:
        raise WireError(f"facts: {error}") from error
    if told.position is not None and not request.keep_location:
        raise WireError("a position that nobody asked for")
    return Original(
        width=_whole(body.get("width"), 1, side),
        height=_whole(body.get("height"), 1, side),
        format=_one_of(body.get("format"), KNOWN.keys()),
        frames=_whole(body.get("frames"), 1, side),
        facts=told,
    )


def _result(body: Header, variants: Mapping[str, Variant], frames: int) -> Result:
    variant = variants[_one_of(body.get("variant"), variants.keys())]
    across, down = largest_box(variant)
    width = _whole(body.get("width"), 1, across or _MAX_SIDE)
    height = _whole(body.get("height"), 1, down or _MAX_SIDE)
    # no encoder makes a file larger than its raw pixels and some headers
    most = width * height * 4 * (frames if variant.frames == "all" else 1) + _ENCODER_OVERHEAD_BYTES
    size_bytes = _whole(body.get("size_bytes"), 1, min(most, MAX_RESULTS_BYTES))
    fmt = _one_of(body.get("format"), KNOWN.keys())
    quality = _optional(body.get("quality"), 1, 100)
    fits = _flag(body.get("fits", True))
    set_width = _optional(body.get("set_width"), width, width)
    if is_set(variant) != (set_width is not None):
        raise WireError("a set's result for a variant that is none, or the reverse")
    return Result(variant.name, width, height, fmt, size_bytes, quality, fits, set_width)


def _placeholder(body: Header) -> Placeholder:
    return Placeholder(_like(body.get("thumbhash"), _THUMBHASH), _like(body.get("color"), _COLOR))


def _warnings(codes: object) -> tuple[str, ...]:
    if not isinstance(codes, list) or len(cast("list[object]", codes)) > len(WARNINGS):
        raise WireError("no list of warnings")
    return tuple(_one_of(code, WARNINGS.keys()) for code in cast("list[object]", codes))


def _object(value: object) -> Header:
    if not isinstance(value, dict):
        raise WireError("a value where an object belongs")
    return value


def _whole(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise WireError("a number out of its bounds")
    return value


def _optional(value: object, low: int, high: int) -> int | None:
    return None if value is None else _whole(value, low, high)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise WireError("a value where true or false belongs")
    return value


def _one_of(value: object, known: Set[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise WireError("an unknown name")
    return value


def _like(value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise WireError("a text of another shape")
    return value
