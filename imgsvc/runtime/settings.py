"""Every setting of imgsvc, read from `IMGSVC_*` environment variables and checked before anything starts."""

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    FilePath,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    model_validator,
)

from imgsvc.domain.file_urls import FileUrls
from imgsvc.domain.model import Isolation, Limits, OverFrames, Truncated
from imgsvc.domain.s3_names import bucket_name, endpoint_url, key_prefix, region_name
from imgsvc.runtime import checks
from imgsvc.runtime.api_keys import Proxies, parse_proxies
from imgsvc.runtime.cores import available_cores
from imgsvc.runtime.environment import PREFIX
from imgsvc.runtime.local_settings import LocalSettings
from imgsvc.runtime.webhook_secrets import WebhookKeys

MIB = 1024 * 1024


class Settings(LocalSettings):
    """The settings of one API or worker process."""

    redis_url: Annotated[str, AfterValidator(checks.redis_url)] = Field(
        description="Redis ≥ 6.2 or Valkey for jobs, such as redis://localhost:6379/0. Must not evict (noeviction)."
    )
    redis_timeout_s: PositiveFloat = Field(1.5, description="Deadline in seconds for one Redis call.")
    redis_prefix: str = Field(
        "imgsvc",
        pattern=r"^[A-Za-z0-9:_-]{1,64}$",
        description="Beginning of all keys and channels in Redis, the same in all processes of a service.",
    )

    s3_bucket: Annotated[str, AfterValidator(bucket_name)] = Field(
        "imgsvc", description="Bucket; created if it is missing."
    )
    s3_prefix: Annotated[str, AfterValidator(key_prefix)] = Field(
        "",
        description="Beginning of all keys in the bucket, such as team/imgsvc, so that several services can share it.",
    )
    s3_endpoint_url: Annotated[str | None, AfterValidator(endpoint_url)] = Field(
        None, description="URL of the S3 server, such as http://localhost:9000. Default: AWS."
    )
    s3_region: Annotated[str, AfterValidator(region_name)] = Field(
        "us-east-1", description="Region for signing requests and for creating the bucket."
    )
    s3_addressing: Literal["path", "virtual"] | None = Field(
        None,
        description="Whether the bucket's name is in the `path` or in the host name (`virtual`). Default: path if "
        "`s3_endpoint_url` is set, otherwise as AWS requires.",
    )
    s3_ca_file: FilePath | None = Field(
        None, description="PEM file with the certificate authorities for the S3 server. Default: the public ones."
    )
    s3_proxy_url: Annotated[SecretStr | None, AfterValidator(checks.proxy_url)] = Field(
        None,
        description="HTTP proxy for S3. Default: none if `s3_endpoint_url` is set, otherwise `https_proxy`.",
    )
    s3_delete_versions: bool = Field(
        False, description="Delete all versions of a file if the bucket keeps versions. Otherwise old versions remain."
    )
    s3_access_key_id: SecretStr | None = Field(
        None, description="Access key id. Default: the machine's own AWS credentials."
    )
    s3_secret_access_key: SecretStr | None = Field(None, description="Secret access key.")
    s3_timeout_s: PositiveFloat = Field(4.0, description="Deadline in seconds for one S3 call or one 8 MiB part.")

    signed_url_ttl_s: int = Field(
        3_600, ge=2, description="Longest validity in seconds of a signed file URL. The shortest is half of it."
    )
    rate_limit: NonNegativeInt = Field(
        0,
        description="Uploads and retries per minute for each owner, or that many at once. 0 means no limit.",
    )
    quota_bytes: NonNegativeInt = Field(
        0,
        description="Bytes per day for each owner, or that many at once. 0 means no limit. An upload counts as at least"
        " the size of its record and 4 KiB.",
    )

    max_upload_bytes: PositiveInt = Field(64 * MIB, description="Largest request body in bytes.")
    max_header_bytes: PositiveInt = Field(32 * 1024, description="Largest size in bytes of a request's headers.")
    max_connections: PositiveInt = Field(2_000, description="Largest number of open connections of an API process.")
    client_share: float = Field(
        0.75,
        gt=0,
        le=1,
        description="Largest share of the connections for one client address, and of the memory for uploads for one "
        "client address or one owner.",
    )
    trusted_proxies: Annotated[str, AfterValidator(checks.proxies)] = Field(
        "",
        description="Addresses or networks of proxies, separated by commas, whose X-Forwarded-For is trusted; `unix` "
        "trusts the Unix socket.",
    )
    keep_alive_s: PositiveInt = Field(
        75, description="Seconds that a connection may be idle between requests. A proxy in front needs less."
    )
    header_timeout_s: PositiveFloat = Field(8.0, description="Deadline in seconds for receiving a request's headers.")
    body_idle_timeout_s: PositiveFloat = Field(20.0, description="Longest pause in seconds within a request body.")
    body_grace_s: PositiveFloat = Field(30.0, description="Seconds before `min_body_rate` applies to a request body.")
    min_body_rate: PositiveInt = Field(
        1024, description="Lowest average rate of a request body after `body_grace_s`, in bytes per second."
    )
    send_idle_timeout_s: PositiveFloat = Field(
        30.0,
        description="Seconds after which a client that reads nothing of its answer, or less than `min_send_rate`, is "
        "disconnected.",
    )
    min_send_rate: PositiveInt = Field(1024, description="Lowest rate of reading an answer, in bytes per second.")
    upload_memory_bytes: PositiveInt = Field(
        640 * MIB, description="Memory in bytes for all uploads that are being received. Further uploads are refused."
    )
    max_queued: PositiveInt = Field(10_000, description="Largest number of waiting jobs. Further uploads are refused.")
    max_pixels: PositiveInt = Field(50_000_000, description="Largest image in pixels.")
    max_side: PositiveInt = Field(16_384, description="Longest side of an image in pixels.")
    max_frames: PositiveInt = Field(300, description="Most frames of an animation if all are requested.")
    frames_over: OverFrames = Field("refuse", description="`refuse` an animation with more frames, or `cut` it.")
    max_animation_pixels: PositiveInt = Field(200_000_000, description="Most pixels of all its frames together.")
    truncated: Truncated = Field("accept", description="`accept` or `refuse` files that lack up to 45 % of the image.")
    auto_quality: Annotated[float, Field(ge=30, le=95)] = Field(
        80.0, description="Score of variants of quality `auto`: 90 is like the original, 70 good (SSIMULACRA2's scale)."
    )

    lease_s: PositiveFloat = Field(4.0, description="Seconds until another worker gets the job of a silent worker.")
    drain_s: PositiveFloat = Field(25.0, description="Seconds that a stopping process waits for its work.")
    drain_delay_s: NonNegativeFloat = Field(
        1.0, description="Seconds that a stopping API answers 503 at /readyz before it stops listening."
    )

    events_comment_s: PositiveFloat = Field(
        15.0,
        description="Seconds without an event after which an event stream sends a comment to keep the connection open.",
    )

    record_ttl_s: PositiveInt = Field(7 * 86_400, description="Seconds that a record is kept after the end of its job.")
    files_ttl_s: NonNegativeInt = Field(
        0, description="Seconds that an upload and its files are kept if it has no `expires_in`. 0 means for ever."
    )
    replaced_ttl_s: PositiveInt = Field(
        86_400, description="Seconds that files are still served after they were replaced by a derivation."
    )
    tombstone_ttl_s: PositiveInt = Field(3_600, description="Seconds during which DELETE may be repeated.")
    reservation_ttl_s: PositiveFloat = Field(
        30.0, description="Seconds after which an upload is removed if its API process died."
    )
    resumable_ttl_s: PositiveInt = Field(
        86_400, description="Seconds after which a resumable upload that is not complete is removed."
    )
    max_resumable: PositiveInt = Field(
        10_000, description="Largest number of resumable uploads of one owner that are not complete."
    )
    sweep_interval_s: PositiveFloat = Field(5.0, description="Seconds between two runs of the sweeper.")

    decoders: int = Field(
        0,
        ge=0,
        le=256,
        description="Images that a worker decodes at once. 0 means one per core, or per core of its CPU quota.",
    )
    decode_timeout_s: PositiveFloat = Field(20.0, description="CPU seconds that a decoder may use for one image.")
    isolation: Isolation = Field(
        "owner",
        description="Use a decoder process for one `image`, images of one `owner`, or a `batch` of any images.",
    )
    decoder_memory_bytes: PositiveInt = Field(1024 * MIB, description="Memory in bytes that a decoder may use.")
    total_decoder_memory_bytes: PositiveInt = Field(
        1024 * MIB, description="Memory in bytes for all images that a worker is decoding. Further images wait."
    )
    sandbox: Literal["require", "auto", "off"] = Field(
        "auto",
        description="Sandbox of the decoders: `require` all of it, `auto` for what the kernel supports, or `off`.",
    )

    outbound_allow: Annotated[str, AfterValidator(checks.destinations)] = Field(
        "",
        description="Private hosts, host:port or networks, separated by commas, that webhooks and fetches may reach.",
    )
    outbound_deny: Annotated[str, AfterValidator(checks.destinations)] = Field(
        "",
        description="Hosts, host:port or networks, separated by commas, that webhooks and fetches may not reach, such "
        "as a public address of this machine that it does not know itself.",
    )

    fetch_timeout_s: PositiveFloat = Field(
        60.0, description="Deadline in seconds for fetching an image from a URL, including redirects."
    )
    fetches: int = Field(64, ge=1, le=1000, description="Images that a worker fetches from URLs at once.")
    fetch_memory_bytes: PositiveInt = Field(
        256 * MIB,
        description="Memory in bytes for all larger images that a worker is fetching from URLs. Further ones wait.",
    )
    webhook_secret: Annotated[SecretStr | None, AfterValidator(checks.webhook_secrets)] = Field(
        None,
        description="Signs webhooks (Standard Webhooks), such as whsec_MfKQ9r8GKYqr…; several, separated by commas, "
        "newest first. With keys, each owner has secrets derived from it. Unset, webhooks are refused.",
    )

    gate_url: Annotated[str | None, AfterValidator(checks.gate_url)] = Field(
        None,
        description="URL that is asked about each image before anything made of it can be seen. Needs a "
        "`webhook_secret`, which signs what it is sent.",
    )
    gate_fails: Literal["closed", "open"] = Field(
        "closed",
        description="What becomes of an image if the gate cannot be asked within `gate_deadline_s`: its job fails "
        "(`closed`), or it passes (`open`).",
    )
    gate_deadline_s: PositiveFloat = Field(
        3_600.0, description="Seconds for which the gate is asked again while it does not answer."
    )

    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of a worker's /metrics; 0 means none. The API has /metrics."
    )
    metrics_host: str = Field("127.0.0.1", description="Address of a worker's /metrics, which requires no credentials.")

    @model_validator(mode="after")
    def _credentials_come_in_pairs(self) -> Self:
        if (self.s3_access_key_id is None) != (self.s3_secret_access_key is None):
            missing = "S3_SECRET_ACCESS_KEY" if self.s3_secret_access_key is None else "S3_ACCESS_KEY_ID"
            raise ValueError(f"{PREFIX}{missing} is not set: set both S3 credentials, or neither")
        return self

    @model_validator(mode="after")
    def _a_gate_means_secret(self) -> Self:
        if self.gate_url and self.webhook_secret is None:
            raise ValueError(
                f"{PREFIX}WEBHOOK_SECRET is not set, and {PREFIX}GATE_URL is: set it, so that what the gate is sent "
                "can be signed"
            )
        return self

    @model_validator(mode="after")
    def _a_quota_lets_the_largest_upload_in(self) -> Self:
        if 0 < self.quota_bytes < self.max_upload_bytes:
            raise ValueError(
                f"{PREFIX}QUOTA_BYTES={self.quota_bytes} is less than one upload may have: "
                f"set {PREFIX}MAX_UPLOAD_BYTES to no more than it"
            )
        return self

    @property
    def webhook_keys(self) -> WebhookKeys:
        """What webhooks are signed with."""
        return WebhookKeys(checks.webhook_keys(self.webhook_secret) if self.webhook_secret else ())

    @property
    def known_proxies(self) -> Proxies:
        return parse_proxies(self.trusted_proxies)

    @property
    def file_urls(self) -> FileUrls:
        secret = self.file_secrets[0] if self.signs_files else None
        return FileUrls(self.base_path, secret, self.signed_url_ttl_s)

    @property
    def limits(self) -> Limits:
        return Limits(
            max_pixels=self.max_pixels,
            max_side=self.max_side,
            max_frames=self.max_frames,
            max_animation_pixels=self.max_animation_pixels,
            frames_over=self.frames_over,
            truncated=self.truncated,
            max_bytes=self.decoder_memory_bytes,
            auto_quality=self.auto_quality,
        )

    @property
    def decoder_processes(self) -> int:
        return self.decoders or available_cores()
