"""Keeps the server's certificate in use as its files have it, so that renewing one ends no call."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import grpc

from petsage_grpc.core.text import some
from petsage_grpc.errors import SettingsError
from petsage_grpc.settings import BadSettingError, Settings
from petsage_grpc.settings_tls import Certificate, TlsFiles, load_tls, read_tls, show_time

__all__ = ["Certificates"]

_LOOK_EVERY: Final = 1.0
"""Seconds from look to look at the files."""
_LAST_WAIT: Final = 0.2
"""Seconds that the thread gets to end; one whose file system hangs is left behind."""
_LETS_READ: Final = (0.02,) * 10
"""Seconds for which a port waits, in turns, before it takes what is new.

grpc frees what it made of the files before while other handshakes may be about to read it, and
would crash. None that begins meanwhile gets so far, and those that had begun need far less. In
turns, because a process that was stopped finds only the one over in whose midst it was.
"""
_DAY: Final = 86400.0

_log = logging.getLogger("petsage_grpc.tls")


class _InUse(NamedTuple):
    files: TlsFiles
    certificate: Certificate
    configuration: grpc.ServerCertificateConfiguration


class Certificates:
    """The certificate that the ports show, and the authorities of the clients, renewed as they run.

    A thread of its own looks at the files, so that a file system that hangs delays no answer; a
    handshake reads from memory what was found last. Files that can not be used leave in use what
    was so before.

    Args:
        settings: where the files are.
        wall_time: tells the seconds since the epoch.

    Raises SettingsError when they can not be used.
    """

    def __init__(self, settings: Settings, wall_time: Callable[[], float] = time.time) -> None:
        self._paths = settings.tls_cert, settings.tls_key, settings.tls_client_ca
        self._wall_time = wall_time
        try:
            self._in_use = self._load()
        except BadSettingError as error:
            raise SettingsError(str(error)) from None
        self._refused: tuple[TlsFiles | None, str] | None = None
        self._reported = False  # whether that has been logged
        self._warned: list[str] = []
        self._warn_again = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="petsage tls", daemon=True)

    @classmethod
    def of(cls, settings: Settings) -> "Certificates | None":
        """Load those that the settings want, if any. Raises SettingsError."""
        return cls(settings) if settings.tls_cert else None

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts that the certificate is for."""
        return self._in_use.certificate.names

    @property
    def mutual(self) -> bool:
        """Whether clients need a certificate."""
        return bool(self._paths[2])

    def credentials(self) -> grpc.ServerCredentials:
        """Make the credentials of one port: each has to hear of what is new by itself."""
        given = self._in_use

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            if self._in_use is given:
                return None
            for seconds in _LETS_READ:
                if self._over.wait(seconds):
                    return None
            given = newest = self._in_use
            return newest.configuration

        return grpc.dynamic_ssl_server_credentials(
            given.configuration,
            renewed,  # type: ignore[arg-type]  # None says that nothing is new
            require_client_authentication=self.mutual,
        )

    def start(self) -> None:
        """Say what is in use, and look at the files from now on."""
        _log.info("TLS: %s", self._told())
        self._warn()
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(_LAST_WAIT)

    def look(self) -> None:
        """Take what the files hold now, or say once why that can not be used.

        Nothing is said at the first look: a certificate and its key are often written one after
        the other.
        """
        files: TlsFiles | None = None
        try:
            files = read_tls(*self._paths)
            if files == self._in_use.files:
                self._forget_refused()
            elif self._refused is None or files != self._refused[0]:
                self._take(self._load())
            else:
                self._refuse(self._refused)
        except BadSettingError as error:
            self._refuse((files, str(error)))
        self._warn()

    def _load(self) -> _InUse:
        files, certificate = load_tls(*self._paths)
        configuration = grpc.ssl_server_certificate_configuration(
            [(files.key, files.cert)], files.client_ca or None
        )
        return _InUse(files, certificate, configuration)

    def _run(self) -> None:
        told = ""
        while not self._over.wait(_LOOK_EVERY):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 -- whatever it is, the next look may be right
                if repr(error) != told:
                    _log.exception("TLS: the files can not be looked at")
                told = repr(error)
            else:
                told = ""

    def _take(self, loaded: _InUse) -> None:
        """Use this from now on, unless clients would refuse it, and not what is in use."""
        new, now = loaded.certificate, self._wall_time()
        if self._in_use.certificate.holds(now) and not new.holds(now):
            (why, *_) = new.risks(now)
            self._refuse((None, f"{self._paths[0]!r}: {why}"))  # time may mend it: no files
            return
        self._in_use, self._refused = loaded, None
        _log.info("TLS: the files have changed, and are in use: %s", self._told())

    def _refuse(self, refused: tuple[TlsFiles | None, str]) -> None:
        """Say why files can not be used, once they have stayed so for a second look."""
        if refused != self._refused:
            self._refused, self._reported = refused, False
        elif not self._reported:
            self._reported = True
            ends = show_time(self._in_use.certificate.ends)
            _log.error(
                "TLS: %s; the certificate from before stays in use, and expires %s",
                refused[1], ends,
            )  # fmt: skip

    def _forget_refused(self) -> None:
        if self._refused is not None and self._reported:
            _log.info("TLS: the files are as they were: %s", self._told())
        self._refused = None

    def _told(self) -> str:
        cert, _, client_ca = self._paths
        names = some(self.names) or "no host"
        told = f"{cert} is for {names} and expires {show_time(self._in_use.certificate.ends)}"
        return f"{told}; clients need a certificate of {client_ca}" if client_ca else told

    def _warn(self) -> None:
        """Say, once a day, what keeps clients out, or soon will."""
        now = self._wall_time()
        risks = [*self._in_use.certificate.risks(now)]
        if risks and (risks != self._warned or now >= self._warn_again):
            self._warn_again = now + _DAY
            for risk in risks:
                _log.warning("TLS: %s", risk)
        self._warned = risks
