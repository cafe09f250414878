"""Proves that the built wheel is whole: every file is in it, and it serves and answers by itself.

python tools/wheel_check.py DIRECTORY    with the one wheel that was built there
"""

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECK = """
import subprocess, sys
command = sys.argv[1:]
server = subprocess.Popen([*command, "serve", "--listen=127.0.0.1:0"], stdout=subprocess.PIPE,
                          text=True)
address = next(line.rsplit(" ", 1)[1].strip() for line in server.stdout if "listening on" in line)
for verb in ["wait"], ["smoke"], ["probe", "-addr"]:
    subprocess.run([*command, *verb, address], check=True)
server.terminate(); server.terminate()
sys.exit(server.wait(30))
"""


def missing_files(wheel: Path) -> list[str]:
    """Name the files of the package that git knows and the wheel lacks."""
    listing = subprocess.run(
        ["git", "ls-files", "petsage_grpc"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with zipfile.ZipFile(wheel) as archive:
        return sorted(set(listing.stdout.split()) - set(archive.namelist()))


def main() -> int:
    """Check the wheel in the directory that the command line names."""
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    if missing := missing_files(wheel):
        print(f"{wheel.name} lacks {', '.join(missing)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python, command = Path(folder, "bin", "python"), Path(folder, "bin", "petsage-grpc")
        subprocess.run([python, "-m", "pip", "install", "--quiet", wheel.resolve()], check=True)
        # From elsewhere, so that it is the wheel that is imported and not the tree.
        subprocess.run([python, "-I", "-c", CHECK, command], check=True, cwd=folder)
    print(f"{wheel.name}: every file is in it; it serves and answers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
