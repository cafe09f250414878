"""Tries every target for as long as is wanted: `make fuzz`.

Each runs in a process of its own, as many at once as there are cores. With atheris an input that
reaches new code breeds others; without it hypothesis alone makes them by chance.
"""

import argparse
import contextlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent.parent
OUT: Final = ROOT / "build" / "fuzz"
_HANG: Final = 10
"""Seconds after which one input counts as a hang."""
_START: Final = 60
"""Seconds that a process may take longer than it should."""
_AT_ONCE: Final = 500
"""Inputs between two looks at the time, without atheris."""


class Tried(NamedTuple):
    """What came of a target."""

    name: str
    inputs: int
    code: int

    @property
    def verdict(self) -> str:
        """What is to be said of it."""
        if self.code == 0:
            return "nothing found"
        what = "no end" if self.code < 0 else "FOUND"
        return f"{what}: see {OUT.relative_to(ROOT) / self.name}/log"


def main() -> int:
    """Try the targets that are named, or all; return 1 when one has found something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800, help="for all targets together")
    parser.add_argument("--one", metavar="TARGET", help="try it in this process")
    parser.add_argument("--replay", metavar="FILE", help="with --one: the input to try")
    parser.add_argument("targets", nargs="*", help="those to try; all if none is named")
    given = parser.parse_args()
    if given.one:
        _try_here(given.one, given.seconds, given.replay)
        return 0
    return _try_all(given.targets, given.seconds)


def _try_all(chosen: list[str], seconds: float) -> int:
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 -- after atheris where that is used

    names = chosen or [*TARGETS]
    if unknown := [name for name in names if name not in TARGETS]:
        sys.stderr.write(f"there is no target {unknown[0]}; there are: {', '.join(TARGETS)}\n")
        return 2
    workers = min(os.cpu_count() or 1, len(names))
    each = max(1, int(seconds * workers / len(names)))
    engine = "atheris and hypothesis" if _atheris() else "hypothesis alone: atheris is not here"
    print(f"{len(names)} targets, {each} s each, {workers} at once, by {engine}", flush=True)
    width = max(map(len, names))
    with ThreadPoolExecutor(workers) as pool:
        found = 0
        for tried in pool.map(lambda name: _try(name, each), names):
            found += tried.code != 0
            print(f"{tried.name:<{width}}  {tried.inputs:>9} inputs  {tried.verdict}", flush=True)
    return 1 if found else 0


def _try(name: str, seconds: int) -> Tried:
    out = OUT / name
    shutil.rmtree(out, ignore_errors=True)
    (out / "tmp").mkdir(parents=True)
    command = [sys.executable, "-m", "tests.fuzz.run", "--one", name, f"--seconds={seconds}"]
    environment = {key: text for key, text in os.environ.items() if not key.startswith("PETSAGE_")}
    environment |= {"TMPDIR": str(out / "tmp"), "GRPC_VERBOSITY": "NONE"}
    with (out / "log").open("w") as log:
        try:
            code = subprocess.run(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, timeout=seconds + _START, check=False,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            code = -1
    shutil.rmtree(out / "tmp", ignore_errors=True)
    said = (out / "log").read_text(errors="replace")
    counts = re.findall(r"^(?:stat::number_of_executed_units:|tried) +(\d+)", said, re.MULTILINE)
    return Tried(name, int(counts[-1]) if counts else 0, code)


def _atheris() -> Any:
    with contextlib.suppress(ImportError):
        return importlib.import_module("atheris")
    return None


def _try_here(name: str, seconds: float, replay: str | None) -> None:
    atheris = None if replay else _atheris()
    follow = atheris.instrument_imports if atheris else contextlib.nullcontext
    with follow(*([["petsage_grpc", "tomllib"]] if atheris else [])):
        from tests.fuzz.targets import (  # noqa: PLC0415 -- once they can be followed
            SEEDS,
            TARGETS,
            by_chance,
            running,
        )
    target = TARGETS[name]
    with running(target) as run:

        def try_one(one: Any) -> None:
            try:
                run(one)
            except BaseException:
                print(f"\nthe input: {one!r}\n", file=sys.stderr, flush=True)
                raise

        chance = by_chance(target, try_one, _AT_ONCE, repeatable=False)
        take_bytes = try_one if target.is_raw else chance.hypothesis.fuzz_one_input
        if replay:
            take_bytes(Path(replay).read_bytes())
        elif atheris:
            _breed(atheris, take_bytes, OUT / name, SEEDS / name, seconds)
        else:
            _by_chance(chance, time.monotonic() + seconds)


def _breed(
    atheris: Any, run: Callable[[bytes], Any], out: Path, seeds: Path, seconds: float
) -> None:
    corpus = out / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    folders = [str(folder) for folder in (corpus, seeds) if folder.exists()]
    options = [f"-max_total_time={int(seconds)}", f"-timeout={_HANG}", "-max_len=4096"]
    options += [f"-artifact_prefix={out}/", "-print_final_stats=1"]

    def run_bytes(raw: bytes) -> None:  # hypothesis returns what libFuzzer would not understand
        run(raw)

    atheris.Setup([sys.argv[0], *options, *folders], run_bytes)
    atheris.Fuzz()


def _by_chance(test: Callable[[], None], until: float) -> None:
    tried = 0
    while time.monotonic() < until:
        test()
        tried += _AT_ONCE
    print(f"tried {tried}")


if __name__ == "__main__":
    sys.exit(main())
