"""The argument parser of the verbs: one clear line and the verb's own exit code for a mistake."""

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

from petsage_grpc.core.text import printable

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = ["Parser"]

_WIDTH = 80


class Parser(argparse.ArgumentParser):
    """An argument parser that knows no abbreviations and prints no usage on an error.

    Args:
        verb: the verb that it is for.
        description: what the verb does.
        bad_usage: exit code for a mistake on the command line.
        epilog: what stands at the end of the help, as it is.
    """

    def __init__(self, verb: str, description: str, *, bad_usage: int, epilog: str = "") -> None:
        super().__init__(
            prog=f"petsage-grpc {verb}",
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
                prog, width=_WIDTH, max_help_position=24
            ),
        )
        self._bad_usage = bad_usage

    def _print_message(self, message: str, file: "SupportsWrite[str] | None" = None) -> None:
        (file or sys.stderr).write(message)  # argparse would not say that it can not be written

    def error(self, message: str) -> NoReturn:
        """End with one line that says what is wrong."""
        sys.stderr.write(f"{self.prog}: {printable(message)}; {self.prog} --help says more\n")
        sys.exit(self._bad_usage)
