"""How every command of the pipeline runs."""

import sys
from collections.abc import Callable

from workflow_scripts.lib.environment import end_with_run
from workflow_scripts.lib.errors import UserError


def run_command(main: Callable[[], None]) -> None:
    """Run a command's `main`; a UserError ends it with its sentence and exit code 1."""
    end_with_run()
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
