"""The owners of uploads as a process knows them: what each may do, and how much, and which keys it has.

They come from `IMGSVC_API_KEYS` and the owners file, which may both name an owner; its keys add up. `OwnersTable` has
the newest ones, and can read them again while the process serves.
"""

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic, sleep

import orjson

from imgsvc.runtime import owners_file
from imgsvc.runtime.api_keys import Keys, first_key, parse_keys
from imgsvc.runtime.environment import PREFIX
from imgsvc.runtime.local_settings import LocalSettings, SettingsError
from imgsvc.runtime.owners_file import Owner, OwnersFileError
from imgsvc.runtime.settings import Settings

__all__ = ["Owner", "Owners", "OwnersTable", "any_key", "read_owners"]

log = logging.getLogger(__name__)

_READ_AGAIN_S = 2.0
"""For how long a file that cannot be read now is tried again."""

_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Owners:
    """Those that are not like every other, by name, and the keys of all. `warnings` are for the operator."""

    known: Mapping[str, Owner] = field(default_factory=dict[str, Owner])
    keys: Keys = field(default_factory=Keys)
    warnings: tuple[str, ...] = ()
    fingerprint: str = field(init=False, default="")
    """Stands for all weights and caps: equal where they are. Empty where no owner has its own."""

    def __post_init__(self) -> None:
        own = self.shares()
        text = hashlib.sha256(orjson.dumps(own)).hexdigest()[:16] if own else ""
        object.__setattr__(self, "fingerprint", text)

    def shares(self) -> list[tuple[str, float, int]]:
        """Name, weight and cap of each owner who has its own."""
        rows = sorted((owner.name, owner.weight, owner.max_running) for owner in self.known.values())
        return [row for row in rows if row != (row[0], Owner("").weight, Owner("").max_running)]

    def of(self, name: str) -> Owner:
        return self.known.get(name) or Owner(name)


class OwnersTable:
    """The owners of a running process. `current` is replaced as a whole: what is read of it once fits together."""

    def __init__(self, settings: LocalSettings, presets: Collection[str] | None = None) -> None:
        """`presets` are those that uploads may ask for; None in a process that needs neither them nor keys.

        Raises:
            SettingsError: with a line for each thing that is wrong with the owners file.
        """
        self._settings = settings
        self._presets = presets
        self.current = read_owners(settings, presets)
        self._warn()

    def reload(self, presets: Collection[str] | None = None) -> bool:
        """Reads the file again, with other presets if there are such. A wrong one changes nothing, and is logged.

        Blocks for up to two seconds where the file is away or being written. Returns whether it was read.
        """
        presets = self._presets if presets is None else presets
        try:
            owners = self._read_when_there(presets)
        except SettingsError as error:
            problems = "; ".join(str(error).split("\n"))
        else:
            self.current, self._presets = owners, presets
            keys = len(owners.keys.callers)
            log.info("owners are read again: %d in the file, %d keys in all", len(owners.known), keys)
            self._warn()
            return True
        log.error("the owners stay as they are: %s", problems)
        return False

    def _read_when_there(self, presets: Collection[str] | None) -> Owners:
        until = monotonic() + _READ_AGAIN_S
        while True:
            try:
                return read_owners(self._settings, presets)
            except SettingsError as error:
                if not _is_passing(error) or monotonic() > until:
                    raise
            sleep(_PAUSE_S)

    def _warn(self) -> None:
        for warning in self.current.warnings:
            log.warning("%s", warning)


def read_owners(settings: LocalSettings, presets: Collection[str] | None = None) -> Owners:
    """The owners of these settings; `presets` as for OwnersTable.

    Raises:
        SettingsError: with a line for each thing that is wrong with the owners file.
    """
    hashes = parse_keys(settings.api_keys.get_secret_value()) if settings.api_keys else {}
    file = settings.owners_file
    if file is None:
        return Owners(keys=Keys.of(hashes))
    largest = settings.max_upload_bytes if isinstance(settings, Settings) and presets is not None else 0
    try:
        found = owners_file.read(file, presets, largest)
        _check_keys(hashes, found.hashes, are_needed=presets is not None)
        if isinstance(settings, Settings):
            _check_secrets(settings.webhook_keys.service, found.owners.values())
    except OwnersFileError as error:
        raise SettingsError(
            "\n".join(f"{PREFIX}OWNERS_FILE is wrong: {file}: {problem}" for problem in error.problems)
        ) from error
    admins = {owner.name for owner in found.owners.values() if owner.admin}
    exposed = f"{file} has keys or secrets in plain, and every user of this machine may read it: chmod 640 {file}"
    return Owners(found.owners, Keys.of(hashes | found.hashes, admins), (exposed,) if found.is_exposed else ())


def any_key(settings: LocalSettings) -> str | None:
    """One of the API's keys, for what asks this service about itself; None where none is written as it is."""
    if settings.api_keys:
        return first_key(settings.api_keys.get_secret_value())
    try:
        return owners_file.read(settings.owners_file).plain_key if settings.owners_file else None
    except OwnersFileError:
        return None  # the API says so itself


def _check_keys(of_setting: Mapping[bytes, str], of_file: Mapping[bytes, str], *, are_needed: bool) -> None:
    for digest in of_setting.keys() & of_file.keys():
        if of_setting[digest] != of_file[digest]:
            raise OwnersFileError(
                f"a key of {of_file[digest]} is that of {of_setting[digest]} in {PREFIX}API_KEYS: give each its own"
            )
    if are_needed and not of_setting and not of_file:
        raise OwnersFileError(f"no owner has a key: give one keys or key_sha256, or set {PREFIX}API_KEYS too")


def _check_secrets(of_service: tuple[bytes, ...], owners: Iterable[Owner]) -> None:
    for owner in owners:
        if set(owner.webhook_secrets) & set(of_service):
            raise OwnersFileError(
                f"{owner.name}.webhook_secret is that of {PREFIX}WEBHOOK_SECRET, of which those of other owners are "
                f"derived: give the owner one of its own"
            )


def _is_passing(error: SettingsError) -> bool:
    return isinstance(error.__cause__, OwnersFileError) and error.__cause__.is_passing
