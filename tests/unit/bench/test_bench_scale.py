import pytest

from raytrain.bench import scale


@pytest.mark.slow
def test_a_task_costs_the_same_in_a_set_of_ten_times_the_size() -> None:
    rows = {row["name"]: row for row in scale.run(repeats=1, sizes=(1000, 10_000))}
    assert len(rows) == 2 * 8
    small, large = (rows[f"{size} rows: a task"]["value"] for size in ("1,000", "10,000"))
    assert 0 < large <= 1.02 * small < 1024
    memory = [rows[f"{size} rows: peak memory of a decode task"]["value"] for size in ("1,000", "10,000")]
    assert memory[1] < memory[0] + 4
    assert rows["10,000 rows: a chunk of 64 in its task, resumed run"]["ratio"] > 0
