from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.sources import open_manifest
from raytrain.cli import main
from raytrain.config import RunConfig, from_mapping, load_preset, preset_names
from raytrain.config.machine import usable_memory
from raytrain.errors import ConfigError
from raytrain.training import cluster, memory
from raytrain.training.allotment import Node


def config_of(canvas_px: int) -> RunConfig:
    data = {"source": "shapes", "shapes": {"num_train": 64, "num_test": 8}, "canvas_px": canvas_px}
    return from_mapping(
        {"preset": "p", "data": data, "training": {"batch_size": 32}, "pathways": {"identity": {}}}
    )


def nodes_of_gib(*sizes: float | None) -> list[Node]:
    return [Node(cpus=1, cores=1, memory=None if size is None else size * 2**30) for size in sizes]


def test_a_batch_that_does_not_fit_is_refused_with_the_numbers() -> None:
    config = config_of(2048)
    with pytest.raises(
        ConfigError, match=r"32 samples of 12\.0 MiB takes at least 1\.9 GiB .* but 1\.0 GiB are free"
    ):
        memory.check_training(config, open_manifest(config.data), nodes_of_gib(1))
    memory.check_training(config_of(64), open_manifest(config.data), nodes_of_gib(1))


def test_a_batch_is_held_against_the_largest_machine_of_a_cluster() -> None:
    config = config_of(2048)
    manifest = open_manifest(config.data)
    with pytest.raises(
        ConfigError, match=r"at least 1\.9 GiB of memory, but 1\.5 GiB are free on the largest of 2 machines;"
    ):
        memory.check_training(config, manifest, nodes_of_gib(0.5, 1.5))
    memory.check_training(config, manifest, nodes_of_gib(0.5, 2))
    memory.check_training(config, manifest, nodes_of_gib(0.5, None))


def test_the_nodes_of_a_cluster_say_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    entries = [
        {"NodeID": "here", "Alive": True, "Resources": {"CPU": 2.0, "memory": 5e9}},
        {"NodeID": "there", "Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0, "memory": 7e9}},
        {"NodeID": "untold", "Alive": True, "Resources": {"CPU": 8.0}},
        {"NodeID": "gone", "Alive": False, "Resources": {"memory": 9e9}},
    ]
    monkeypatch.setattr(ray, "nodes", lambda: entries)
    context = SimpleNamespace(get_node_id=lambda: "here")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(cluster, "usable_memory", lambda: 2**30)
    assert [node.memory for node in cluster.cluster_nodes()] == [2**30, 7e9, None]


def test_what_operators_are_standardised_by_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "usable_memory", lambda: 5 * 2**28)
    config = config_of(1024)
    config = replace(config, training=replace(config.training, batch_size=2))
    shapes = replace(config.data, shapes=replace(config.data.shapes, num_train=300))
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")  # it is made here all the same
    memory.check_estimate(config, open_manifest(config.data))
    with pytest.raises(
        ConfigError, match=r"estimate of the standardisers of \d+ samples of 3\.0 MiB takes at least 1\.\d"
    ):
        memory.check_estimate(config, open_manifest(shapes))


def test_estimates_never_allocate(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "shapes-demo", "--data.canvas-px", "100000", "--dry-run"]
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "lower data.canvas_px (now 100000)" in said.err


@pytest.mark.parametrize(
    "allocate", [lambda: np.empty(2**60, np.uint8), lambda: torch.empty(2**60, dtype=torch.uint8)]
)
def test_memory_that_runs_out_is_one_line(
    allocate: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("raytrain.cli._dispatch", lambda arguments: allocate())
    assert main(["train", "shapes-demo"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("raytrain: out of memory (")
    assert "allocate" in said
    assert said.endswith("; lower training.batch_size, data.canvas_px or a width\n")
    assert said.count("\n") == 1


def test_a_container_s_limit_counts(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    assert usable_memory(meminfo, tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert usable_memory(meminfo, tmp_path) == 2_000_000
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 500000\n")
    assert usable_memory(meminfo, tmp_path) == 2_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert usable_memory(meminfo, tmp_path) == 4000 * 1024
    assert usable_memory(tmp_path / "no", tmp_path) is None


def test_weights_that_fit_no_machine_are_refused_before_they_are_made() -> None:
    config = config_of(64)
    wide = replace(config.pathways["identity"].encoder, width=40.0)
    config = replace(config, pathways={"lbp": replace(config.pathways["identity"], encoder=wide)})
    says = r"the weights of pathways\.lbp\.encoder take at least 38\d\.\d GiB .* but 8\.0 GiB are free; lower"
    with pytest.raises(ConfigError, match=says):
        memory.check_training(config, open_manifest(config.data), nodes_of_gib(8))


@pytest.mark.parametrize("name", preset_names())
def test_the_weights_of_every_preset_are_counted_without_being_made(name: str) -> None:
    memory._check_weights(load_preset(name), 2**40, "free")
    with pytest.raises(ConfigError, match="the weights of pathways"):
        memory._check_weights(load_preset(name), 1, "free")
