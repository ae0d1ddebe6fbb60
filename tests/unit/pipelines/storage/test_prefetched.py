from pathlib import Path

import pytest

from pipelines.forms.quarantine import BadSample
from pipelines.storage import prefetched
from pipelines.storage.payload import read_payload
from pipelines.storage.places import Storage
from pipelines.storage.prefetched import PrefetchedStorage
from pipelines.storage.rows import Row


class Counting(Storage):
    """A storage that counts how often its reader thread is handed something."""

    handed = 0

    def _within_limit(self, work):  # type: ignore[no-untyped-def]
        self.handed += 1
        return super()._within_limit(work)


def rows_of(count: int, uri: str = "many.bin") -> list[Row]:
    return [Row(key=str(n), uri=uri, offset=4 * n, size=4, payload="u8:chw:1x2x2") for n in range(count)]


@pytest.fixture
def storage(tmp_path: Path) -> Counting:
    (tmp_path / "many.bin").write_bytes(bytes(range(80)))
    (tmp_path / "whole.jpg").write_bytes(b"whole")
    return Counting(str(tmp_path))


def test_samples_within_a_file_are_read_at_one_hand_over(storage: Counting) -> None:
    rows = rows_of(20)
    ahead = PrefetchedStorage(storage, reversed(rows))
    assert [read_payload(row, ahead) for row in rows] == [bytes(range(4 * n, 4 * n + 4)) for n in range(20)]
    assert storage.handed == 1


def test_whole_files_and_what_is_asked_for_again_go_to_the_storage(storage: Counting) -> None:
    row, whole = rows_of(1)[0], Row(key="whole", uri="whole.jpg")
    ahead = PrefetchedStorage(storage, [row, whole])
    assert read_payload(whole, ahead) == b"whole"
    assert storage.handed == 2
    assert [read_payload(row, ahead) for _ in range(2)] == [bytes(range(4))] * 2
    assert storage.handed == 3
    assert PrefetchedStorage(storage, [whole])._held == {}
    assert storage.handed == 3


def test_a_missing_file_is_the_samples_own_and_is_looked_for_again(storage: Counting, tmp_path: Path) -> None:
    good, gone = rows_of(1)[0], rows_of(1, "gone.bin")[0]
    ahead = PrefetchedStorage(storage, [gone, good])
    assert read_payload(good, ahead) == bytes(range(4))
    with pytest.raises(BadSample, match=r"^missing: No such file"):
        read_payload(gone, ahead)
    (tmp_path / "gone.bin").write_bytes(bytes(4))
    assert read_payload(gone, ahead) == bytes(4)


def test_what_is_read_ahead_is_bounded(storage: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetched, "MOST_BYTES", 8)
    rows = rows_of(3)
    ahead = PrefetchedStorage(storage, rows)
    assert len(ahead._held) == 2
    assert read_payload(rows[2], ahead) == bytes(range(8, 12))
