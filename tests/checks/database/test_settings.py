"""The settings of the database check: which URLs it takes, and what it refuses to try at all."""

import subprocess
import sys
from typing import Any

import pytest

from petsage_grpc.checks import load_kind
from petsage_grpc.checks._database_url import read_url
from petsage_grpc.checks.database import DatabaseCheck

LIKE = (
    'url: can not be read: write it like "postgresql://host:5432/name" with USER@ before the host,'
    " and the password in the setting password"
)


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://db/pets", "postgresql+asyncpg"),
        ("postgres://db/pets", "postgresql+asyncpg"),
        ("postgresql+asyncpg://db/pets", "postgresql+asyncpg"),
        ("postgresql+psycopg://db/pets", "postgresql+psycopg"),
        ("postgresql+psycopg2://db/pets", "postgresql+asyncpg"),
        ("mysql://db/pets", "mysql+aiomysql"),
        ("mariadb://db/pets", "mysql+aiomysql"),
        ("mysql+pymysql://db/pets", "mysql+aiomysql"),
        ("mysql+mysqldb://db/pets", "mysql+aiomysql"),
        ("sqlite:///pets.db", "sqlite"),
        ("sqlite+aiosqlite:///pets.db", "sqlite"),
    ],
)
def test_a_url_of_any_driver_means_one_that_can_be_used(url: str, driver: str) -> None:
    assert read_url(url)[0].url.drivername == driver


@pytest.mark.parametrize(
    ("url", "at"),
    [
        ("postgresql://db/pets", "db:5432"),
        ("postgresql://db:6432/pets", "db:6432"),
        ("postgresql://[::1]/pets", "[::1]:5432"),
        ("postgresql:///pets", "localhost:5432"),
        ("postgresql:///pets?host=/run/postgresql", "/run/postgresql"),
        ("postgresql:///pets?host=a:1&host=b:2", "a:1, b:2"),
        ("postgresql+psycopg:///pets?host=a,b", "a:5432, b:5432"),
        ("mysql://db/pets", "db:3306"),
        ("mysql:///pets?unix_socket=/run/mysqld.sock", "/run/mysqld.sock"),
        ("sqlite:////var/pets.db", "/var/pets.db"),
        ("sqlite://", ":memory:"),
    ],
)
def test_a_database_is_named_by_its_place(url: str, at: str) -> None:
    assert read_url(url)[0].at == at


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": ""}, LIKE),
        ({"url": "db.example.com"}, LIKE),
        ({"url": "postgresql://u:s3cret@db:port/pets"}, LIKE),
        (
            {"url": "postgresql+foo://db/pets"},
            (
                "url: the driver 'foo' is not known: begin it with postgresql://, or with"
                " postgresql+asyncpg://"
            ),
        ),
        (
            {"url": "postgresqk://db/pets"},
            (
                "url: SQLAlchemy knows no 'postgresqk': begin it with one of postgresql://,"
                " postgres://, mysql://, mariadb://, sqlite://, or install its dialect"
            ),
        ),
        (
            {"url": "mssql+pyodbc://db/pets"},
            "url: its driver can not be used: No module named 'pyodbc': install it",
        ),
        (
            {"url": "mssql+aioodbc://db/pets"},
            "url: 'mssql+aioodbc' is not known: name its driver that blocks",
        ),
        (
            {"url": "mysql://db/pets?ssl_ca=/ca.pem"},
            "url: aiomysql takes no ssl from it: set tls = true, and tls_ca_cert",
        ),
        ({"query": ""}, 'query: must be one statement, without any ";": write "SELECT 1"'),
        ({"query": " ; "}, 'query: must be one statement, without any ";": write "SELECT 1"'),
        (
            {"query": "SELECT 1; DROP TABLE pets"},
            'query: must be one statement, without any ";": write "SELECT 1"',
        ),
        (
            {"statement_timeout": 0.0},
            "statement_timeout must be longer than 0, and at most a day",
        ),
        (
            {"statement_timeout": 1e9},
            "statement_timeout must be longer than 0, and at most a day",
        ),
        ({"tls": True}, "tls: means nothing for SQLite: leave it out"),
        (
            {"url": "postgresql://db/pets?sslmode=require", "tls": True},
            "tls: contradicts what the url says of ssl: leave one of them out",
        ),
        (
            {"url": "postgresql://db/pets", "tls_ca_cert": "/ca.pem"},
            "tls_ca_cert: means nothing without TLS: set tls = true",
        ),
    ],
)
def test_what_can_never_work_is_refused_with_the_mend(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 -- all of its text is compared
        DatabaseCheck(**settings)
    assert str(refused.value) == said


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_what_all_of_libpq_knows_may_stand_in_the_url(driver: str) -> None:
    libpq = "sslmode=disable&connect_timeout=3&channel_binding=prefer&application_name=mine"
    database, _ = read_url(f"postgresql+{driver}://db/pets?{libpq}")
    assert database.plain
    told = database.arguments.get("dsn", "") + database.url.render_as_string()
    assert "application_name=mine" in told
    assert ("connect_timeout" in told) == (driver == "psycopg"), "asyncpg does not know it"


def test_secrets_are_hidden_however_they_are_written() -> None:
    url = "postgresql://jo:p%40ss%2Fword@db/pets?sslpassword=key-secret"
    check = DatabaseCheck(url=url, password="another-secret")
    told = f"{url} jo:p%40ss%2Fword p%40ss%2Fword key-secret another-secret"
    assert not {"p%40ss", "key-secret", "another-secret"} & set(check.redact(told).split())
    assert "secret" not in check.redact(told)
    assert "p%40ss" not in check.redact(told)
    assert "secret" not in repr(check)
    assert "p%40ss" not in repr(check)
    assert check.redact("pets of jo on db") == "pets of jo on db"


def test_a_query_may_end_as_in_a_console() -> None:
    DatabaseCheck(query="SELECT 1;\n")


_WITHOUT = """
import importlib.util, sys
from petsage_grpc.checks.database import DatabaseCheck

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in missing else find(name)
for line in sys.stdin:
    url, *missing = line.split()
    try:
        DatabaseCheck(url=url)
    except ValueError as error:
        print(error)
    else:
        print("works")
"""

MISSING = {
    "sqlite:// sqlalchemy": 'url: needs SQLAlchemy: pip install "petsage-grpc[all]"',
    "postgresql://db asyncpg psycopg": 'url: needs asyncpg: pip install "petsage-grpc[postgresql]"',
    "postgresql+psycopg://db psycopg": 'url: needs psycopg: pip install "psycopg[binary]"',
    "mariadb://db aiomysql asyncmy": 'url: needs aiomysql: pip install "petsage-grpc[mysql]"',
    "mysql+asyncmy://db asyncmy": 'url: needs asyncmy: pip install "asyncmy"',
    "mysql://db greenlet": 'url: needs greenlet: pip install "petsage-grpc[mysql]"',
    "postgresql://db asyncpg": "works",
    "sqlite:// greenlet aiosqlite": "works",
}
"""What is said of a URL without some packages."""


def test_a_missing_driver_is_told_with_what_brings_it() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _WITHOUT], input="\n".join(MISSING), capture_output=True, text=True,
        check=False, timeout=30,
    )  # fmt: skip
    assert not ran.stderr
    assert dict(zip(MISSING, ran.stdout.splitlines(), strict=True)) == MISSING


def test_the_kind_is_listed_without_any_driver() -> None:
    assert load_kind("database") is DatabaseCheck
    code = "import sys, petsage_grpc.checks.database; print('sqlalchemy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


@pytest.mark.parametrize("driver", ["mysql", "postgresql+asyncpg", "postgresql+psycopg"])
@pytest.mark.parametrize("place", ["hunter2@Tiger@127.0.0.1:1", "hunter2@Ti/ger@db", "x@a..b"])
def test_a_part_of_a_password_is_never_taken_for_a_host(driver: str, place: str) -> None:
    with pytest.raises(ValueError, match=r"^url: ") as caught:
        DatabaseCheck(url=f"{driver}://app:{place}/d")
    assert "iger" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_port_that_can_not_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^url: its port is above 65535: correct it$"):
        DatabaseCheck(url="postgresql://app@db:99999/d")
