"""Errors whose message is meant for the user: a sentence, not a traceback."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Bad input. The message names the file and key, what was found, and what to do."""


def run_command(main: Callable[[], None]) -> None:
    """Run a command's `main`; a UserError ends it with its sentence and exit code 1."""
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
