"""The service's own log: it never blocks who writes, and no line of it holds a secret."""

import io
import json
import logging
import os
import re
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

import pytest

from petsage_grpc.core.check import Check
from petsage_grpc.core.text import forms, redact
from petsage_grpc.plane.logs import LogPipeline, Redactor
from petsage_grpc.settings_references import Text

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def root_level() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)


def test_a_secret_from_a_variable_is_found_as_a_repr_writes_it() -> None:
    secret = "pa'ss\"wo\\rd"
    text = f"refused {secret!r} and {secret}"
    assert redact(text, {Text(secret, "${PASSWORD}"): "***"}) == "refused '***' and ***"


def test_what_is_logged_comes_out_at_the_stream() -> None:
    stream = io.StringIO()
    with LogPipeline("INFO", stream) as logs:
        logging.getLogger("petsage_grpc.test").info("hello %s", "there")
        logging.getLogger("petsage_grpc.test").debug("too fine")
        assert logs.close(PATIENCE)
    assert stream.getvalue().endswith("INFO    petsage_grpc.test: hello there\n")
    assert stream.getvalue().count("\n") == 1


def test_a_full_pipe_blocks_nobody_and_what_fits_comes_out_when_it_is_read() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "r") as reader, os.fdopen(writing, "w") as writer:
        with LogPipeline("INFO", writer) as logs:
            for _ in range(5_000):
                logging.getLogger("petsage_grpc.test").info("x" * 100)
            assert not logs.close(0.01), "the pipe holds 64 KiB, so the thread is stuck"
            rest: list[str] = []
            reading_thread = threading.Thread(target=lambda: rest.extend(iter(reader.readline, "")))
            reading_thread.start()
            assert logs.close(PATIENCE)
        writer.close()
        reading_thread.join(PATIENCE)
    assert 1_000 <= len(rest) < 5_000


def test_a_broken_pipe_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    writer = os.fdopen(writing, "w")
    with LogPipeline("INFO", writer) as logs:
        logging.getLogger("petsage_grpc.test").info("to nobody")
        assert logs.close(PATIENCE)
    with pytest.raises(BrokenPipeError):
        writer.close()
    assert capsys.readouterr().err == ""


class Secretive(Check):
    """A check that hides something."""

    def __init__(self, *hidden: str) -> None:
        for secret in hidden:
            self.hide(secret)

    async def run(self) -> None:
        """Pass."""


@pytest.mark.parametrize(
    "line",
    [
        "password is hunter2-hunter2",
        "%s",
        "GET http://db/?token=p%40ss+w%C3%B6rd&x=1",
        """{'password': 'it\\'s "me"'}""",
        "postgresql://me:other-secret@db:5432/orders",
    ],
)
def test_no_line_of_any_logger_holds_a_secret(line: str) -> None:
    hidden = ("hunter2-hunter2", "p@ss wörd", 'it\'s "me"')
    stream = io.StringIO()
    with LogPipeline("DEBUG", stream, Redactor([Secretive(*hidden)])) as logs:
        logging.getLogger("some.driver").debug(line, *(["hunter2-hunter2"] if "%s" in line else []))
        assert logs.close(PATIENCE)
    told = stream.getvalue()
    assert "***" in told
    for part in ("hunter2", "p%40ss", "it", "other-secret"):
        assert part not in told


def test_no_traceback_holds_a_secret() -> None:
    stream = io.StringIO()
    with LogPipeline("INFO", stream, Redactor([Secretive("hunter2-hunter2")])) as logs:
        try:
            try:
                raise ValueError("no user with hunter2-hunter2")
            except ValueError as error:
                raise RuntimeError("http://me:hunter3@db") from error
        except RuntimeError:
            logging.getLogger("some.driver").exception("it failed")
        assert logs.close(PATIENCE)
    assert "no user with ***" in stream.getvalue()
    assert "http://***@db" in stream.getvalue()
    assert "hunter" not in stream.getvalue()


def test_what_is_hidden_later_is_hidden_from_then_on() -> None:
    check = Secretive("first-secret")
    redact = Redactor([Secretive(), check])
    assert redact("first-secret second-secret") == "*** second-secret"
    check.hide("second-secret", "${SECOND}")
    assert redact("first-secret second-secret") == "*** ${SECOND}"


def test_another_redactor_can_take_over() -> None:
    stream = io.StringIO()
    with LogPipeline("INFO", stream) as logs:
        logs.set_redactor(lambda line: line.upper())
        logging.getLogger("petsage_grpc.test").info("loud")
        assert logs.close(PATIENCE)
    assert "LOUD" in stream.getvalue()


@pytest.mark.parametrize(
    "secret", ["ünïcödé", "§$%&/()", "a" * 4, "x,y;z", "{'a': 1}", 'p@ss/"w\\ö\n?~']
)
def test_a_secret_of_whatever_characters_is_found_however_it_is_written(secret: str) -> None:
    redact = Redactor([Secretive(secret)])
    percent = quote(secret, safe=""), quote(secret), quote_plus(secret)
    base64 = b64encode(secret.encode()).decode(), urlsafe_b64encode(secret.encode()).decode()
    json_ = json.dumps(secret), json.dumps(secret, ensure_ascii=False)
    lower = [re.sub("%..", lambda match: match[0].lower(), written) for written in percent]
    texts = repr(secret), ascii(secret), repr(secret.encode())
    for written in (secret, *percent, *lower, *base64, *json_, *texts):
        assert re.sub("[b'\"=]", "", redact(f"<{written}>")) == "<***>", written


@pytest.mark.parametrize("secret", ["ab'cd-secret", "it's\n", 'x"y', "plain-secret"])
@pytest.mark.parametrize("write", [repr, ascii, lambda text: repr(text.encode())])
def test_a_secret_within_a_longer_text_is_found_in_its_repr(
    secret: str, write: Callable[[str], str]
) -> None:
    for before in ("", "'", '"', "'\""):
        assert "<***>" in Redactor([Secretive(secret)])(write(f"{before}<{secret}>"))


@pytest.mark.parametrize("user", ["", "a", "ab", "abc", "somebody"])
def test_a_password_of_basic_authentication_is_found(user: str) -> None:
    secret = "hunter2-hunter2"
    sent = b64encode(f"{user}:{secret}".encode()).decode()
    told = Redactor([Secretive(secret)])(f"authorization: Basic {sent}")
    assert "***" in told
    assert len(told) < len("authorization: Basic ") + len(user) * 4 / 3 + 10


def test_a_password_of_basic_authentication_is_found_in_the_old_encoding_too() -> None:
    sent = b64encode("user:pässwörd-ünd-möhr".encode("latin-1")).decode()
    told = Redactor([Secretive("pässwörd-ünd-möhr")])(f"Basic {sent}")
    assert "***" in told
    assert len(told) < 20


@pytest.mark.parametrize("safe", [" +", "!$&'()*+,;="])
def test_a_secret_is_found_as_a_url_may_write_it_too(safe: str) -> None:
    secret = "p@ss!w$rd of/mine+"
    assert Redactor([Secretive(secret)])(f"user {quote(secret, safe=safe)}") == "user ***"


@pytest.mark.parametrize(
    "url",
    [
        "db://u:p@ss@host/x",
        "db://u:p:ss@host/x",
        "db://:p@host/x",
        "db://app:it's-s3cret@host/x",
        "db://o'brien:s3cret@host/x",
        'db://app:s3"cret@host/x',
        "db://app@corp:s3cret@host/x",
    ],
)
def test_a_password_in_a_url_is_hidden_whole_whoever_wrote_it(url: str) -> None:
    assert Redactor([])(url) == "db://***@host/x"


def test_a_password_in_a_url_is_hidden_where_json_escapes_its_slashes() -> None:
    told = Redactor([])(r'{"url": "db:\/\/app:s3cret@host\/x"}')
    assert told == r'{"url": "db:\/\/***@host\/x"}'


def test_what_a_server_makes_up_to_look_like_a_url_takes_no_time() -> None:
    made_up = "://" + ":" * 300_000 + " @"
    assert Redactor([])(made_up) == made_up


def test_a_secret_that_is_no_text_hides_nothing_else() -> None:
    assert Redactor([Secretive("\udcff")])("is it ok ? yes") == "is it ok ? yes"


def test_how_a_secret_may_be_written_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    worked_out: list[str] = []

    def spy(secret: str) -> set[str]:
        worked_out.append(secret)
        return forms(secret)

    monkeypatch.setattr("petsage_grpc.plane.logs.forms", spy)
    secrets = [f"postgresql://user:secret-{n:04}@db/{n:04}" for n in range(1_000)]
    hide = Redactor([Secretive(*secrets)])
    line = "check db-17 is failing, was passing: postgresql://db17.example:5432 refused it"
    assert hide(line) == line
    assert hide(f"{line}: {secrets[17]}") == f"{line}: ***"
    assert worked_out == secrets
