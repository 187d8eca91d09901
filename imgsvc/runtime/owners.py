"""Owners of uploads: what each may do, and how much."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Owner:
    """What an owner may do. `max_running` 0 means any number; limits that are None are the settings'."""

    name: str
    weight: float = 1.0
    max_running: int = 0
    rate_limit: int | None = None
    quota_bytes: int | None = None
    presets: frozenset[str] | None = None
    webhook_secrets: tuple[bytes, ...] = ()
    admin: bool = False


@dataclass(frozen=True, slots=True)
class Owners:
    """Those that are not like every other."""

    known: dict[str, Owner] = field(default_factory=dict[str, Owner])

    def of(self, name: str) -> Owner:
        return self.known.get(name) or Owner(name)
