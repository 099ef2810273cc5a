"""The command line. Each command checks its words, calls the library, and prints; one file a command."""

from localgrad.cli import analyze, basin, derive, reproduce, train  # noqa: F401  (each adds itself to the application)
from localgrad.cli.base import app
from localgrad.cli.process import leave, prepare_process


def main() -> None:
    """The entry point of `localgrad`."""
    prepare_process()
    try:
        app()
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else int(bool(end.code)))


if __name__ == "__main__":
    main()
