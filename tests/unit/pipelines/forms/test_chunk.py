from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from pipelines.forms.chunk import Chunk, Column, Ragged, from_table, to_table


def make_chunk(num_factors: int = 2, num_labels: int = 3) -> Chunk:
    rng = np.random.default_rng(0)
    return Chunk(
        number=7,
        epoch=1,
        rows=np.arange(5) * 3,
        positions=np.arange(5),
        valid=np.array([True, True, False, True, True]),
        keys=[f"a/{index}.png" for index in range(5)],
        key_hashes=rng.integers(0, 2**63, 5).astype(np.uint64),
        labels=np.array([0, 1, 2, -1, 1]),
        groups=np.arange(5),
        factors=rng.random((5, num_factors)).astype(np.float32),
        columns={
            "images": rng.integers(0, 256, (5, 3, 4, 4), dtype=np.uint8),
            "frames": Ragged.of(
                [rng.integers(0, 256, (n, 3, 2, 2), dtype=np.uint8) for n in (2, 0, 1, 3, 1)]
            ),
            "empty": Ragged.of([np.zeros((0, 3, 4, 4), np.uint8)] * 5),
            "index": rng.integers(0, 9, (5, 4), dtype=np.int32),
        },
        counts={"short": 2},
        label_sets=rng.integers(0, 2, (5, num_labels), dtype=np.uint8),
        decodes=5,
        quarantined=[{"key": "a/2.png", "reason": "truncated"}],
        operated={"lbp": rng.random((5, 1, 4, 4)).astype(np.float32)},
    )


def assert_column(found: Column, value: Column) -> None:
    if not isinstance(value, Ragged):
        np.testing.assert_array_equal(found, value)
        return
    assert isinstance(found, Ragged)
    assert found.values.dtype == value.values.dtype
    np.testing.assert_array_equal(found.offsets, value.offsets)
    np.testing.assert_array_equal(found.values, value.values)


def assert_equal(one: Chunk, other: Chunk) -> None:
    for name, value in one.__dict__.items():
        found = getattr(other, name)
        if isinstance(value, np.ndarray):
            assert found.dtype == value.dtype, name
            np.testing.assert_array_equal(found, value, err_msg=name)
        elif name in ("operated", "columns"):
            assert found.keys() == value.keys()
            for view in value:
                assert_column(found[view], value[view])
        else:
            assert found == value, name


def test_a_table_gives_the_chunk_back() -> None:
    assert_equal(make_chunk(), from_table(to_table(make_chunk())))


def test_a_chunk_without_factors() -> None:
    assert from_table(to_table(make_chunk(num_factors=0))).factors.shape == (5, 0)


def test_a_chunk_without_label_sets() -> None:
    assert from_table(to_table(make_chunk(num_labels=0))).label_sets.shape == (5, 0)
    fields = {name: value for name, value in make_chunk().__dict__.items() if name != "label_sets"}
    assert Chunk(**fields).label_sets.shape == (5, 0)


def test_a_table_of_an_earlier_version_is_told_apart() -> None:
    table = to_table(make_chunk())
    header = table.column("header")[0].as_py().replace('"counts"', '"something"')
    column = pa.array([header] + [None] * 4, pa.string())
    with pytest.raises(KeyError):
        from_table(table.set_column(table.column_names.index("header"), "header", column))


def test_a_slice_of_a_table_gives_its_own_samples() -> None:
    chunk, part = make_chunk(), from_table(to_table(make_chunk()).slice(0, 3))
    frames, whole = part.columns["frames"], chunk.columns["frames"]
    assert isinstance(frames, Ragged)
    assert isinstance(whole, Ragged)
    assert [len(frames[sample]) for sample in range(3)] == [2, 0, 1]
    np.testing.assert_array_equal(frames[2], whole[2])


def test_pixels_are_a_view_of_the_table() -> None:
    table = to_table(make_chunk())
    images = from_table(table).images
    buffer = table.column("column:images").chunk(0).buffers()[1]
    assert np.shares_memory(images, np.frombuffer(buffer, np.uint8))


def test_a_table_survives_the_ipc_format(tmp_path: object) -> None:
    sink = pa.BufferOutputStream()
    table = to_table(make_chunk())
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert_equal(make_chunk(), from_table(pa.ipc.open_stream(sink.getvalue()).read_all()))


@pytest.mark.parametrize("valid", [(1, 1, 0, 1, 1), (0, 0, 0, 1, 0), (0,) * 5])
def test_a_chunk_without_its_invalid_samples_holds_the_others(valid: tuple[int, ...]) -> None:
    chunk = replace(make_chunk(), valid=np.array(valid, np.bool_))
    left, places = chunk.without_invalid(), np.flatnonzero(valid)
    assert len(left) == len(places)
    assert left.keys == [chunk.keys[place] for place in places]
    for name in ("rows", "positions", "key_hashes", "labels", "groups", "factors", "label_sets"):
        np.testing.assert_array_equal(getattr(left, name), getattr(chunk, name)[places])
    assert left.columns.keys() == chunk.columns.keys()
    for name, column in chunk.columns.items():
        assert len(left.columns[name]) == len(places)
        for place, sample in enumerate(places):
            np.testing.assert_array_equal(left.columns[name][place], column[sample])
    assert left.valid.all()
    assert left.without_invalid() is left
