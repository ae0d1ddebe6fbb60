from pipelines.stream.window import DECODING, REPLAYING, STARTING, Window


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make(
    *readers: str, size: int = 4, num_chunks: int = 100, lease_s: float = 10
) -> tuple[Window[str], Clock]:
    clock = Clock()
    return Window(readers, size, num_chunks, lease_s, clock), clock


def fill(window: Window[str]) -> list[int]:
    made = []
    while (chunk := window.next_missing()) is not None:
        window.put(chunk, f"chunk {chunk}")
        made.append(chunk)
    return made


def test_nothing_is_made_before_every_reader_is_known() -> None:
    window, _ = make("a", "b")
    window.hear("a", 0)
    assert window.next_missing() is None
    assert window.cause("a", 0) == STARTING
    window.hear("b", 0)
    assert window.next_missing() == 0
    assert window.cause("a", 0) == DECODING


def test_the_window_ends_behind_the_slowest_reader() -> None:
    window, _ = make("a", "b")
    window.hear("a", 0)
    window.hear("b", 0)
    assert fill(window) == [0, 1, 2, 3]
    window.hear("a", 4)
    assert fill(window) == []
    assert window.cause("a", 4) == "b"
    window.hear("b", 2)
    assert fill(window) == [4, 5]
    assert window.get(1) is None
    assert window.get(2) == "chunk 2"


def test_a_reader_that_died_makes_the_stream_go_back_without_making_the_front_again() -> None:
    window, _ = make("a", "b", size=6)
    for reader in "ab":
        window.hear(reader, 10)
    assert fill(window) == [10, 11, 12, 13, 14, 15]
    window.hear("a", 16)
    window.hear("b", 8)
    made = []
    for cursor in (8, 9, 10, 11):
        window.hear("b", cursor)
        made += fill(window)
        assert window.get(cursor) == f"chunk {cursor}"
    # 8 and 9 are made again; the farthest ones gave way and come back; the middle was never lost
    assert made[:2] == [8, 9]
    assert not {10, 11, 12, 13} & set(made)
    assert window.cause("a", 17) == "b"


def test_waiting_for_a_chunk_that_is_made_again_is_called_replay() -> None:
    window, _ = make("a", "b", size=3)
    for reader in "ab":
        window.hear(reader, 5)
    fill(window)
    window.hear("b", 1)
    assert window.cause("b", 1) == REPLAYING


def test_a_restarted_producer_goes_on_from_the_cursors() -> None:
    window, _ = make("a", "b")
    window.hear("b", 42)
    window.hear("a", 40)
    assert fill(window) == [40, 41, 42, 43]


def test_a_reader_beyond_its_lease_no_longer_holds_the_others() -> None:
    window, clock = make("a", "b")
    window.hear("a", 0)
    window.hear("b", 0)
    fill(window)
    clock.now = 9
    window.hear("a", 4)
    assert window.next_missing() is None
    clock.now = 12
    window.hear("a", 4)
    assert window.next_missing() == 4
    assert window.was_lost("b")
    assert not window.was_lost("a")


def test_a_reader_that_is_done_no_longer_holds_the_others() -> None:
    window, _ = make("a", "b")
    window.hear("a", 3)
    window.hear("b", 0)
    window.finish("b")
    assert window.floor == 3
    assert not window.finished
    window.finish("a")
    assert window.finished
    assert window.next_missing() is None


def test_hints_let_the_making_begin_before_the_first_call() -> None:
    window, _ = make("a", "b")
    window.hint("a", 7)
    window.hint("b", 5)
    assert fill(window) == [5, 6, 7, 8]


def test_a_first_contact_may_take_longer_than_the_lease() -> None:
    window, clock = make("a", "b", lease_s=10)
    window.expect(100)
    window.hint("a", 0)
    window.hint("b", 0)
    clock.now = 90
    window.hear("a", 0)
    assert not window.was_lost("b")
    assert window.floor == 0


def test_the_stream_ends_with_the_last_chunk() -> None:
    window, _ = make("a", num_chunks=3)
    window.hear("a", 1)
    assert fill(window) == [1, 2]
    assert window.upcoming(10) == []


def test_a_segment_leaves_out_what_is_held() -> None:
    window, _ = make("a", size=6)
    window.hear("a", 0)
    for chunk in (1, 3):
        window.put(chunk, "held")
    assert window.upcoming(6) == [0, 2, 4, 5]


def test_chunks_that_nobody_reads_are_not_made() -> None:
    window, _ = make("a", size=4)
    window.unused = lambda chunk: chunk % 3 == 2
    window.hear("a", 0)
    assert fill(window) == [0, 1, 3]
    assert window.upcoming(9) == []
    window.hear("a", 3)
    assert fill(window) == [4, 6]


def test_more_than_the_window_is_never_held() -> None:
    window, _ = make("a", size=3)
    window.hear("a", 0)
    for chunk in range(10):
        window.put(chunk, "held")
    assert [chunk for chunk in range(10) if window.get(chunk)] == [0, 1, 2]
