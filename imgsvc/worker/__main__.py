"""`python -m imgsvc.worker`."""

from imgsvc.runtime.init import stay_behind
from imgsvc.runtime.streams import make_usable
from imgsvc.runtime.tls_key_log import drop_unwritable


def main() -> None:
    stay_behind()
    make_usable()
    drop_unwritable()
    from imgsvc.worker.run import main as run  # takes long, and a signal may arrive meanwhile

    run()


if __name__ == "__main__":
    main()
