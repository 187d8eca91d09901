"""One call, described."""

from collections.abc import Mapping, Sequence

from imgsvc.api.openapi import problems
from imgsvc.api.openapi.parts import Json, parameter

KEY_OR_OPEN: list[Json] = [{"key": []}, {}]
"""The empty one is a service without keys, which anybody may call who reaches it."""

_BY_TOKEN: list[Json] = [{"token": []}, {"token_in_url": []}]


def operation(
    tag: str,
    operation_id: str,
    summary: str,
    description: str,
    *,
    answers: Mapping[int, Json],
    refusals: Sequence[str] = (),
    parameters: Sequence[Json] = (),
    body: Json | None = None,
    needs_key: bool = True,
    by_token: bool = False,
    is_head: bool = False,
) -> Json:
    """One call. `refusals` are the codes that it may answer with, besides those that any call may.

    An upload token opens it `by_token`.
    """
    of_credentials = (["unauthorized"] if needs_key else []) + (["token_expired"] if by_token else [])
    codes = [*problems.ANY_CALL, *of_credentials, *refusals]
    responses = {str(status): described for status, described in answers.items()}
    for status, mine in problems.by_status(codes).items():
        if status in responses:
            responses[status] = _either(responses[status], problems.described(mine))
        else:
            responses[status] = problems.described(mine, has_body=False) if is_head else problems.answer_with(mine)
    return {
        "tags": [tag],
        "operationId": operation_id,
        "summary": summary,
        "description": description,
        "parameters": [*parameters, parameter("X-Request-Id")],
        **({"requestBody": body} if body else {}),
        "responses": dict(sorted(responses.items())),
        "security": [*KEY_OR_OPEN, *(_BY_TOKEN if by_token else [])] if needs_key else [],
    }


def _either(own: Json, refused: Json) -> Json:
    """An answer of the call's own, or a problem document: the media type distinguishes them."""
    return {
        "description": f"{own['description']} Or {refused['description']}",
        "headers": own["headers"] | refused["headers"],
        "content": own["content"] | refused["content"],
    }
