"""The settings that the one-machine mode reads itself; its own servers give its processes the rest."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from platformdirs import user_data_path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from imgsvc.runtime import checks
from imgsvc.runtime.environment import PREFIX


class SettingsError(Exception):
    """A setting is wrong or missing; the message names it and the values that are allowed."""


def _users_folder() -> Path | None:
    try:
        return user_data_path("imgsvc")
    except RuntimeError:  # a user id without a name, and so without a home
        return None


class LocalSettings(BaseModel):
    """What the one-machine mode needs to know before its own servers give it the rest."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    host: Annotated[str, AfterValidator(checks.host)] = Field(
        "127.0.0.1", description="Address or host name that the API listens on; `::` listens on IPv4 too."
    )
    port: int = Field(8000, ge=1, le=65535, description="Port that the API listens on.")
    base_path: Annotated[str, AfterValidator(checks.base_path)] = Field(
        "",
        description="Path below which the service is published, such as /images. All its links begin with it.",
    )
    unix_socket: Annotated[Path | None, AfterValidator(checks.unix_socket)] = Field(
        None,
        description="Unix socket (mode 0660) to listen on instead of a port. Everyone who can open it counts as local.",
    )
    allow_open: bool = Field(
        False,
        description="Allow an API without keys to listen beyond loopback, where something else restricts access.",
    )
    allowed_hosts: Annotated[str, AfterValidator(checks.hosts)] = Field(
        "",
        description="Host names, separated by commas, at which an API without keys may be called, besides loopback and "
        "its own address; `*` allows any.",
    )
    api_keys: Annotated[SecretStr | None, AfterValidator(checks.keys)] = Field(
        None,
        description="Keys as name:key, separated by commas. Without keys, everyone who reaches the API may use it.",
    )
    owners_file: Path | None = Field(
        None,
        description="TOML file with a table for each owner: keys, weight, limits, presets, webhook secret, admin. "
        "SIGHUP has it read again.",
    )
    cors_origins: Annotated[str, AfterValidator(checks.origins)] = Field(
        "",
        description="Origins that may call the API from web pages, separated by commas, such as https://app.example.com.",
    )
    files: Literal["public", "signed"] | None = Field(
        None,
        description="Whether files are `public` or need `signed` URLs. Default: signed if there are keys.",
    )
    signing_secret: Annotated[SecretStr | None, AfterValidator(checks.signing_secrets)] = Field(
        None,
        description="Signs file URLs and upload tokens: 32 random characters or more, the same in all processes. To "
        "replace it, put the new one before it, separated by a comma: the first signs, all are accepted.",
    )
    data_dir: Path | None = Field(
        default_factory=_users_folder,
        description="Folder in which `python -m imgsvc` keeps everything. Default: the user's data folder.",
    )
    presets_file: Path | None = Field(None, description="TOML file of presets, read when the API starts and at SIGHUP.")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="Format of log lines: `text`, `json`, or `auto` (text on a terminal, JSON elsewhere)."
    )
    log_filenames: bool = Field(False, description="Log the names of clients' files and the paths of requests.")

    @model_validator(mode="after")
    def _open_means_loopback(self) -> Self:
        if not self.has_keys and not self.allow_open and not self.unix_socket and not checks.is_loopback(self.host):
            raise ValueError(
                f"{PREFIX}HOST={self.host} would open the service to the network, and it has no keys: "
                f"set {PREFIX}API_KEYS or {PREFIX}OWNERS_FILE; or set {PREFIX}HOST=127.0.0.1, or {PREFIX}ALLOW_OPEN=1 "
                f"where a proxy or firewall guards it"
            )
        return self

    @model_validator(mode="after")
    def _signed_means_secret(self) -> Self:
        if self.signs_files and self.signing_secret is None:
            why = (
                f"{PREFIX}FILES=signed"
                if self.files
                else f"{PREFIX}{'API_KEYS' if self.api_keys else 'OWNERS_FILE'} is set"
            )
            raise ValueError(
                f"{PREFIX}SIGNING_SECRET is not set, and file URLs are to be signed ({why}): set it to 32 random "
                f"characters or more, as `openssl rand -hex 32` writes, or set {PREFIX}FILES=public"
            )
        return self

    @property
    def url(self) -> str:
        """Where the API is called on this machine."""
        if self.unix_socket:
            return "http://localhost"
        return checks.url(self.called_host, self.port)

    @property
    def called_host(self) -> str:
        """The host that it is called by; what stands for all addresses can be listened on, and not called."""
        return "127.0.0.1" if self.host in {"::", "0.0.0.0"} else self.host  # noqa: S104 (it is left)

    @property
    def where(self) -> str:
        """Where the API listens."""
        if self.unix_socket:
            return f"unix:{self.unix_socket}"
        return checks.url(self.host, self.port)

    @property
    def data_folder(self) -> Path:
        """The folder of everything on this machine.

        Raises:
            SettingsError: there is none.
        """
        if self.data_dir is None:
            user = f"user {os.geteuid()} has neither a home folder nor {PREFIX}DATA_DIR"
            raise SettingsError(f"{user}: set {PREFIX}DATA_DIR to a folder that this user may write to")
        return self.data_dir

    @property
    def has_keys(self) -> bool:
        """Whether callers need a key."""
        return self.api_keys is not None or self.owners_file is not None

    @property
    def signs_files(self) -> bool:
        return self.files == "signed" if self.files else self.has_keys

    @property
    def signing_secrets(self) -> tuple[bytes, ...]:
        """The newest first; none where nothing can be signed."""
        return checks.split_secrets(self.signing_secret) if self.signing_secret else ()

    @property
    def file_secrets(self) -> tuple[bytes, ...]:
        """What file URLs are signed with, the newest first; none where files are public."""
        return self.signing_secrets if self.signs_files else ()
