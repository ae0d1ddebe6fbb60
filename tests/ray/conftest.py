from collections.abc import Iterator

import pytest

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
