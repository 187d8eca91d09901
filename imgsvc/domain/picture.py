"""The document of a responsive set: its files by format, and the `<picture>` element that lets a browser choose."""

from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from imgsvc.domain.documents import File, FileSet, SetSource
from imgsvc.domain.formats import AVIF, GIF, JPEG, JXL, PNG, WEBP
from imgsvc.domain.model import Placeholder, Variant

_SMALLEST_FIRST = (JXL.media_type, AVIF.media_type, WEBP.media_type)
"""A browser takes the first source that it can show; those of other formats come after these."""

_SAFEST_FIRST = (JPEG.media_type, PNG.media_type, GIF.media_type, WEBP.media_type, AVIF.media_type)
"""What is shown where sources are not understood is the first of these."""

_FALLBACK_PX = 1280
_SIZES = "100vw"


def file_set(files: Sequence[File], backdrop: str | None = None) -> FileSet:
    """The document of a set's files; `backdrop` is the colour shown until the image is loaded."""
    sources = _sources(files)
    shown = min(sources, key=lambda source: _rank(source["content_type"], _SAFEST_FIRST))
    # what asks for a set by one URL, such as a feed or a link's preview, needs neither the largest nor the smallest
    fallback = max(
        (file for file in shown["files"] if file["width"] <= _FALLBACK_PX),
        key=lambda file: file["width"],
        default=shown["files"][0],
    )
    return {"sources": sources, "fallback": fallback, "html": _html(sources, shown, fallback, backdrop)}


def backdrop(variant: Variant | None, placeholder: Placeholder | None) -> str | None:
    """The image's main colour, unless it would shine through: None for what is transparent or may be."""
    if placeholder is None or variant is None:
        return None
    has_alpha = b64decode(placeholder.thumbhash[:4])[2] & 0x80
    is_clear = has_alpha or variant.fit == "contain" or variant.padding or variant.page or variant.frame
    return None if is_clear and variant.background is None else placeholder.color


def main_file(variant: File | FileSet) -> File:
    """The file that stands for a variant where one has to."""
    return variant["fallback"] if "sources" in variant else variant


def all_files(variants: Mapping[str, File | FileSet]) -> Iterator[tuple[str, File]]:
    """Every file with a name: that of its variant, with width and format if it is of a set."""
    for name, variant in variants.items():
        if "sources" in variant:
            for source in variant["sources"]:
                kind = source["content_type"].rpartition("/")[2]
                yield from ((f"{name}-{file['width']}.{kind}", file) for file in source["files"])
        else:
            yield name, variant


def _sources(files: Iterable[File]) -> list[SetSource]:
    by_type: dict[str, list[File]] = {}
    for file in sorted(files, key=lambda file: file["width"]):
        by_type.setdefault(file["content_type"], []).append(file)
    return [
        {
            "content_type": kind,
            "srcset": ", ".join(f"{file['url']} {file['width']}w" for file in by_type[kind]),
            "files": by_type[kind],
        }
        for kind in sorted(by_type, key=lambda kind: _rank(kind, _SMALLEST_FIRST))
    ]


def _rank(content_type: str, order: Sequence[str]) -> int:
    return order.index(content_type) if content_type in order else len(order)


def _html(sources: Sequence[SetSource], shown: SetSource, fallback: File, backdrop: str | None) -> str:
    largest = shown["files"][-1]
    style = "max-width:100%;height:auto" + (f";background:{backdrop}" if backdrop else "")
    image = _tag(
        "img",
        src=fallback["url"],
        srcset=shown["srcset"],
        sizes=_SIZES,
        width=str(largest["width"]),
        height=str(largest["height"]),
        alt="",
        loading="lazy",
        decoding="async",
        style=style,
    )
    others = (
        _tag("source", type=source["content_type"], srcset=source["srcset"], sizes=_SIZES)
        for source in sources
        if source is not shown
    )
    return "\n".join(("<picture>", *(f"  {tag}" for tag in (*others, image)), "</picture>"))


def _tag(name: str, **attributes: str) -> str:
    return " ".join((f"<{name}", *(f'{key}="{escape(value)}"' for key, value in attributes.items()))) + ">"
