"""A file to load, a kind with a setting of every type, and the words of refusals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from petsage_grpc.checks import KINDS
from petsage_grpc.core.check import Check
from petsage_grpc.core.units import Duration, Size
from petsage_grpc.errors import SettingsError
from petsage_grpc.settings import Settings
from petsage_grpc.settings_load import load_settings

LISTEN = 'write it like "127.0.0.1:50051", "[::1]:50051" or "unix:/run/petsage.sock"'
NO_DURATION = 'is not a duration: write seconds, or "500ms", "10s", "2m"'
NO_DURATION_TEXT = 'is not a duration: write it like "500ms", "10s" or "1m30s"'
NO_SIZE = 'is not a size: write bytes, or "64MiB"'
NO_SIZE_TEXT = 'is not a size: write it like "64MiB", "1.5GB" or 4096'
NO_STRING = "is not a string: put it in quotes"
NO_LIST = "is not a list: put it in [ ]"
NO_TABLE = "is not a table: write its name in [ ] above its settings"
NO_SUCH = "no such setting; petsage-grpc checks lists them all"
NO_NAME = (
    "is no name for a check: write at most 63 letters, digits, '.', '_' and '-', a letter or digit"
    " first"
)
NAME_IT = "name a file that this user can read"
KIND_NAMES = ", ".join([*KINDS, "fussy"])
SECRET = "hunter2-hunter2"


@dataclass(kw_only=True)
class FussyCheck(Check):
    """A kind with a setting of every type, whose errors repeat what it was given."""

    outside: ClassVar[bool] = True

    url: str
    port: int = 0
    ratio: float = 0.5
    verify: bool = True
    pause: Duration | None = None
    most: Size = field(default=Size(0))
    hosts: tuple[str, ...] = ()
    codes: tuple[int, ...] = (200,)
    headers: Mapping[str, str] = field(default_factory=dict)
    asked: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if "bad" in self.url:
            raise ValueError(f"url: can not ask\n{self.url}")
        if self.url.startswith("worse"):
            raise ValueError(f"can not ask {self.url}")
        if "bad" in self.hosts:
            raise ValueError(f"hosts must not be {', '.join(self.hosts)}")
        if "Bad" in self.headers:
            raise ValueError(f"headers: {dict(self.headers)['Bad']} is bad")

    async def run(self) -> None:
        """Pass."""


@pytest.fixture(autouse=True)
def fussy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "fussy", f"{__name__}:{FussyCheck.__name__}")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file, named as somebody does who stands in its directory."""
    monkeypatch.chdir(tmp_path)
    return Path("petsage.toml")


def refusal(path: Path | None, environ: Mapping[str, str] | None = None, **overrides: Any) -> str:
    """What is said of settings that can not be loaded; always one line, and nothing behind it."""
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ=environ or {}, **overrides)
    assert caught.value.exit_code == 2
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    line = str(caught.value)
    assert line.isprintable()
    return line


def named(*cases: tuple[Any, ...]) -> list[Any]:
    """Parameters of a test, each of whose cases opens with its name."""
    return [pytest.param(*case[1:], id=case[0]) for case in cases]


def disk(text: str) -> str:
    return f'[checks.disk]\nkind = "disk"\n{text}\n'


def ask(text: str) -> str:
    return f'[checks.ask]\nkind = "fussy"\n{text}\n'


def checked(settings: Settings, name: str = "ask") -> FussyCheck:
    check = settings.checks[name].check
    assert isinstance(check, FussyCheck)
    return check
