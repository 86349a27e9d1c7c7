"""What decides whether stage 3 wins? The full method against itself with one thing changed at a time.

Every seed has its own images and its own stages 1 and 2; every arm trains one more encoder on them. All encoders are
judged on images that nothing was trained on: objects of known instances and, for practice scenes, of new ones. An arm
that is done is a json and an npz, kept with this file's tables; training that is stopped goes on where it was when the
command is typed again, also with more arms or seeds. Tables say which arms are missing.

    python benchmarks/claim.py scenes                          practice scenes, the main arms, seeds 1 2 3
    python benchmarks/claim.py disguise                        drawings whose color and texture tell nothing
    python benchmarks/claim.py photographs --images A.json B.json
    python benchmarks/claim.py scenes --arms all               every factor
    python benchmarks/claim.py scenes --table                  only the table of what is there
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import claim_data
import claim_table
import numpy as np
import pandas as pd
import torch
from claim_data import Data
from claim_judging import chance, embedding_options, judge

from orl_explore.byol import BYOL, TwinNetworks
from orl_explore.embedding import embed_regions
from orl_explore.encoder import Encoder
from orl_explore.images.image_set import ImageSet
from orl_explore.judging import controls, diagnostics
from orl_explore.judging.remining import embed_run, remine
from orl_explore.orl import ORL, Sample
from orl_explore.pairs import pair_regions
from orl_explore.pretrained import load_embedded
from orl_explore.runs.files import atomic_write
from orl_explore.runs.samples import ImageViews, ObjectViews
from orl_explore.settings import Config
from orl_explore.views.parameters import ViewParameters, sample_view
from training import pipeline
from training.config import load_config
from training.trainer import fit


@dataclass(frozen=True)
class Arm:
    """One way to train: what differs from stage 3 as it is."""

    title: str
    networks: Literal["none", "BYOL", "ORL"] = "ORL"
    losses: tuple[str, ...] = ("image", "intra", "inter")
    pairs: str = "stage1"
    boxes: str = "search"
    times: int = 1  # the epochs
    start: str = "scratch"
    settings: tuple[tuple[str, Any], ...] = ()  # of stage 3, other than the config's
    encoder: tuple[tuple[str, Any], ...] = ()
    reseed: int = 0  # added to the seed of the networks, of their batches and views


ARMS = {
    "untrained": Arm("untrained", networks="none"),
    "stage1": Arm("stage 1", networks="BYOL", losses=("image",)),
    "full": Arm("stage 3"),
    "again": Arm("stage 3 again, trained with another seed", reseed=1000),
    "oracle": Arm("stage 3, oracle pairs", pairs="oracle"),
    "oracle-whole": Arm("oracle pairs of whole objects alone", pairs="oracle, whole"),
    "passes": Arm("stage 1 for three times the epochs", networks="BYOL", losses=("image",), times=3),
    "intra": Arm("image and intra losses", losses=("image", "intra")),
    "inter": Arm("image and inter losses", losses=("image", "inter")),
    "random-pairs": Arm("boxes of random images paired blindly", pairs="anywhere"),
    "blind-pairs": Arm("boxes of the same neighbors paired blindly", pairs="blind"),
    "embedded": Arm("pairs by the embedded encoder", pairs="embedded"),
    "embedded-blind": Arm("boxes of the embedded encoder's neighbors paired blindly", pairs="embedded, blind"),
    "embedded-oracle": Arm("the embedded encoder's boxes, each with any of its category", pairs="embedded, oracle"),
    "second-round": Arm("pairs by stage 3 itself (a second round)", pairs="full"),
    "second-again": Arm("second round, trained with another seed", pairs="full", reseed=1000),
    "second-blind": Arm("boxes of the second round's neighbors paired blindly", pairs="full, blind"),
    "twice": Arm("stage 3 for twice the epochs", times=2),
    "annotated": Arm("annotated boxes", boxes="annotated"),
    "random-boxes": Arm("random boxes", boxes="random"),
    "whole-views": Arm("crops of the whole image in place of boxes", boxes="views"),
    "small-patches": Arm("patches of half the side", settings=(("patch_size", 0.5),)),
    "start": Arm("stage 1's weights as a start", start="stage1"),
    "init-paper": Arm("initialized as published", encoder=(("init", "paper"),)),
    "init-torchvision": Arm("initialized as torchvision does", encoder=(("init", "torchvision"),)),
}
RESULTS = Path(__file__).parent / "results" / "claim"
MAIN = ("untrained", "stage1", "full", "oracle")


class WholeViews(ObjectViews):
    """Stage 3's samples with random crops of the whole image where it has boxes and pairs; sizes stay as they are.

    Passes, pixels, steps and the sum of three losses are those of stage 3, so that what differs is what it looks at.
    """

    def sample(self, epoch: int, row: int) -> Sample:
        """As `ObjectViews.sample`; the first two views are the very same."""
        sample = super().sample(epoch, row)
        rng = np.random.default_rng([self.seed, epoch, sample.image_id % 2**64, 1])
        width, height = (int(side) for side in self.image_sizes[row])

        def pair() -> tuple[ViewParameters, ViewParameters]:
            first, second = (sample_view(rng, self.config.views, view=v, image_size=(width, height)) for v in (0, 1))
            return first, second

        return dataclasses.replace(sample, neighbor_id=sample.image_id, intra=pair(), inter=pair())


class Seed:
    """The images, stages 1 and 2, and arms of one seed, in a folder of their own."""

    def __init__(self, folder: Path, results: Path, seed: int, data: Data, config: str, overrides: list[str]):
        self.folder, self.results, self.data = folder, results, data
        self.run, self.config = pipeline.prepare(
            folder / "run",
            config=config,
            overrides=["--seed", str(seed), *overrides],
            images=[data.train],
            root=data.root,
        )

    def mine(self) -> None:
        """Do stages 1 and 2, unless they are done."""
        for stage in ("stage1", "stage2"):
            pipeline.run_stage(stage, self.run, self.config)

    def result(self, name: str) -> Path:
        """Where the result of an arm is, or will be."""
        return self.results / f"{name}.json"

    def do(self, name: str) -> None:
        """Train and judge an arm, unless it is done."""
        if not self.result("chance").exists():
            chance(self.run.images(), self.data, self.config, self.result("chance"))
        if self.result(name).exists():
            return
        arm, start = ARMS[name], time.process_time()
        if arm.networks != "none":
            self.mine()
        images = self.run.images()
        facts: dict[str, Any] = {"arm": name, "seed": self.config.seed, "config": self.config.as_dict()}
        if arm.networks != "none":  # arms of one seed are to be compared if they build on the very same stage 1
            weights = Encoder.load(self.run.encoder_file("stage1")).state_dict().values()
            facts["stage1"] = hashlib.sha256(b"".join(one.numpy().tobytes() for one in weights)).hexdigest()[:16]
        if arm.networks == "none":
            encoder = Encoder.random(self.config.stage1.encoder, seed=self.config.seed)
        elif name == "stage1":
            encoder = Encoder.load(self.run.encoder_file("stage1"))
        else:
            encoder, more = self.train(name, images)
            facts |= more
        facts["core_seconds"] = round(time.process_time() - start)  # of this process, and since it was last stopped
        judge(encoder, images, self.data, self.config, self.result(name), facts)

    def train(self, name: str, images: ImageSet) -> tuple[Encoder, dict[str, Any]]:
        """Train an arm, or load what was trained; returns the encoder, and what is to be known of its pairs."""
        arm, folder = ARMS[name], self.folder / "arms" / name
        base = self.config.stage1 if arm.networks == "BYOL" else self.config.stage3
        changed: dict[str, Any] = {key: round(getattr(base, key) * factor) for key, factor in arm.settings}
        encoder = dataclasses.replace(base.encoder, **dict(arm.encoder))
        stage: Any = dataclasses.replace(base, epochs=arm.times * base.epochs, encoder=encoder, **changed)
        config = dataclasses.replace(self.config, seed=self.config.seed + arm.reseed)
        facts: dict[str, Any] = {}
        views: Any
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            networks: TwinNetworks = BYOL(encoder) if arm.networks == "BYOL" else ORL(encoder)
        if arm.networks == "BYOL":
            views = ImageViews(images, stage, config.seed)
        else:
            regions, pairs = self.pairs(arm, images)
            if arm.boxes == "views":
                views = WholeViews(images, regions, pairs, stage, config.seed)
            else:
                facts = self.purity(images, regions, pairs)
                views = ObjectViews(images, regions, pairs, stage, config.seed)
        file = folder / "encoder.safetensors"
        if file.exists():
            return Encoder.load(file), facts
        if arm.start == "stage1":
            state = Encoder.load(self.run.encoder_file("stage1")).state_dict()
            networks.online.load_state_dict(state)
            networks.target.load_state_dict(state)
        folder.mkdir(parents=True, exist_ok=True)
        fit(
            networks,
            views,
            images=len(views) if arm.networks == "ORL" else len(images),
            folder=folder,
            config=config,
            stage=stage,
            title=f"seed {self.config.seed}, {name}",
            weights={loss: float(loss in arm.losses) for loss in ("image", "intra", "inter")}
            if arm.networks == "ORL"
            else {"image": 1.0},
        )
        networks.online.save(file, image_size=stage.image_size)
        for checkpoint in (folder / "checkpoints").glob("*"):
            checkpoint.unlink()
        return Encoder.load(file), facts

    def pairs(self, arm: Arm, images: ImageSet) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The regions and pairs that an arm trains on."""
        run, config = self.run, self.config
        regions, neighbors, mined = run.read("regions"), run.read("neighbors"), run.read("pairs")
        if arm.boxes in ("annotated", "random"):
            regions = (
                controls.annotated_boxes(images)
                if arm.boxes == "annotated"
                else controls.random_boxes(images, regions, min_side=config.stage2.min_side, seed=config.seed)
            )
            encoder = Encoder.load(run.encoder_file("stage1"))
            options = embedding_options(config) | {"size": config.stage2.image_size}
            x = embed_regions(encoder, images, regions, **options)
            ids = images.table["image_id"].to_numpy()
            return regions, pair_regions(ids, neighbors, regions, x, config.stage2)
        blind = partial(controls.random_pairs, images, regions, seed=config.seed)
        oracle = partial(controls.oracle_pairs, images, regions, seed=config.seed)
        embedded = partial(self.mined_by, "embedded", load_embedded)
        second_round = partial(self.mined_by, "full", lambda: self.train("full", images)[0])
        ways: dict[str, Callable[[], pd.DataFrame]] = {
            "stage1": lambda: mined,
            "oracle": oracle,
            "oracle, whole": partial(oracle, whole=True),
            "anywhere": lambda: blind(mined, anywhere=True),
            "blind": lambda: blind(mined, anywhere=False),
            "embedded": embedded,
            "embedded, blind": lambda: blind(embedded(), anywhere=False),
            "embedded, oracle": lambda: oracle(queries=embedded()["query_region"].to_numpy()),
            "full": second_round,
            "full, blind": lambda: blind(second_round(), anywhere=False),
        }
        return regions, ways[arm.pairs]()

    def mined_by(self, name: str, encoder: Callable[[], Encoder]) -> pd.DataFrame:
        """The pairs that stage 2 would find with another encoder, among the same boxes; kept, as it takes a while."""
        file = self.folder / "pairs" / f"{name}.parquet"
        if not file.exists():
            mined = remine(self.run, embed_run(self.run, encoder(), self.config.stage2), self.config.stage2)
            file.parent.mkdir(exist_ok=True)
            with atomic_write(file) as temporary:
                mined.pairs.to_parquet(temporary)
        return pd.read_parquet(file)

    def purity(self, images: ImageSet, regions: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, Any]:
        """Whether pairs join objects, of one category, whole ones, and the same thing twice where that is known."""
        on = diagnostics.on_object(regions, images.objects)
        found = diagnostics.pair_purity(pairs, regions, on, images.objects)
        facts: dict[str, Any] = {}
        if things := claim_data.instances(self.data.train):
            same = images.objects.assign(category=images.objects["object_id"].map(things))
            facts["same_thing"] = diagnostics.pair_purity(pairs, regions, on, same).purity.value
        whole = diagnostics.on_object(regions, images.objects, whole=True)
        of_whole = diagnostics.pair_purity(pairs, regions, whole.where(whole == on, -1), images.objects)
        of_one = of_whole.object_pairs * of_whole.purity.value if of_whole.object_pairs else 0.0
        facts["whole_objects"] = of_one / found.object_pairs if found.object_pairs else 0.0
        return facts | {
            "pairs": len(pairs),
            "object_pairs": found.objects.value,
            "purity": found.purity.value,
            "purity_chance": found.purity.chance,
        }


def arms_of(config: Config) -> dict[str, Arm]:
    """The arms that differ from one another with these settings: not the initialization that stage 3 has anyway."""
    init = config.stage3.encoder.init
    return {name: arm for name, arm in ARMS.items() if dict(arm.encoder).get("init") != init}


def main() -> None:
    """Do what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("scenes", "disguise", "photographs"))
    parser.add_argument("--images", type=Path, nargs="+", help="COCO jsons of photographs, each beside its `images`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="default: 1 2 3; 0 is for tuning")
    parser.add_argument(
        "--arms", nargs="+", default=list(MAIN), help=f"{', '.join(ARMS)}; or all (default: the first 4)"
    )
    parser.add_argument("--config", default="demo", help="default: demo")
    parser.add_argument("--scenes", type=int, default=1000, help="practice scenes to train on (default: 1000)")
    parser.add_argument("--work", type=Path, default=Path("runs/claim"), help="default: runs/claim")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: beside this file")
    parser.add_argument("--name", help="of the result file and of the folders (default: DATA)")
    parser.add_argument("--table", action="store_true", help="train nothing: write the table of what is done")
    arguments, overrides = parser.parse_known_args()
    arms = arms_of(load_config(arguments.config, overrides))
    names = list(arms) if arguments.arms == ["all"] else arguments.arms
    if same := [name for name in names if name in ARMS and name not in arms]:
        parser.error(f"{', '.join(same)} is stage 3 as it is with these settings: leave it out")
    if unknown := [name for name in names if name not in ARMS]:
        parser.error(f"no such arm: {', '.join(unknown)}")
    if arguments.data == "photographs" and not arguments.images and not arguments.table:
        parser.error("--images names the COCO jsons of the photographs")
    called = arguments.name or arguments.data
    work, results = arguments.work / called, arguments.results / called
    if not arguments.table:
        for seed in arguments.seeds:  # seed by seed, so that a benchmark stopped early has whole ones
            folder = work / f"seed{seed}"
            if arguments.data == "photographs":
                data = claim_data.photographs(folder / "images", seed=seed, sources=arguments.images)
            else:
                kind = {"count": arguments.scenes, "disguise": arguments.data == "disguise"}
                data = claim_data.scenes(folder / "images", seed=seed, **kind)
            one = Seed(folder, results / f"seed{seed}", seed, data, arguments.config, overrides)
            for name in names:
                one.do(name)
    claim_table.write(results, {name: arm.title for name, arm in arms.items()}, f"claim-{called}")


if __name__ == "__main__":
    main()
