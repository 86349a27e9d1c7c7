"""What trainings counted in steps share; from end to end in test_detection.py and test_segmentation.py."""

from __future__ import annotations

import dataclasses

import lightning
import pytest
import torch
from torch.utils.data import Dataset, default_collate

from orl_explore.errors import OrlError
from training.transfer.setup import Setup
from training.transfer.steps import fit_and_test


@dataclasses.dataclass
class Settings:
    batch_size: int = 4
    accumulate: int = 1
    precision: str = "fp32"
    checkpoint_steps: int = 100

    def steps(self) -> int:
        return 3


class Numbers(Dataset):
    def __len__(self) -> int:
        return 9

    def __getitem__(self, index):
        return float(index[1])


class Sum(lightning.LightningModule):
    total_steps = 3

    def __init__(self):
        super().__init__()
        self.config = Settings()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.found = [], []

    def ends_step(self, batch_idx):
        return True

    def training_step(self, batch, batch_idx):
        self.seen.append(batch.tolist())
        return self.weight * batch.mean()

    def test_step(self, batch, batch_idx):
        self.found.append(batch.item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_steps_then_preparation_then_every_test_image_once(new_run, tiny, tmp_path):
    setup = Setup(new_run(), tiny, (), "detection test", tmp_path / "work")
    module = Sum()
    prepared: list[list[float]] = []
    found = fit_and_test(
        module,
        Numbers(),
        Numbers(),
        settings=Settings(),
        setup=setup,
        collate=default_collate,
        prepare=lambda loader: prepared.extend(batch.tolist() for batch in loader(0, 3)),
    )
    assert sorted(found) == list(range(9))
    assert [len(batch) for batch in module.seen] == [4, 4, 4]  # two steps of 9 images are an epoch, then the next
    assert len(set(module.seen[0] + module.seen[1])) == 8
    assert prepared[:3] == module.seen
    assert not setup.folder.exists()
    three = dataclasses.replace(setup, config=dataclasses.replace(tiny, devices=3))
    with pytest.raises(OrlError, match=r"detection\.batch_size is 4: 3 processes cannot share .* --devices 2 .* 3$"):
        fit_and_test(Sum(), Numbers(), Numbers(), settings=Settings(), setup=three, collate=default_collate)
