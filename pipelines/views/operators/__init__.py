"""Fixed operators before an encoder: one file each, what it is for in its settings; their registry."""

from pipelines.views.operators.base import Operator
from pipelines.views.operators.dtcwt import Dtcwt
from pipelines.views.operators.identity import Identity
from pipelines.views.operators.lbp import Lbp
from pipelines.views.operators.rg import Rg
from raytrain.config.operators import AnyOperatorConfig

OPERATORS: dict[str, type[Operator]] = {"identity": Identity, "lbp": Lbp, "rg": Rg, "dtcwt": Dtcwt}


def build_operator(config: AnyOperatorConfig) -> Operator:
    """Return the operator of images that the settings name.

    Raises: KeyError for one of events, see `pipelines.views.operators.events`.
    """
    return OPERATORS[config.name](config)


__all__ = ["OPERATORS", "Operator", "build_operator"]
