"""Certificates that change on disk: what is taken, what is refused, and what is said of it."""

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from petsage_grpc.plane.service import Service
from petsage_grpc.rpc import tls
from petsage_grpc.rpc.tls import Certificates
from tests.certificates import DAY, Authority, Pair, Secret, shown
from tests.rpc.tls.conftest import Lines, settings

Spoil = Callable[[Path, Pair], object]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder, _: (folder / "tls.crt").unlink(), "tls_cert: "),
        (lambda folder, _: (folder / "tls.key").write_text("no key"), "tls_key: "),
        (lambda folder, other: (folder / "tls.key").write_bytes(other.key), "does not belong to"),
        (lambda folder, other: (folder / "tls.crt").write_bytes(other.cert), "does not belong to"),
        (lambda folder, _: (folder / "ca.crt").write_text(""), "tls_client_ca: "),
    ],
    ids=["missing", "no key", "another key", "another certificate", "no authority"],
)
def test_a_broken_new_file_keeps_the_old_one_and_says_so_once(
    secret: Secret, authority: Authority, lines: Lines, spoil: Spoil, said: str
) -> None:
    certificates = Certificates(settings(secret, mutual=True))
    authorities = (secret.folder / "ca.crt").read_bytes()
    before = certificates._in_use
    renewed = authority.pair(days=5)
    spoil(secret.folder / "..data", renewed)
    for _ in range(4):
        certificates.look()
    assert certificates._in_use is before
    (line,) = lines.said
    assert line.startswith("ERROR TLS: tls_")
    assert said in line
    assert "; the certificate from before stays in use, and expires 20" in line

    secret.renew(renewed, authorities)
    certificates.look()
    assert certificates._in_use.files.cert == renewed.cert
    assert lines.said[1].startswith("INFO TLS: the files have changed, and are in use: ")


def test_a_key_that_is_written_after_its_certificate_is_no_error(
    secret: Secret, authority: Authority, lines: Lines
) -> None:
    certificates, renewed = Certificates(settings(secret)), authority.pair()
    data = secret.folder / "..data"
    (data / "tls.crt").write_bytes(renewed.cert)
    certificates.look()
    (data / "tls.key").write_bytes(renewed.key)
    certificates.look()
    assert [line.partition(":")[0] for line in lines.said] == ["INFO TLS"]
    assert certificates._in_use.files.key == renewed.key


def test_files_that_come_back_as_they_were_are_said_to_be_right_again(
    secret: Secret, lines: Lines
) -> None:
    certificates = Certificates(settings(secret))
    key = secret.folder / "..data" / "tls.key"
    before = key.read_bytes()
    key.unlink()
    certificates.look()
    certificates.look()
    key.write_bytes(before)
    certificates.look()
    assert "can not be read: No such file or directory" in lines.said[0]
    assert "INFO TLS: the files are as they were" in lines.said[1]


def test_a_file_that_is_broken_in_another_way_is_said_again(secret: Secret, lines: Lines) -> None:
    certificates = Certificates(settings(secret))
    key = secret.folder / "..data" / "tls.key"
    for text in ("one", "two"):
        key.write_text(text)
        certificates.look()
        certificates.look()
    assert len(lines.said) == 2


def test_nothing_of_a_key_is_logged_or_shown(
    secret: Secret, authority: Authority, lines: Lines
) -> None:
    certificates = Certificates(settings(secret))
    private = secret.folder / "..data" / "tls.key"
    text = private.read_text()
    private.write_text(text.replace("M", "?", 2))
    certificates.look()
    certificates.look()
    told = "".join(lines.said) + repr(certificates._in_use)
    assert all(line not in told for line in text.splitlines()[1:-1])


def test_a_certificate_that_expires_is_said_once_a_day(
    authority: Authority, tmp_path: Path, lines: Lines
) -> None:
    secret = Secret(tmp_path / "mounted", authority.pair(days=91, old=9))
    now = 0.0
    certificates = Certificates(settings(secret), lambda: now)
    ends, begins = certificates._in_use.certificate.ends, certificates._in_use.certificate.begins

    def at(time: float) -> list[str]:
        nonlocal now
        now = time
        lines.said.clear()
        certificates.look()
        certificates.look()
        return [line.split(" ", 3)[3] for line in lines.said]

    assert [line[:20] for line in at(begins - 5)] == ["is not valid before "]
    assert at(begins + DAY) == []
    assert at(ends - 11 * DAY) == []
    assert [line[:8] for line in at(ends - 9 * DAY)] == ["expires "]
    assert at(ends - 8.5 * DAY) == []
    assert [line[:8] for line in at(ends - 8 * DAY)] == ["expires "]
    assert [line[:12] for line in at(ends + 1)] == ["has expired "]
    secret.renew(authority.pair(days=365))
    assert [line[:10] for line in at(ends + 2)] == ["files have"]


@pytest.mark.parametrize(
    ("life", "said"), [((-1, 9), "has expired "), ((9, -1), "is not valid before ")]
)
def test_a_new_certificate_that_clients_refuse_leaves_the_valid_one_in_use(
    authority: Authority, tmp_path: Path, lines: Lines, life: tuple[int, int], said: str
) -> None:
    days, old = life
    secret, new = Secret(tmp_path / "mounted", authority.pair()), authority.pair(days=days, old=old)
    now = time.time()
    certificates = Certificates(settings(secret), lambda: now)
    valid = certificates._in_use
    secret.renew(new)
    for _ in range(4):
        certificates.look()
    assert certificates._in_use is valid
    (line,) = lines.said
    assert line.startswith(f"ERROR TLS: '{secret.folder}/tls.crt': tls_cert {said}20")
    assert "; the certificate from before stays in use, and expires 20" in line

    now = valid.certificate.ends if days < 0 else now + 2 * DAY
    certificates.look()
    assert certificates._in_use.files.cert == new.cert, "it is no worse than the other now"


def test_an_expired_certificate_is_warned_of_at_the_start(
    authority: Authority, tmp_path: Path, lines: Lines
) -> None:
    certificates = Certificates(settings(Secret(tmp_path / "old", authority.pair(days=-1))))
    certificates.start()
    certificates.stop()
    assert lines.said[0].startswith("INFO TLS: ")
    assert lines.said[1].startswith("WARNING TLS: tls_cert has expired 20")
    assert lines.said[1].endswith(" UTC, and clients refuse it: renew it")


def test_authorities_of_clients_that_have_expired_are_warned_of(
    secret: Secret, lines: Lines
) -> None:
    now = 0.0
    certificates = Certificates(settings(secret, mutual=True), lambda: now)
    now = certificates._in_use.certificate.authorities_end
    certificates.look()
    assert "WARNING TLS: tls_client_ca has expired " in lines.said[1]
    assert lines.said[1].endswith(" UTC, and no client is let in: renew it")
    assert len(lines.said) == 2


def test_a_file_system_that_hangs_holds_up_neither_a_handshake_nor_the_stop(
    secret: Secret, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def read(*_: str) -> Any:
        hangs.set()
        goes_on.wait(30)
        raise OSError

    async def live() -> None:
        async with Service(settings(secret)) as service:
            monkeypatch.setattr(tls, "read_tls", read)
            await asyncio.to_thread(hangs.wait, 20)
            assert await asyncio.to_thread(shown, service.addresses[0])

    asyncio.run(live())
    assert [thread.name for thread in threading.enumerate()].count("petsage tls") == 1
    monkeypatch.setattr(tls, "_log", logging.getLogger("petsage_grpc.quiet"))
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "petsage tls"]
    goes_on.set()
    thread.join(20)
    assert not thread.is_alive()


def test_a_renewal_while_clients_connect_does_not_crash(tmp_path: Path) -> None:
    """grpc frees what it made of the old files, whoever reads it: nothing may be reading then."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.rpc.tls.renewing", str(tmp_path)],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


def test_a_port_waits_before_it_takes_what_is_new(
    secret: Secret, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc, "dynamic_ssl_server_credentials", lambda _, fetch, **__: fetch)
    certificates, waited = Certificates(settings(secret)), list[float]()

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        if len(waited) == 2:  # one that comes meanwhile is taken with it
            renew(50)
        return ended

    def renew(days: float) -> None:
        secret.renew(authority.pair(days=days))
        certificates.look()

    ended = False
    monkeypatch.setattr(certificates._over, "wait", wait)
    fetch: Any = certificates.credentials()
    assert fetch() is None
    assert not waited
    renew(40)
    first = certificates._in_use.configuration
    assert fetch() is certificates._in_use.configuration is not first
    assert sum(waited) == pytest.approx(0.2)
    assert len(waited) > 2
    assert fetch() is None
    renew(60)
    ended = True
    assert fetch() is None, "who stops waits for nothing"
    assert sum(waited) == pytest.approx(0.22)


async def test_a_service_that_has_ended_leaves_no_thread(secret: Secret) -> None:
    async with Service(settings(secret)):
        pass
    assert "petsage tls" not in [thread.name for thread in threading.enumerate()]


def test_an_error_that_nobody_foresaw_is_told_each_time_it_begins(
    secret: Secret, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(settings(secret))
    looks = iter([False, False, True, False])

    def look() -> None:
        if not next(looks):
            raise RuntimeError("odd")

    left = iter([False] * 4)
    monkeypatch.setattr(certificates, "look", look)
    monkeypatch.setattr(certificates._over, "wait", lambda _: next(left, True))
    certificates._run()
    assert caplog.text.count("the files can not be looked at") == 2
