"""The hinge loss against the published code's own values (tests/fixtures/clapp_parity.md)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from raytrain.config import ClappConfig
from raytrain.objectives.hinge import hinge_loss
from raytrain.objectives.scores import Pairs, plan_scores

FIXTURE = np.load(Path(__file__).parents[2] / "fixtures" / "clapp_parity.npz")
NEGATIVES = {"A": "same_image", "B": "same_image", "B1": "same_image", "C": "per_location", "D": "everywhere"}
ROWS, IMAGES, COLUMNS = 7, 6, 5


def config_of(case, num_steps):
    return ClappConfig(
        num_steps=num_steps,
        symmetric=True,
        synchronous=case not in ("B", "B1"),
        negatives=NEGATIVES[case],
        num_negatives=4 if case == "D" else 1,
    )


def numbers_of(case, num_steps):
    """Bring the fixture's negatives into our pair order, i64[n, P]."""
    parts = []
    for k in range(1, num_steps + 1):
        drawn, rows = FIXTURE[f"{case}.neg_k{k}"].astype(np.int64), ROWS - k - 1
        if case == "C":
            parts.append(drawn.transpose(0, 2, 1).reshape(1, -1))
        elif case == "D":
            row, column, image = np.unravel_index(
                drawn.reshape(rows, COLUMNS, IMAGES, 4), (rows, COLUMNS, IMAGES)
            )
            ours = (row * IMAGES + image) * COLUMNS + column
            parts.append(ours.transpose(3, 0, 2, 1).reshape(4, -1))
        else:
            parts.append(np.broadcast_to(drawn[None, :, None], (rows, IMAGES, COLUMNS)).reshape(1, -1))
    return np.concatenate(parts, axis=1)


def evaluate(case, mode, num_steps, dtype):
    rep = torch.tensor(FIXTURE[f"{case}.z"], dtype=dtype).permute(2, 0, 3, 1).contiguous().requires_grad_()
    matrices = torch.tensor(FIXTURE[f"{case}.W"][:num_steps], dtype=dtype).requires_grad_()
    pairs = Pairs(num_rows=ROWS, num_images=IMAGES, num_columns=COLUMNS, num_steps=num_steps, skip=1)
    signs = FIXTURE[f"{case}.sign"].astype(np.int64) if f"{case}.sign" in FIXTURE else None
    scores = plan_scores(
        pairs, config_of(case, num_steps), signs=signs, numbers=numbers_of(case, num_steps), like=rep.detach()
    )
    loss = hinge_loss(rep, matrices, scores, pairs, to_context=mode != "z", to_target=mode != "c")
    loss.backward()
    return loss.detach(), rep.grad.permute(1, 3, 0, 2), matrices.grad


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, (1e-10, 1e-14)), (torch.float32, (2e-5, 1e-6))]
)
@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("case", "mode"),
    [(case, mode) for case in NEGATIVES for mode in ("both", "z", "c") if f"{case}.{mode}.loss" in FIXTURE],
)
def test_loss_and_gradients_equal_the_published_code(case, mode, num_steps, dtype, tolerance):
    relative, absolute = tolerance
    loss, grad_rep, grad_matrices = evaluate(case, mode, num_steps, dtype)
    expected = {name: FIXTURE[f"{case}.{mode}.{name}"][num_steps - 1] for name in ("loss", "dz", "dW")}
    np.testing.assert_allclose(loss.numpy(), expected["loss"], rtol=relative, atol=absolute)
    np.testing.assert_allclose(grad_rep.numpy(), expected["dz"], rtol=relative, atol=absolute)
    np.testing.assert_allclose(
        grad_matrices.numpy(), expected["dW"][:num_steps], rtol=relative, atol=absolute
    )
    assert not expected["dW"][num_steps:].any()
