"""The entry point of `unlearnbench` and `python -m unlearnbench`: it can be stopped before the command line is imported."""

import sys

from unlearnbench.system import stop_signals


def main() -> None:
    """Import the command line and run it."""
    try:
        with stop_signals.heeded():
            from unlearnbench import cli
    except stop_signals.StopRequested as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    cli.main()


if __name__ == "__main__":
    main()
