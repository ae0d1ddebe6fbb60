"""Fixed operators before an encoder: one file each, and the registry that `raytrain list` prints."""

from pipelines.operators.base import Operator
from pipelines.operators.dtcwt import Dtcwt
from pipelines.operators.identity import Identity
from pipelines.operators.lbp import Lbp
from pipelines.operators.rg import Rg
from raytrain.config.operators import OperatorConfig

OPERATORS: dict[str, type[Operator]] = {"identity": Identity, "lbp": Lbp, "rg": Rg, "dtcwt": Dtcwt}


def build_operator(config: OperatorConfig) -> Operator:
    """Return the operator that the settings name."""
    return OPERATORS[config.name](config)


__all__ = ["OPERATORS", "Operator", "build_operator"]
