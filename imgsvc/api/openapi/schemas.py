"""The documents that clients send. What other rooms know of them is taken from there."""

from collections.abc import Collection
from typing import Any

from imgsvc.api.openapi import examples
from imgsvc.api.openapi.admin import bulk_schema
from imgsvc.api.openapi.documents import documents
from imgsvc.api.openapi.parts import Json, schema
from imgsvc.api.receive.by_token import FIXABLE
from imgsvc.api.receive.tokens import TERMS
from imgsvc.domain.options import EXCLUSIVE, FORM_FIELDS, OPTIONS
from imgsvc.domain.presets import DEFAULT
from imgsvc.domain.presets import schema as variants_schema


def _object(description: str, properties: Json, *, optional: tuple[str, ...] = (), **more: Any) -> Json:
    """Its members are all there but those that are `optional`."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "description": description, "properties": properties, "required": required, **more}


def _text(description: str, **more: Any) -> Json:
    return {"type": "string", "description": description, **more}


_URL = dict(OPTIONS["webhook_url"].schema)
_NAMED = {"preset": schema("Preset"), "variants": schema("Variants")}

OPTION_SCHEMAS: Json = {
    name: {**_NAMED.get(name, option.schema), "description": option.words} for name, option in OPTIONS.items()
}


def schemas(presets: Collection[str]) -> Json:
    return _inputs(presets) | documents()


def _inputs(presets: Collection[str]) -> Json:
    in_form = {name: kind for name, kind in OPTION_SCHEMAS.items() if name in FORM_FIELDS}
    variants = variants_schema()
    variant = variants["additionalProperties"]
    variant |= {
        "description": "One output image. A field that is null counts as left out.",
        "examples": [examples.VARIANT],
    }
    return {
        "Variant": variant,
        "Variants": variants
        | {
            "description": OPTIONS["variants"].words,
            "additionalProperties": schema("Variant"),
            "examples": [{"card": examples.VARIANT}],
        },
        "Preset": _text(
            "A named set of variants; `GET /presets` has them in full.", enum=list(presets), default=DEFAULT
        ),
        "Change": _object(
            "What can be changed of an upload.",
            {"focus": {"oneOf": [OPTION_SCHEMAS["focus"], {"type": "null", "description": "None any more."}]}},
            additionalProperties=False,
            examples=[{"focus": {"x": 0.31, "y": 0.4}}],
        ),
        "Derive": _object(
            "Variants to make of a stored original: those of a preset, or these.",
            {
                **{name: OPTION_SCHEMAS[name] for name in EXCLUSIVE},
                "only": {
                    "type": "array",
                    "description": "Names of those to make; by default all of them.",
                    "items": {"type": "string"},
                    "minItems": 1,
                },
            },
            optional=(*EXCLUSIVE, "only"),
            oneOf=[{"required": [name]} for name in EXCLUSIVE],
            additionalProperties=False,
            examples=[{"preset": "default", "only": ["thumbnail"]}],
        ),
        "Terms": _object(
            "What an upload token allows: options that the upload will have, and limits.",
            {
                **{name: OPTION_SCHEMAS[name] for name in FIXABLE},
                **{name: {**rule.schema, "description": words} for name, (rule, words) in TERMS.items()},
            },
            optional=(*FIXABLE, *TERMS),
            additionalProperties=False,
            examples=[examples.TERMS],
        ),
        "Bulk": bulk_schema(),
        "UploadForm": _object(
            "A form with one file; its fields may stand before or after it.",
            {"file": {"description": "The image."}, **in_form},
            optional=tuple(in_form),
            additionalProperties=False,
        ),
        "UploadUrl": _object(
            "An image to be fetched.",
            {
                "url": _URL | {"description": "Where the image is, on a host that can be reached from the internet."},
                **OPTION_SCHEMAS,
            },
            optional=tuple(OPTION_SCHEMAS),
            additionalProperties=False,
            examples=[examples.UPLOAD_URL],
        ),
    }
