from raytrain.bench import batches


def test_batches_are_read_against_a_plain_copy() -> None:
    row = batches._row(16, 2, 1, repeats=1)
    assert row["name"] == "read 128 images of 16 px, 2 lane(s)"
    assert row["value"] > 0
    assert row["ratio"] > 0
