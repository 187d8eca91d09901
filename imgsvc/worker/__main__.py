"""`python -m imgsvc.worker`."""

from imgsvc.runtime.bootstrap import bootstrap


def main() -> None:
    bootstrap()
    from imgsvc.worker.run import main as run  # takes long

    run()


if __name__ == "__main__":
    main()
