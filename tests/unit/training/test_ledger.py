import pytest

from pipelines.stream.window import DECODING, REPLAYING, STARTING
from raytrain.training.ledger import Ledger, explain


def test_time_is_added_to_its_account_even_when_the_block_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 13.0, 20.0, 21.0, 30.0, 34.0])
    monkeypatch.setattr("raytrain.training.ledger.time.perf_counter", lambda: next(clock))
    ledger = Ledger()
    with ledger.time("data"):
        pass
    with ledger.time("data"):
        pass
    with pytest.raises(OSError, match="full"), ledger.time("checkpoint"):
        raise OSError("full")
    assert (ledger.data, ledger.step, ledger.checkpoint) == (4.0, 0.0, 4.0)
    assert ledger.shares() == {"data": 0.5, "step": 0.0, "checkpoint": 0.5}


def test_an_empty_ledger_has_no_shares() -> None:
    assert Ledger().shares() == {"data": 0.0, "step": 0.0, "checkpoint": 0.0}


@pytest.mark.parametrize(
    ("share", "causes", "said"),
    [
        (0.04, {DECODING: 9.0}, "lbp waited 4 % for data"),
        (0.31, {}, "lbp waited 31 % for data"),
        (0.31, {DECODING: 1.0, "dtcwt/0": 3.0}, "lbp waited 31 % for data: dtcwt is the slowest reader"),
        (
            0.31,
            {DECODING: 2.0, STARTING: 1.0},
            "lbp waited 31 % for data: decoding is the slowest part; raise data.decode_tasks, "
            "or data.cache = 'memory'",
        ),
        (0.5, {STARTING: 1.0}, "lbp waited 50 % for data: another pathway was still starting"),
        (
            0.5,
            {REPLAYING: 1.0},
            "lbp waited 50 % for data: chunks were made again for a pathway that came back",
        ),
        (0.5, {"broadcast restarting": 1.0}, "lbp waited 50 % for data: the broadcast was restarted"),
    ],
)
def test_a_wait_is_said_in_words(share: float, causes: dict[str, float], said: str) -> None:
    assert explain("lbp", {"data": share}, causes) == said
