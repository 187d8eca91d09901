"""`python -m imgsvc`, and the command `imgsvc`."""

from imgsvc.runtime.init import stay_behind
from imgsvc.runtime.streams import make_usable
from imgsvc.runtime.tls_key_log import drop_unwritable


def main() -> None:
    stay_behind()
    make_usable()
    drop_unwritable()
    from imgsvc.cli.main import main as run  # which takes its time, and a signal may come meanwhile

    run()


if __name__ == "__main__":
    main()
