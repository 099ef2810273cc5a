"""The command line. Each command checks its words, calls the library, and prints; see `localgrad.commands`."""

from localgrad.commands import analyze, basin, derive, reproduce, train  # noqa: F401  (each adds itself to the application)
from localgrad.commands.base import app


def main() -> None:
    """The entry point of `localgrad`."""
    app()


if __name__ == "__main__":
    main()
