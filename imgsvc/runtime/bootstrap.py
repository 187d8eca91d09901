"""The first steps of a process, before it imports what takes long: a signal may arrive meanwhile."""

from imgsvc.runtime.init import stay_behind
from imgsvc.runtime.streams import make_usable
from imgsvc.runtime.tls_key_log import drop_unwritable


def bootstrap() -> None:
    stay_behind()
    make_usable()
    drop_unwritable()
