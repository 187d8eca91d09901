"""The document that lists what an upload can name: presets and overlays."""

from typing import Annotated, Any

from typing_extensions import TypedDict

from imgsvc.domain.described import Described
from imgsvc.domain.formats import FORMATS
from imgsvc.domain.overlays import MAX_FILE_BYTES, MAX_OVERLAYS
from imgsvc.domain.presets import PRESETS, document

_SHA256 = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"


class OverlayFile(TypedDict):
    """The file that the name of an overlay stands for now."""

    sha256: Annotated[str, Described(example=_SHA256, pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Described(example=4096, minimum=1, maximum=MAX_FILE_BYTES)]
    content_type: Annotated[str, Described(example="image/png", enum=[kind.media_type for kind in FORMATS.values()])]


class Presets(TypedDict):
    """The presets that an upload can name, and the overlays that its variants can."""

    presets: Annotated[
        dict[str, dict[str, dict[str, Any]]],
        Described(
            "Each preset's variants, in full.",
            {name: {variant.name: document(variant) for variant in preset} for name, preset in PRESETS.items()},
            additionalProperties={"$ref": "#/components/schemas/Variants"},
        ),
    ]
    overlays: Annotated[
        dict[str, OverlayFile],
        Described(
            "What the field `overlay` of a variant can name.",
            {"logo": {"sha256": _SHA256, "bytes": 4096, "content_type": "image/png"}},
            maxProperties=MAX_OVERLAYS,
        ),
    ]
