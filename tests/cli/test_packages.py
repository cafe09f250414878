"""`checks` tells what installed packages bring, and `serve` does not start with a broken one."""

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from petsage_grpc.cli import main
from tests.packages import KIND, importable, write_package
from tests.plane.asking import Asking
from tests.processes import PATIENCE, run, served, settings_file, started

FEATURE = """
def mount(feature):
    feature.check("bed", interval="30s", gates=[])(print)
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    with importable(tmp_path / "site") as folder:
        yield folder


def bring(site: Path, *, kind: str = KIND, feature: str = FEATURE) -> None:
    """Install a package with one kind and one feature."""
    write_package(
        site, "petsage-naps", {"naps_kind": kind, "naps_feature": feature},
        checks={"nap": "naps_kind:Kind"}, features={"naps": "naps_feature"},
    )  # fmt: skip


def test_the_list_tells_who_brings_a_kind(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bring(site)
    assert main(["checks"]) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    assert (
        'kind = "nap"  (of petsage-naps)\n'
        "  Fails when it is told so.\n"
        "  failing = false  (true/false)\n"
        "      whether it fails"
    ) in blocks
    assert "(of " not in "".join(block for block in blocks if 'kind = "nap"' not in block)


def test_the_list_tells_which_features_there_are(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(site)
    assert main(["checks"]) == 0
    assert capsys.readouterr().out.split("\n\n")[-1] == (
        "feature naps (petsage-naps)\n"
        "  check bed (python) every 30s gates nothing (reported only)\n"
    )


def test_a_right_file_is_told_with_its_features_and_its_risks(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(site)
    write_package(site, "x", {"myapp_six.toys": "def mount(feature): ..."})
    file = settings_file(
        tmp_path, 'features_package = "myapp_six"', "[checks.a]", 'kind = "nap"', "shared = true",
        "[groups]", "orders = ['a', 'bed']",
    )  # fmt: skip
    assert main(["checks", "--config", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{file}: all is right",
        "  check a (nap) every 10s gates readiness, startup",
        (
            "  check features (heartbeat) is heard of within 10s, and gates readiness, liveness,"
            " startup"
        ),
        '  group "orders": a, bed',
        "  feature naps (petsage-naps)",
        "    check bed (python) every 30s gates nothing (reported only)",
        "  feature toys (myapp_six)",
        (
            "  WARNING check a is shared by all replicas and gates readiness, orders: when it"
            " fails, all of them leave rotation at once (docs/gates.md)"
        ),
    ]


def test_a_kind_of_a_package_is_among_those_that_are_meant(site: Path, tmp_path: Path) -> None:
    bring(site)
    for wrong, mend in (("napp", "did you mean nap?"), ("zzz", ", python, nap")):
        told = run("checks", "--config", str(settings_file(
            tmp_path, "[checks.a]", f'kind = "{wrong}"',
        )), PYTHONPATH=str(site))  # fmt: skip
        assert told.returncode == 2
        assert told.stderr.endswith(f"{mend}\n")


BROKEN = {
    "a feature that can not be imported": (
        {"feature": "import no_such_driver"},
        (
            "feature naps (petsage-naps): naps_feature can not be imported: ModuleNotFoundError: No"
            " module named 'no_such_driver'; mend or remove petsage-naps"
        ),
    ),
    "a feature that can not be mounted": (
        {"feature": "def mount(feature): 1 / 0"},
        (
            "feature naps (petsage-naps): naps_feature:mount raised ZeroDivisionError: division by"
            " zero"
        ),
    ),
    "a kind that can not be imported": (
        {"kind": "raise RuntimeError('no\\nluck')"},
        (
            "kind nap (petsage-naps): naps_kind can not be imported: RuntimeError: no; mend or"
            " remove petsage-naps"
        ),
    ),
    **{
        f"a feature whose {where} raises {error}": (
            {"feature": f"import asyncio\n{code.format(error)}"},
            f"feature naps (petsage-naps): naps_feature{told} {error.rpartition('.')[2]}{end}",
        )
        for error in ("KeyboardInterrupt", "asyncio.CancelledError", "BaseException")
        for where, code, told, end in (
            ("import", "raise {}", " can not be imported:", "; mend or remove petsage-naps"),
            ("mount", "def mount(feature): raise {}", ":mount raised", ""),
        )
    },
    "a kind that raises KeyboardInterrupt": (
        {"kind": "raise KeyboardInterrupt"},
        (
            "kind nap (petsage-naps): naps_kind can not be imported: KeyboardInterrupt; mend or"
            " remove petsage-naps"
        ),
    ),
    "a kind that is none": (
        {"kind": "Kind = 3"},
        "kind nap (petsage-naps): naps_kind:Kind is no subclass of petsage_grpc.Check",
    ),
}


@pytest.mark.parametrize(("brought", "wrong"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("verb", ["serve", "checks"])
def test_what_is_broken_is_exit_2_and_one_line_and_nothing_listens(
    site: Path, verb: str, brought: dict[str, str], wrong: str
) -> None:
    bring(site, **brought)
    ended = run(verb, *(["--listen=127.0.0.1:0"] if verb == "serve" else []), PYTHONPATH=str(site))
    assert ended.returncode == 2
    assert ended.stderr == f"petsage-grpc {verb}: {wrong}\n"
    assert ended.stdout == ""


def test_a_module_of_a_package_that_raises_an_interrupt_is_exit_2_and_one_line(site: Path) -> None:
    write_package(site, "x", {"myapp_eight.__init__": "raise KeyboardInterrupt"})
    file = settings_file(site, 'features_package = "myapp_eight"')
    for verb in ("serve", "checks"):
        ended = run(verb, f"--config={file}", PYTHONPATH=str(site))
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == (
            f"petsage-grpc {verb}: features_package: myapp_eight can not be imported:"
            " KeyboardInterrupt; set PYTHONPATH to where it is, install it, or mend it\n"
        )


@pytest.mark.parametrize("where", ["import", "mount"])
def test_an_interrupt_ends_checks_whatever_a_feature_catches(site: Path, where: str) -> None:
    catches = """
import sys, time
def wait():
    print("hangs", file=sys.stderr, flush=True)
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            pass
"""
    mount = {"import": "wait()", "mount": "def mount(feature): wait()"}
    bring(site, feature=catches + mount[where])
    with started("checks", stderr=subprocess.PIPE, PYTHONPATH=str(site)) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "hangs\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == -signal.SIGINT


@pytest.mark.parametrize("verb", ["serve", "checks"])
def test_two_of_one_name_are_exit_2_and_one_line(site: Path, verb: str) -> None:
    bring(site)
    write_package(site, "petsage-dozes", {}, features={"naps": "naps_feature"})
    ended = run(verb, PYTHONPATH=str(site))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(
        f"petsage-grpc {verb}: feature naps is brought by both petsage-dozes and petsage-naps: "
    )
    assert ended.stderr.count("\n") == 1


def test_settings_of_a_feature_that_is_not_there_are_exit_2(site: Path, tmp_path: Path) -> None:
    bring(site)
    file = settings_file(tmp_path, "[features.nap]", 'message = "Zzz."')
    for verb in ("serve", "checks"):
        ended = run(verb, f"--config={file}", PYTHONPATH=str(site))
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == (
            f"petsage-grpc {verb}: features.nap: there is no such feature; did you mean naps?\n"
        )


def test_a_package_of_features_may_be_named_by_a_variable(site: Path) -> None:
    write_package(site, "x", {"myapp_seven.naps": FEATURE})
    with served(PYTHONPATH=str(site), PETSAGE_FEATURES_PACKAGE="myapp_seven") as process:
        process.wait_for(r"feature naps \(myapp_seven\) serves no service")
        process.wait_for("check bed is passing")


def test_no_line_of_the_log_holds_what_a_setting_refers_to(site: Path, tmp_path: Path) -> None:
    code = """
import logging
from dataclasses import dataclass
from petsage_grpc import Check

@dataclass(kw_only=True)
class Kind(Check):
    url: str

    async def run(self):
        logging.getLogger("driver").warning("connecting to %s", self.url)
        try:
            raise ValueError(f"refused by {self.url}")
        except ValueError:
            logging.getLogger("driver").exception("refused")
            raise
"""
    feature = (
        "import logging, os\n"
        "def mount(feature): logging.getLogger('mounting').warning('with %s', os.environ['S'])"
    )
    bring(site, kind=code, feature=feature)
    file = settings_file(tmp_path, "[checks.a]", 'kind = "nap"', 'url = "sql://${S}@db"')
    secret = "hunter2-hunter2"
    with served(f"--config={file}", PYTHONPATH=str(site), S=secret) as process:
        process.wait_for(re.escape("mounting: with ${S}"))
        process.wait_for(re.escape("connecting to sql://***@db"))
        process.wait_for(re.escape("check a failed: ValueError: refused by sql://***@db"))
        process.wait_for(r"^ValueError: refused by")
        assert not [line for line in process.lines if secret in line]


def test_no_line_of_the_log_holds_what_a_check_of_a_feature_hides(site: Path) -> None:
    code = """
import logging
from petsage_grpc import Check

class Bed(Check):
    async def run(self):
        logging.getLogger("driver").warning("asking with hunter2-hunter2")

def mount(feature):
    bed = Bed()
    bed.hide("hunter2-hunter2")
    feature.add_check("bed", bed)
"""
    bring(site, feature=code)
    with served(PYTHONPATH=str(site)) as process:
        process.wait_for(re.escape("asking with ***"))
        assert not [line for line in process.lines if "hunter2" in line]


def test_busy_threads_of_features_give_way_to_the_plane_sooner(site: Path) -> None:
    bring(site, feature="""
import sys, threading, time
def look():
    while sys.getswitchinterval() > 0.003:
        time.sleep(0.001)
    print("turns are short", flush=True)
def mount(feature):
    threading.Thread(target=look, daemon=True).start()
""")  # fmt: skip
    with served(PYTHONPATH=str(site), PETSAGE_SWITCH_INTERVAL="0.002") as service:
        with Asking(service.address) as client:
            client.check()
        service.wait_for("turns are short")
