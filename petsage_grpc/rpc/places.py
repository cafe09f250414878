"""Keeps places for the callers of a server, so that what one of them takes no other can lose."""

from collections import Counter
from collections.abc import Hashable
from typing import TypeVar

__all__ = ["NamePlaces", "Places", "take_one"]

_Key = TypeVar("_Key", bound=Hashable)


class Places:
    """How many there may be at once, in all and of one peer.

    Args:
        most: in all.
        most_of_peer: of one peer.
    """

    def __init__(self, most: int, most_of_peer: int) -> None:
        self.taken = 0
        self._most = most
        self._most_of_peer = most_of_peer
        self._of_peers: Counter[str] = Counter()

    def full(self) -> bool:
        """Say whether there is no place for anybody."""
        return self.taken >= self._most

    def full_for(self, peer: str) -> bool:
        """Say whether this peer has all that it may have."""
        return self._of_peers[peer] >= self._most_of_peer

    def take(self, peer: str) -> None:
        """Take a place; whether there is one was asked before."""
        self.taken += 1
        self._of_peers[peer] += 1

    def leave(self, peer: str) -> None:
        """Give a place back."""
        self.taken -= 1
        take_one(self._of_peers, peer)


class NamePlaces:
    """How many different names there may be at once, in all and of one peer.

    A peer answers for the names that it has itself, whoever else has them: no other can use up
    its places.

    Args:
        most: in all; one peer may have half of them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_peer = max(1, most // 2)
        self._names: Counter[str] = Counter()
        self._of_peers: dict[str, Counter[str]] = {}

    def full(self, name: str) -> bool:
        """Say whether there is no place for this name."""
        return name not in self._names and len(self._names) >= self._most

    def full_for(self, peer: str, name: str) -> bool:
        """Say whether this peer has as many other names as it may have."""
        names = self._of_peers.get(peer, ())
        return name not in names and len(names) >= self._most_of_peer

    def take(self, peer: str, name: str) -> None:
        """Take the name once; whether there is a place was asked before."""
        self._names[name] += 1
        self._of_peers.setdefault(peer, Counter())[name] += 1

    def leave(self, peer: str, name: str) -> None:
        """Give the name back, as often as it was taken."""
        names = self._of_peers[peer]
        take_one(names, name)
        take_one(self._names, name)
        if not names:
            del self._of_peers[peer]


def take_one(counter: "Counter[_Key]", key: _Key) -> None:
    """Count one less of a key."""
    counter[key] -= 1
    if not counter[key]:  # or what has left would pile up
        del counter[key]
