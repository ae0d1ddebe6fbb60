import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.storage.columns import TEXT
from pipelines.storage.manifest import Manifest, table_from_columns
from raytrain.errors import DataError, StorageError


def columns(**changes: Any) -> dict[str, Any]:
    base = {
        "key": ["a", "b", "c", "d", "e"],
        "uri": ["a.png", "b.png", "c.png", "d.png", "e.png"],
        "label": [0, 1, -1, 0, 1],
        "split": ["train", "train", "pretrain", "select", "test"],
        "group": ["x", "y", "x", "z", "w"],
    }
    return base | changes


def manifest(root: str = "/data", **changes: Any) -> Manifest:
    return Manifest(table=table_from_columns(**columns(**changes)), root=root, classes=("p", "q"))


def test_runs_splits() -> None:
    made = manifest()
    assert made.indices("pretrain").tolist() == [0, 1, 2]
    assert made.indices("probe_train").tolist() == [0, 1]
    assert made.indices("select").tolist() == [3]
    assert made.indices("test").tolist() == [4]
    assert manifest(label=[0, -1, -1, 0, -1]).indices("probe_train").tolist() == [0]
    assert manifest(label=[0, -1, -1, 0, -1]).indices("test").tolist() == []
    with pytest.raises(ValueError, match="unknown split 'train'; known: pretrain, probe_train"):
        made.indices("train")


def test_columns_as_arrays() -> None:
    made = manifest(factors={"hue": np.arange(5), "size": np.arange(5) * 2})
    assert made.group_ids.tolist() == [0, 1, 0, 2, 3]
    assert made.keys_of(np.array([3, 0])) == ["d", "a"]
    assert made.rows_of({"e", "b", "elsewhere"}).tolist() == [1, 4]
    assert made.rows_of(set()).tolist() == []
    assert made.factor_names == ("hue", "size")
    assert made.factors.tolist() == [[0, 0], [1, 2], [2, 4], [3, 6], [4, 8]]
    assert made.factors.dtype == np.float32
    assert manifest().factors.shape == (5, 0)


def test_hash_is_of_the_content_not_of_the_place() -> None:
    first = manifest()
    assert first.hash == manifest(root="/other").hash
    assert first.hash == manifest(uri=["1", "2", "3", "4", "5"]).hash
    # Pinned: a changed hash would turn every running training away from its data.
    assert first.fingerprint.samples.startswith("37c1bebf0a471d465b775feb")
    changed: list[dict[str, Any]] = [
        {"key": ["a", "b", "c", "d", "f"]},
        {"label": [0, 1, -1, 1, 1]},
        {"split": ["train", "train", "train", "select", "test"]},
        {"group": ["x", "y", "y", "z", "w"]},
        {"checksum": ["", "", "", "", "0a"]},
        {"bytes_": [1, 2, 3, 4, 5]},
        {"factors": {"hue": np.arange(5)}},
        {"key": ["ab", "", "c", "d", "e"]},
    ]
    hashes = {manifest(**change).hash for change in changed} | {first.hash}
    assert len(hashes) == len(changed) + 1


def test_hash_does_not_depend_on_how_the_table_is_cut_or_stored() -> None:
    table = table_from_columns(**columns(payload=["", "", "u8:chw:3x2x2", "", "u8:chw:3x2x2"]))
    expected = Manifest(table=table, root="", classes=("p", "q")).hash
    longer = pa.concat_tables([table.slice(4, 1), table, table.slice(0, 1)])
    narrow = [field.with_type(pa.string()) if field.type == TEXT else field for field in table.schema]
    forms = {
        "pieces": pa.concat_tables([table.slice(0, 2), table.slice(2, 3)]),
        "a slice": longer.slice(1, 5),
        "32-bit offsets": table.cast(pa.schema(narrow)),
        "dictionaries": pa.table(
            {
                name: table[name].dictionary_encode() if table[name].type == TEXT else table[name]
                for name in table.column_names
            }
        ),
    }
    for form, made in forms.items():
        assert Manifest(table=made, root="", classes=("p", "q")).hash == expected, form


def test_columns_are_kept_small() -> None:
    num = 1000
    keys = [f"folder/{number:06d}" for number in range(num)]
    made = Manifest(
        table=table_from_columns(
            key=keys,
            uri=keys,
            group=keys,
            label=[0] * num,
            split=["train"] * num,
            payload=["u8:chw:3x2x2"] * num,
        ),
        root="",
        classes=("p", "q"),
    )
    buffers = {name: made.table[name].chunk(0).buffers()[2].address for name in ("key", "uri", "group")}
    assert len(set(buffers.values())) == 1  # one memory for all three
    assert made.table["split"].type == made.table["payload"].type == pa.dictionary(pa.int32(), TEXT)
    assert made.table["key"].type == TEXT
    assert all(column.num_chunks == 1 for column in made.table.columns)
    assert made.group_ids.tolist() == list(range(num))
    # The keys once, four columns of 8 bytes, an empty checksum's, and two of 4-byte numbers.
    assert len(pickle.dumps(made)) < made.table["key"].nbytes + (3 * 8 + 8 + 2 * 4) * num + 4000
    again = pickle.loads(pickle.dumps(made))
    assert again.table.equals(made.table)
    assert again.hash == made.hash
    assert again.rows(np.array([7])).uris == [keys[7]]


def test_a_group_that_returns_keeps_its_number_after_rows_were_taken() -> None:
    groups = ["z", "y", "x"] * 4
    table = table_from_columns(
        key=[str(n) for n in range(12)],
        uri=[str(n) for n in range(12)],
        label=[0] * 12,
        split=["train"] * 12,
        group=groups,
    )
    made = Manifest(table=table, root="", classes=("p", "q"))
    assert made.group_ids.tolist() == [0, 1, 2] * 4
    taken = Manifest(table=made.table.take([2, 4, 5, 1]), root="", classes=("p", "q"))
    assert taken.group_ids.tolist() == [0, 1, 0, 1]


def test_indices_are_found_once_and_handed_out_anew() -> None:
    made = manifest()
    first = made.indices("pretrain")
    first[0] = 99  # whoever gets them may do as he likes
    assert made.indices("pretrain").tolist() == [0, 1, 2]
    assert made.indices("pretrain").dtype == np.int64


LABEL_SETS = np.array([[1, 0], [1, 1], [0, 0], [0, 1], [0, 0]], np.uint8)


def with_label_sets(sets: np.ndarray = LABEL_SETS, **changes: Any) -> Manifest:
    return manifest(label=[0, 0, -1, 0, 0], label_sets=sets, **changes)


def test_several_labels_a_sample(tmp_path: Path) -> None:
    made = with_label_sets(factors={"hue": np.arange(5)})
    assert made.label_matrix is not None
    assert made.label_matrix.dtype == np.uint8
    assert np.array_equal(made.label_matrix, LABEL_SETS)
    assert made.label_sets is made.label_matrix
    # A labelled sample may have none of the labels; an unlabelled one is not known.
    assert made.labels.tolist() == [0, 0, -1, 0, 0]
    assert made.indices("probe_train").tolist() == [0, 1]
    assert made.factor_names == ("hue",)
    path = str(tmp_path / "manifest.parquet")
    made.save(path)
    loaded = Manifest.load(path)
    assert np.array_equal(loaded.label_sets, LABEL_SETS)
    assert loaded.hash == made.hash
    assert str(loaded.table["labels"].type) == "fixed_size_list<element: uint8>[2]"
    taken = Manifest(table=made.table.take([4, 1]), root="", classes=("p", "q"))
    assert taken.label_sets.tolist() == [[0, 0], [1, 1]]
    pieces = pa.concat_tables([made.table.slice(0, 2), made.table.slice(2, 3)])
    assert np.array_equal(Manifest(table=pieces, root="", classes=("p", "q")).label_sets, LABEL_SETS)


def test_label_sets_are_part_of_the_hash() -> None:
    changed = LABEL_SETS.copy()
    changed[3] = [1, 1]
    plain = manifest(label=[0, 0, -1, 0, 0])
    assert len({with_label_sets().hash, with_label_sets(changed).hash, plain.hash}) == 3
    assert plain.label_matrix is None
    assert plain.label_sets.shape == (5, 0)


def test_label_sets_need_a_name_each() -> None:
    with pytest.raises(
        DataError, match=r"^/data: 3 labels a sample in the manifest, but 2 class names; prep"
    ):
        with_label_sets(np.zeros((5, 3), np.uint8))


def test_a_payload_column_overrides_the_manifests_own() -> None:
    made = manifest(payload=["", "u8:chw:3x2x2", "", "", ""])
    assert [made.payload_of(row) for row in range(3)] == ["encoded", "u8:chw:3x2x2", "encoded"]
    assert made.factor_names == ()
    assert made.hash != manifest().hash
    assert manifest(payload=[""] * 5).hash == manifest().hash


def test_samples_that_are_only_probed_with() -> None:
    made = manifest(split=["probe_train", "train", "pretrain", "select", "test"])
    assert made.indices("probe_train").tolist() == [0, 1]
    assert made.indices("pretrain").tolist() == [1, 2]


def test_duplicate_keys_are_named() -> None:
    with pytest.raises(
        DataError, match=r"^/data: 2 duplicate keys in the manifest, e\.g\. 'c'; every sample"
    ):
        manifest(key=["a", "c", "c", "d", "c"])
    assert DataError.exit_code == 3


def test_unknown_splits_and_missing_columns_are_named() -> None:
    with pytest.raises(DataError, match="unknown split 'dev' in the manifest; known: train, pretrain"):
        manifest(split=["train", "train", "dev", "select", "test"])
    with pytest.raises(DataError, match="the manifest lacks the columns uri, group"):
        Manifest(table=table_from_columns(**columns()).drop_columns(["uri", "group"]), root="/data")


def test_saves_and_loads(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "manifest.parquet")
    made = manifest(factors={"hue": np.linspace(0, 1, 5)}, checksum=["aa"] * 5)
    made.save(path)
    loaded = Manifest.load(path)
    assert loaded.table.equals(made.table)
    assert (loaded.root, loaded.classes, loaded.hash) == ("/data", ("p", "q"), made.hash)
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "manifest.parquet").write_bytes(made.to_bytes(root=""))
    assert Manifest.load(f"{tmp_path}/moved/manifest.parquet").root == f"{tmp_path}/moved"


def test_pickles_small() -> None:
    made = manifest()
    plain = len(pickle.dumps(made))
    assert made.indices("test").size
    assert made.group_ids.size
    assert len(pickle.dumps(made)) == plain
    # What was seen of the files travels along: elsewhere they may not lie at all.
    hashed = made.hash
    assert "fingerprint" in pickle.loads(pickle.dumps(made)).__dict__
    assert pickle.loads(pickle.dumps(made)).hash == hashed


def test_unreadable_manifests_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.parquet: missing: No such file"):
        Manifest.load(str(tmp_path / "nowhere.parquet"))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(
        DataError, match=r"broken\.parquet: not a manifest of raytrain .*run `raytrain prepare` again"
    ):
        Manifest.load(str(tmp_path / "broken.parquet"))
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), tmp_path / "foreign.parquet")
    with pytest.raises(DataError, match=r"foreign\.parquet: not a manifest of raytrain"):
        Manifest.load(str(tmp_path / "foreign.parquet"))


def test_the_light_rooms_load_no_torch() -> None:
    rooms = [
        "forms.chunk",
        "storage.event_shards",
        "decode.read_image",
        "sources",
        "order.event_limits",
        "preparing.inspect",
    ]
    code = "; ".join(f"import pipelines.{room}" for room in rooms)
    code += "; import sys; print(sorted({'torch', 'ray', 'pandas', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_failed_save_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"manifest\.parquet: cannot be written"):
        manifest().save(str(tmp_path / "file" / "manifest.parquet"))
