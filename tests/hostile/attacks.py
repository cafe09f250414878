"""All attacks; as a script it runs one: `attacks.py NAME HOST:PORT SECONDS`."""

import resource
import sys
from typing import Final

from tests.hostile import flooding, holding
from tests.hostile.raw import Attack, Field, OverError

__all__ = ["ATTACKS", "attack", "main"]

ATTACKS: Final[dict[str, Attack]] = holding.ATTACKS | flooding.ATTACKS
"""Each attack by its name; it is called again until its time is over."""


def attack(name: str, address: str, seconds: float) -> int:
    """Attack a server for so many seconds; say how often it did what it does."""
    field = Field(address, seconds)
    try:
        while not field.over:
            try:
                ATTACKS[name](field)
            except OSError:
                field.wait(0.001)
    except OverError:
        pass
    finally:
        field.leave()
    return field.count


def main() -> None:
    """Attack, and print how often it did what it does."""
    name, address, seconds = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(attack(name, address, float(seconds)))


if __name__ == "__main__":
    main()
