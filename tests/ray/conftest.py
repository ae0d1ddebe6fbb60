from collections.abc import Iterator

import pytest

from raytrain import api
from raytrain.config import from_mapping
from raytrain.training.cluster import connect
from tests.conftest import run_values


@pytest.fixture(scope="session", autouse=True)
def cluster() -> Iterator[None]:
    """One local cluster for all tests of this folder, with room for four pathways of one worker."""
    values = run_values()
    values["training"]["workers"] = 5
    values["data"]["lanes"] = 5
    values["training"]["batch_size"] = 20
    with connect(from_mapping(values)):
        yield


@pytest.fixture(scope="session")
def inline(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    """The run of `run_values` without Ray."""
    folder = tmp_path_factory.mktemp("inline")
    return api.train(from_mapping(run_values(out=str(folder), training__executor="inline")))


@pytest.fixture(scope="session")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    """The run of `run_values` with two workers a pathway."""
    folder = tmp_path_factory.mktemp("two-workers")
    return api.train(from_mapping(run_values(out=str(folder), training__workers=2)))
