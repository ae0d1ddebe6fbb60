import pytest

pytest.importorskip("ray")

from pipelines.stream.broadcast import FIRST_SEGMENT, LARGEST_SEGMENT, segment_chunks


@pytest.mark.parametrize(
    ("made", "seconds", "expected"),
    [
        (64, 64.0, 120),  # one a second: two minutes of them
        (64, 6.4, 1200),
        (64, 0.064, LARGEST_SEGMENT),
        (1, 30.0, FIRST_SEGMENT),
        (0, 0.0, FIRST_SEGMENT),
    ],
)
def test_an_execution_is_as_long_as_two_minutes_at_the_pace_of_the_last(
    made: int, seconds: float, expected: int
) -> None:
    assert segment_chunks(made, seconds) == expected
