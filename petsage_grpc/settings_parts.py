"""What the settings say of a check or a feature, and how a setting is said to be wrong."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Self

from petsage_grpc.core.check import Check
from petsage_grpc.core.fold import LIVENESS
from petsage_grpc.core.passive import PassiveCheck
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import format_duration

__all__ = [
    "BadSettingError", "CheckSettings", "FeatureSettings", "did_you_mean", "dotted",
    "require_checks",
]  # fmt: skip

_CHECK_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def dotted(key: tuple[str, ...]) -> str:
    """Write the full path of a setting as TOML does: ``checks."orders.db".interval``."""
    import json  # noqa: PLC0415 -- only a mistake needs it

    return ".".join(
        part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part, ensure_ascii=False)
        for part in key
    )


class BadSettingError(ValueError):
    """A setting makes no sense.

    Args:
        text: what is wrong, and the mend, without the key.
        key: the full path of the setting.
        other: when two settings contradict each other, the same said of the other one.
    """

    def __init__(self, text: str, *key: str, other: Self | None = None) -> None:
        super().__init__(f"{dotted(key)}: {text}")
        self.text = text
        self.key = key
        self.other = other


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """One check: its kind, the check itself as its settings made it, and its policy."""

    kind: str
    check: Check
    policy: Policy

    @property
    def schedule(self) -> str:
        """When it is asked, in words."""
        if isinstance(self.check, PassiveCheck):
            return f"is heard of within {format_duration(self.check.max_silence)}, and"
        return f"every {format_duration(self.policy.interval)}"

    def refuse_nonsense(self, name: str, log_level: str) -> None:
        """Raise BadSettingError when it can not be a check of this name."""
        if not _CHECK_NAME.fullmatch(name):
            raise BadSettingError(
                "is no name for a check: write at most 63 letters, digits, '.', '_' and '-',"
                " a letter or digit first",
                "checks",
                name,
            )
        if LIVENESS in self.policy.gates and self.check.outside:
            raise BadSettingError(
                "a check that reaches outside can not gate liveness: it would restart every"
                " replica when the dependency dies",
                "checks",
                name,
                "gates",
            )
        if self.kind == "log" and log_level not in ("DEBUG", "INFO"):
            raise BadSettingError(
                f"{log_level} swallows the line that the check {name!r} writes at INFO:"
                " set it to INFO, or list checks without that one",
                "log_level",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSettings:
    """What the settings say of a feature."""

    message: str = field(
        default="", metadata={"help": "what its smoke test says when all is well; its own if empty"}
    )
    checks: tuple[str, ...] = field(
        default=(), metadata={"help": "checks of the settings that it depends on, besides its own"}
    )


def did_you_mean(name: str, known: Iterable[str], otherwise: str, prefix: str = "") -> str:
    """Name what is most like a name that is unknown; say something else when nothing is."""
    import difflib  # noqa: PLC0415 -- only a mistake needs it

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"did you mean {prefix}{close[0]}?" if close else otherwise


def require_checks(names: Collection[str], known: Collection[str], *key: str) -> None:
    """Raise BadSettingError when one of the names is no check's."""
    for name in names:
        if name not in known:
            there_are = ", ".join(known) or "none"
            raise BadSettingError(f"there is no check {name!r}; there are: {there_are}", *key)
