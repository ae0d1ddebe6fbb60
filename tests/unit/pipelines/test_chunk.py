import numpy as np
import pyarrow as pa

from pipelines.chunk import Chunk, from_table, to_table


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
        images=rng.integers(0, 256, (5, 3, 4, 4), dtype=np.uint8),
        label_sets=rng.integers(0, 2, (5, num_labels), dtype=np.uint8),
        decodes=5,
        quarantined=[{"key": "a/2.png", "reason": "truncated"}],
        operated={"lbp": rng.random((5, 1, 4, 4)).astype(np.float32)},
    )


def assert_equal(one: Chunk, other: Chunk) -> None:
    for name, value in one.__dict__.items():
        found = getattr(other, name)
        if isinstance(value, np.ndarray):
            assert found.dtype == value.dtype, name
            np.testing.assert_array_equal(found, value, err_msg=name)
        elif name == "operated":
            assert found.keys() == value.keys()
            for view in value:
                np.testing.assert_array_equal(found[view], value[view])
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


def test_a_chunk_kept_by_an_earlier_version() -> None:
    table = to_table(make_chunk())
    header = table.column("header")[0].as_py().replace('"label_sets"', '"something"')
    column = pa.array([header] + [None] * 4, pa.string())
    kept = table.set_column(table.column_names.index("header"), "header", column)
    kept = kept.rename_columns([name.replace("label_sets", "something") for name in kept.column_names])
    assert from_table(kept).label_sets.shape == (5, 0)
    assert np.array_equal(from_table(kept).images, make_chunk().images)


def test_pixels_are_a_view_of_the_table() -> None:
    table = to_table(make_chunk())
    images = from_table(table).images
    buffer = table.column("images").chunk(0).buffers()[1]
    assert np.shares_memory(images, np.frombuffer(buffer, np.uint8))


def test_a_table_survives_the_ipc_format(tmp_path: object) -> None:
    sink = pa.BufferOutputStream()
    table = to_table(make_chunk())
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert_equal(make_chunk(), from_table(pa.ipc.open_stream(sink.getvalue()).read_all()))
