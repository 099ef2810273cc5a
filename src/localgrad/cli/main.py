"""The entry point of `localgrad`. The process is prepared first, so that even a command that still loads ends well."""

import sys

from localgrad.cli.process import leave, prepare_process, settle


def main() -> None:
    """Run the command line."""
    prepare_process()
    try:
        from localgrad.cli.commands import app

        app()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    except KeyboardInterrupt as interruption:
        settle()
        print(f"error: {interruption}", file=sys.stderr)
        status = getattr(interruption, "status", 130)
    leave(status)


if __name__ == "__main__":
    main()
