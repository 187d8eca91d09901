"""`python -m imgsvc`, and the command `imgsvc`."""

from imgsvc.init import stay_behind
from imgsvc.streams import make_usable


def main() -> None:
    stay_behind()
    make_usable()
    from imgsvc.cli import main as run  # which takes its time, and a signal may come meanwhile

    run()


if __name__ == "__main__":
    main()
