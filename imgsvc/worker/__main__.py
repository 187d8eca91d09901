"""`python -m imgsvc.worker`."""

from imgsvc.init import stay_behind


def main() -> None:
    stay_behind()
    from imgsvc.worker.run import main as run  # which takes its time, and a signal may come meanwhile

    run()


if __name__ == "__main__":
    main()
