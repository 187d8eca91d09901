"""`imgsvc webhook-secret`: prints what the receivers of an owner's webhooks verify them with."""

import sys

from imgsvc.cli.parser import FAILED, SUCCEEDED, USAGE
from imgsvc.runtime.api_keys import is_owner_name
from imgsvc.runtime.environment import PREFIX
from imgsvc.runtime.loading import load
from imgsvc.runtime.local_settings import SettingsError
from imgsvc.runtime.owners import read_owners
from imgsvc.runtime.settings import Settings
from imgsvc.runtime.webhook_secrets import secret_of


def webhook_secret(owner: str) -> int:
    """Prints the secrets of an owner, one a line, the newest first. Returns the exit code."""
    if not is_owner_name(owner):
        return _fail(USAGE, "an owner's name has 1 to 40 of a-z, 0-9, _ and -, as in its key")
    try:
        settings = load(Settings, redis_url="redis://localhost")  # which is not asked
        own = read_owners(settings).of(owner).webhook_secrets
    except SettingsError as error:
        return _fail(FAILED, str(error))
    keys = settings.webhook_keys.of(owner, own)
    if not keys:
        return _fail(FAILED, f"{PREFIX}WEBHOOK_SECRET is not set: set it as for the workers")
    print("\n".join(map(secret_of, keys)))  # noqa: T201 (output for the user)
    return SUCCEEDED


def _fail(code: int, reason: str) -> int:
    print(f"imgsvc: {reason}", file=sys.stderr)  # noqa: T201
    return code
