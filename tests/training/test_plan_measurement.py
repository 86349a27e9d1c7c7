"""What a plan measures and works out."""

from __future__ import annotations

import torch
from torch import nn

from training.plan_measurement import activations


def test_activations_by_hand():
    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 5)

        def training_step(self, batch, batch_idx):
            return torch.relu(self.layer(batch["x"])).sum()

    # Kept of an image: 3 inputs of the layer (for its weight), 5 outputs of the ReLU, float32. Weights do not count.
    assert activations(Module(), lambda size: {"x": torch.randn(size, 3)}) == (4 * (3 + 5), 0)
