"""What the wire can not say must not cost the whole answer."""

import pytest

from petsage_grpc.core.report import Override
from petsage_grpc.core.words import Word
from petsage_grpc.rpc.convert import name_override

NOW = 1_800_000_000.0
YEAR = 366 * 86_400.0


@pytest.mark.parametrize("ttl", [8_000 * YEAR, 1e12, 1e300])
def test_an_end_that_no_date_can_name_is_none(ttl: float) -> None:
    word = Word("orders", serving=True, reason="", wall_time=NOW, ttl=ttl)
    assert not name_override(Override(word, None), with_detail=True).HasField("expires_at")


@pytest.mark.parametrize("ttl", [0.5, YEAR, 7_000 * YEAR])
def test_an_end_is_told(ttl: float) -> None:
    word = Word("orders", serving=True, reason="", wall_time=NOW, ttl=ttl)
    told = name_override(Override(word, None), with_detail=True)
    assert told.expires_at.ToNanoseconds() / 1e9 == pytest.approx(NOW + ttl)
