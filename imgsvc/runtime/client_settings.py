"""The settings of the commands that call a service."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from imgsvc.runtime import checks


class ClientSettings(BaseModel):
    """What the commands that talk to a service want to know."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    server: Annotated[str, AfterValidator(checks.http_url)] = Field(
        "http://127.0.0.1:8000",
        description="Address of the service that `imgsvc upload` and the other client commands call.",
    )
    key: Annotated[SecretStr | None, AfterValidator(checks.header)] = Field(
        None, description="API key of the client commands."
    )
