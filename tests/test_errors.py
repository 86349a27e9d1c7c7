"""What an error says, also where PyTorch has put the traceback of a worker around it."""

from __future__ import annotations

import pytest
from torch.utils.data import DataLoader, Dataset

from orl_explore.errors import OrlError

WORDS = "3.png is gone: put it back"


class Gone(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        raise OrlError(WORDS)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_message_is_the_same_from_a_worker(workers):
    with pytest.raises(OrlError) as error:
        next(iter(DataLoader(Gone(), num_workers=workers)))
    assert str(error.value) == WORDS
