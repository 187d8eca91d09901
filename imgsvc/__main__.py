"""`python -m imgsvc`, and the command `imgsvc`."""

from imgsvc.runtime.bootstrap import bootstrap


def main() -> None:
    bootstrap()
    from imgsvc.cli.main import main as run  # takes long

    run()


if __name__ == "__main__":
    main()
