"""The command line: one module a command; each parses, calls the library, and shows the result."""

import os
import sys

EXIT_INTERRUPTED = 130
EXIT_PIPE = 141  # as a shell says of a program that SIGPIPE ended


def main() -> None:
    """Run the command line. Exit codes: 0 done, 2 bad input, 3 infeasible, 4 run failed, 130 Ctrl-C."""
    _open_what_is_closed()
    try:
        from .app import app  # here, for Ctrl-C may come while it is read

        app(prog_name="isocost")
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # Whoever read what we print has enough. Python would complain again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_PIPE)
    except Exception as error:
        # Errors that are answers carry their exit code; anything else is a fault of ours.
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        print(f"isocost: {error}", file=sys.stderr)
        sys.exit(code)
    finally:
        # CPython keeps in mind a KeyboardInterrupt that left code given as a string, such as
        # dataclasses run on import: `python -m` then ends by SIGINT, whatever the exit code.
        # Running another string clears that.
        exec("")  # noqa: S102


def _open_what_is_closed() -> None:
    """Give standard streams that our caller closed (``>&-``) a place to go: nowhere."""
    for number, mode in ((0, "r"), (1, "w"), (2, "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
            assert opened == number
            stream = open(opened, mode, encoding="utf-8")  # noqa: SIM115  it lives as long as we
            setattr(sys, ("stdin", "stdout", "stderr")[number], stream)
