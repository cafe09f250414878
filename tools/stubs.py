"""Makes the generated stubs anew, or says whether the committed ones are stale.

    python tools/stubs.py            writes petsage_grpc/_gen
    python tools/stubs.py --check    exits 1 and names what differs

Only our own protos are generated: those of grpc.health.v1 come with grpcio-health-checking, and a
second copy in one process would be refused as a duplicate.
"""

import argparse
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
OUT = ROOT / "petsage_grpc" / "_gen"
PACKAGE = "petsage_grpc._gen"
OURS = "petsage"
INIT = '"""Generated from protos/ by tools/stubs.py; do not edit."""\n'


def pinned_tools() -> str:
    """Say which grpcio-tools pyproject.toml pins."""
    match = re.search(r'"grpcio-tools==([^"]+)"', (ROOT / "pyproject.toml").read_text())
    if match is None:
        sys.exit("stubs: pyproject.toml pins no grpcio-tools")
    return match[1]


def generate(out: Path) -> None:
    """Write the stubs of our protos into the empty folder `out`."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / OURS).rglob("*.proto"))
    plugin = Path(sys.executable).parent / "protoc-gen-mypy_grpc"
    flags = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python", "mypy_grpc")]
    plugins = [f"--plugin=protoc-gen-mypy_grpc={plugin}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *plugins, *flags, *sources]
    subprocess.run(command, check=True, cwd=ROOT)
    for path in out.rglob("*.py*"):
        text = re.sub(rf"\bfrom {OURS}\.", f"from {PACKAGE}.{OURS}.", path.read_text())
        text = re.sub(
            rf"^import {OURS}\.([\w.]+)\.(\w+) as", rf"from {PACKAGE}.{OURS}.\1 import \2 as",
            text, flags=re.MULTILINE,
        )  # fmt: skip
        path.write_text(text)
    for folder in (out, *(path for path in out.rglob("*") if path.is_dir())):
        (folder / "__init__.py").write_text(INIT)


def contents(folder: Path) -> dict[str, str]:
    """Read every file below `folder` but compiled ones, by its relative path."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="make the stubs anew, or check them")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when stale")
    check = parser.parse_args().check
    installed, pinned = importlib.metadata.version("grpcio-tools"), pinned_tools()
    if installed != pinned:
        sys.exit(f"stubs: grpcio-tools is {installed}, not {pinned}: pip install --group stubs")
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        if not check:
            shutil.rmtree(OUT, ignore_errors=True)
            shutil.copytree(fresh, OUT)
            print(f"stubs: wrote {OUT.relative_to(ROOT)}")
            return 0
        want, have = contents(fresh), contents(OUT)
    stale = sorted(name for name in want.keys() | have.keys() if want.get(name) != have.get(name))
    for name in stale:
        print(f"stubs: {name} is stale, missing or left over: run `make stubs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
