"""kNN accuracy while a stage trains: is what it learns of any use yet?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from lightning.pytorch.callbacks import Callback

from orl_explore.embedding import embed_regions
from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.judging.probes import knn_accuracy
from orl_explore.numbers import percent_text
from orl_explore.runs.files import atomic_write
from orl_explore.settings import Config, TrainSettings
from training.console import console
from training.transfer.objects import split_objects


class KnnWatch(Callback):
    """Judges the online encoder by kNN on object crops every `stage.knn_every` epochs, and writes knn.csv.

    Training goes on as if nothing had happened: nothing random is drawn, and no gradient or running mean is touched.

    Args:
        images: with annotated objects.
        config: decides which crops, as for `orl evaluate`.
        stage: of it `knn_every` and `image_size`.
        path: the file; rows of epochs that a resumed run repeats are dropped.
        start_step: the step that training begins with.

    Raises:
        OrlError: there are no annotated objects.
    """

    def __init__(self, images: ImageSet, config: Config, stage: TrainSettings, path: Path, *, start_step: int):
        if not len(images.objects):
            raise OrlError("knn_every needs annotated objects, and these images have none: leave it at 0")
        self.data = split_objects(images, config, where="the run")
        self.stage, self.path = stage, path
        before = (
            pd.read_csv(path, dtype={"knn": "str"}) if path.exists() else pd.DataFrame(columns=["step", "epoch", "knn"])
        )
        self.rows = before[before["step"] < start_step].to_dict("records")

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Judge when an epoch ends that is to be judged (in the first process; the others wait meanwhile)."""
        step = trainer.global_step
        if not (trainer.is_global_zero and module.ends_step(batch_idx)):
            return
        if step % (self.stage.knn_every * module.steps_per_epoch):
            return
        encoder = module.networks.online
        modes = {part: part.training for part in encoder.modules()}
        x = embed_regions(encoder, self.data.images, self.data.crops, size=self.stage.image_size, device=module.device)
        for part, mode in modes.items():
            part.training = mode
        y, test = self.data.labels, self.data.test
        accuracy = knn_accuracy(x[~test], y[~test], x[test], y[test])
        epoch = step // module.steps_per_epoch - 1
        self.rows.append({"step": step - 1, "epoch": epoch, "knn": f"{accuracy:.4f}"})
        with atomic_write(self.path) as temporary:
            pd.DataFrame(self.rows).to_csv(temporary, index=False)
        console.print(f"epoch {epoch}: kNN accuracy on annotated objects {percent_text(accuracy)}")
