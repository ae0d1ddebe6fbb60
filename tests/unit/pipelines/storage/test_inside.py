from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.sources import open_manifest
from pipelines.storage.inside import check_inside, under_one_root
from pipelines.storage.manifest import MANIFEST_FILE, Manifest, table_from_columns
from raytrain.config.data import DataConfig
from raytrain.errors import ConfigError, DataError

OUTSIDE = [
    "/etc/hostname",
    "../../../etc/hostname",
    "a/../../b.png",
    "a/..",
    "..",
    "..\\b.png",
    "\\\\server\\share\\b.png",
    "C:\\b.png",
    "c:/b.png",
    "file:///etc/hostname",
    "s3://bucket/a.png",
    "a/b.zip!/../c.png",
    "a\0b",
]
INSIDE = [
    "a.png",
    "a/b.png",
    "..a/b..png",
    "a..b/c",
    "...",
    "x.zip!/a/b.png",
    "shards/0.parquet",
    "a:b.png",
    "\xe9 ?",
]


def manifest_of(uris: list[str], root: str = "") -> Manifest:
    many: dict[str, Any] = {"label": [0] * len(uris), "split": ["train"] * len(uris)}
    names = [str(number) for number in range(len(uris))]
    return Manifest(table=table_from_columns(key=names, uri=uris, group=names, **many), root=root)


@pytest.mark.parametrize("uri", OUTSIDE)
def test_a_manifest_that_leads_out_of_its_root_is_refused(uri: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST_FILE).write_bytes(manifest_of(["a.png", uri, "/b"]).to_bytes())
    with pytest.raises(DataError) as caught:
        open_manifest(DataConfig(root=str(tmp_path)))
    assert str(caught.value) == (
        f"{tmp_path}/{MANIFEST_FILE}: row 1 names {uri!r}, which is not below the root of the data; prepare "
        "it again, or do not use it if it is not yours"
    )


def test_what_lies_below_the_root_is_taken(tmp_path: Path) -> None:
    uris = [*INSIDE, "shapes://train/1", "moving-shapes://train/1"]
    (tmp_path / MANIFEST_FILE).write_bytes(manifest_of(uris, root="s3://bucket/set").to_bytes())
    schemes = ("shapes://", "moving-shapes://")
    loaded = Manifest.load(f"{tmp_path}/{MANIFEST_FILE}", schemes=schemes)
    assert loaded.table["uri"].to_pylist() == uris
    with pytest.raises(DataError, match="row 9 names 'shapes://train/1'"):
        Manifest.load(f"{tmp_path}/{MANIFEST_FILE}")


def test_a_row_without_a_uri_is_refused() -> None:
    with pytest.raises(DataError, match=r"^here: row 1 names None"):
        check_inside(pa.chunked_array([["a"], [None]]), "here")


def test_a_scheme_within_a_uri_is_none_at_its_start() -> None:
    with pytest.raises(DataError, match="row 0"):
        check_inside(pa.chunked_array([["a/shapes://../b"]]), "here", schemes=("shapes://",))


@pytest.mark.parametrize(
    ("uris", "root", "inside"),
    [
        (["/a/b/1.png", "/a/c/2.png"], "/a", ["b/1.png", "c/2.png"]),
        (["/a/b/1.png", "/c/2.png"], "/", ["a/b/1.png", "c/2.png"]),
        (["/a/bc/1.png", "/a/b/2.png"], "/a", ["bc/1.png", "b/2.png"]),
        (["/a/x.zip!/b/1.png", "/a/x.zip!/b/2.png"], "/a", ["x.zip!/b/1.png", "x.zip!/b/2.png"]),
        (["s3://b/1.png", "s3://b/c/2.png"], "s3://b", ["1.png", "c/2.png"]),
        (["shapes://1", "/a/b/2.png"], "/a/b", ["shapes://1", "2.png"]),
        (["shapes://1"], "", ["shapes://1"]),
    ],
)
def test_joined_data_get_one_root(uris: list[str], root: str, inside: list[str]) -> None:
    assert under_one_root(uris, schemes=("shapes://",)) == (root, inside)
    check_inside(pa.chunked_array([inside]), "here", schemes=("shapes://",))


@pytest.mark.parametrize("other", ["/a/1.png", "gs://b/1.png", "s3://c/1.png"])
def test_joined_data_without_a_common_folder_must_be_packed(other: str) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^the joined data have no folder in common, e\.g\. .*; pack them: add --shards encoded$",
    ):
        under_one_root(["s3://b/2.png", other])
