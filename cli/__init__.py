"""The command line: one module a command; each parses, calls the library, and shows the result."""

import sys

from .app import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line. Exit codes: 0 done, 2 bad input, 3 infeasible, 4 run failed, 130 Ctrl-C."""
    try:
        app()
    except Exception as error:
        # Errors that are answers carry their exit code; anything else is a fault of ours.
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        print(f"isocost: {error}", file=sys.stderr)
        sys.exit(code)
