"""The errors that end a command, split by who must act, each with its exit code."""

from typing import ClassVar

__all__ = ["BindError", "PackageError", "PetsageError", "PlaneError", "SettingsError"]


class PetsageError(Exception):
    """An error that the user can mend; its text is one line that says how."""

    exit_code: ClassVar[int] = 1


class SettingsError(PetsageError):
    """A setting is wrong. The text names the file, the key and the mend."""

    exit_code = 2


class BindError(PetsageError):
    """An address can not be listened on. The text names it."""

    exit_code = 3


class PackageError(PetsageError):
    """A package that brings a kind of check or a feature is wrong. The text names all three."""

    exit_code = 2


class PlaneError(PetsageError):
    """A plane is used in a way that can not work, as before its start. The text names the mend."""
