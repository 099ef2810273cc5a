"""The commands. Each checks its words, calls the library, and prints; one file a command."""

from localgrad.cli import analyze, basin, derive, explore, reproduce, show, sweep, train  # noqa: F401  (each adds itself to the application)
from localgrad.cli.base import app as app
