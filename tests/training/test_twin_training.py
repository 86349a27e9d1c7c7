"""One training step: by hand against the recipe, what its losses weigh, and what stops it."""

from __future__ import annotations

import pytest
import torch

from orl_explore.byol import BYOL, target_momentum
from orl_explore.errors import OrlError
from orl_explore.orl import ORL
from orl_explore.runs.checkpoints import latest_checkpoint
from orl_explore.runs.samples import ImageViews, ObjectViews, StepSampler
from orl_explore.views.tensors import normalize
from stage_runs import STAGES, metrics, outputs
from training import stage1, stage3


@pytest.mark.parametrize(
    ("stage", "networks", "steps", "accumulate"),
    [("stage1", BYOL, 2, 1), ("stage3", ORL, 2, 1), ("stage1", BYOL, 2, 3), ("stage3", ORL, 2, 2)],
)
def test_steps_by_hand(stage, networks, steps, accumulate, changed, new_run, unfinished, images):
    """Two steps over all images against the recipe written out: loss, SGD on everything, then the moving average.

    Accumulated, a step's gradient is the mean over equal passes, each with its own batch statistics.
    """
    config = changed(stage, epochs=steps, batch_size=24, warmup_epochs=0, accumulate=accumulate)
    run = new_run() if stage == "stage1" else unfinished("stage3")
    settings = getattr(config, stage)
    STAGES[stage].run(run, config)

    torch.manual_seed(config.seed)
    model = networks(settings.encoder)
    dataset = (
        ImageViews(images, settings, config.seed)
        if stage == "stage1"
        else ObjectViews(images, run.read("regions"), run.read("pairs"), settings, config.seed)
    )
    weights = [p for p in model.parameters() if p.requires_grad]
    velocity = [torch.zeros_like(p) for p in weights]
    losses = []
    for step, batch in enumerate(StepSampler(24, batch_size=24, epochs=steps, seed=config.seed)):
        samples = [dataset[index] for index in batch]
        names = [name for name in samples[0] if name != "image_id"]
        size = 24 // accumulate
        passes = [samples[start : start + size] for start in range(0, 24, size)]
        loss = 0
        for part in passes:
            found, _ = model(**{name: normalize(torch.stack([sample[name] for sample in part])) for name in names})
            loss = loss + sum(found.values()) / accumulate
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, weights)
        rate = 0.4 * 24 / 512 * (1 if step == 0 else 0.5)  # cosine over two steps
        with torch.no_grad():
            for p, v, g in zip(weights, velocity, gradients, strict=True):
                v.mul_(0.9).add_(g + 1e-4 * p)  # momentum 0.9, weight decay on everything
                p.sub_(rate * v)
            m = target_momentum(step, steps)
            for p, q in zip(model.target.parameters(), model.online.parameters(), strict=True):
                p.copy_(m * p + (1 - m) * q)

    assert [float(row["loss"]) for row in metrics(run, stage)] == pytest.approx(losses, abs=1e-4)
    path, _ = latest_checkpoint(run.path / stage / "checkpoints")
    trained = torch.load(path, weights_only=True)["state_dict"]
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(trained[f"networks.{name}"], tensor, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.slow
def test_weights_of_the_losses(changed, unfinished, finished):
    run = unfinished("stage3")
    stage3.run(run, changed("stage3", image_weight=0.5, intra_weight=2.0, inter_weight=0.0))
    row = metrics(run, "stage3")[0]
    expected = 0.5 * float(row["loss_image"]) + 2 * float(row["loss_intra"])
    assert float(row["loss"]) == pytest.approx(expected, abs=1e-4)
    assert row["loss_inter"] == metrics(finished, "stage3")[0]["loss_inter"]  # the same networks, the same samples


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_accumulated_steps_keep_the_schedule(stage, unfinished, finished, changed, stop_at):
    """As many steps, at the same rates and momenta, saved at the same steps; killed in mid-step, the same result."""
    config = changed(stage, accumulate=4)
    run = unfinished(stage)
    STAGES[stage].run(run, config)
    columns = ("step", "epoch", "lr", "momentum")
    found = [[row[name] for name in columns] for row in metrics(run, stage)]
    assert found == [[row[name] for name in columns] for row in metrics(finished, stage)]
    assert latest_checkpoint(run.path / stage / "checkpoints")[1] == 6
    assert [row["loss"] for row in metrics(run, stage)] != [row["loss"] for row in metrics(finished, stage)]

    whole = outputs(run, stage)
    run.clear(stage)
    undo = stop_at(3)
    with pytest.raises(RuntimeError, match="stopped at step 3"):
        STAGES[stage].run(run, config)
    assert latest_checkpoint(run.path / stage / "checkpoints")[1] == 2
    undo()
    STAGES[stage].run(run, config)
    assert outputs(run, stage) == whole


def test_a_loss_that_is_not_finite_stops(new_run, tiny, images, monkeypatch, finished):
    run = new_run()
    forward = BYOL.forward

    def broken(self, view1, view2):
        losses, projection = forward(self, view1, view2)
        broken.calls += 1
        return {"image": losses["image"] * (float("nan") if broken.calls == 6 else 1)}, projection

    broken.calls = 0
    monkeypatch.setattr(BYOL, "forward", broken)
    with pytest.raises(OrlError) as error:
        stage1.run(run, tiny)
    batch = list(StepSampler(24, batch_size=8, epochs=2, seed=0))[5]
    ids = [int(images.table["image_id"].iloc[row]) for _, row in batch]
    assert str(error.value).startswith(f"the loss became nan at step 5, on images {ids} ...")
    path, steps = latest_checkpoint(run.path / "stage1/checkpoints")
    assert steps == 4
    state = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.isfinite(tensor).all() for tensor in state.values() if tensor.is_floating_point())
    assert len(metrics(run, "stage1")) == 5
    assert "the loss became nan" in run.stage("stage1")["error"]
    monkeypatch.undo()  # once the cause is gone, training goes on from there
    stage1.run(run, tiny)
    assert outputs(run, "stage1") == outputs(finished, "stage1")


def test_weights_that_are_not_finite_are_not_saved(new_run, tiny, monkeypatch):
    run = new_run()
    update = BYOL.update_target

    def broken(self, momentum):
        update(self, momentum)
        broken.calls += 1
        if broken.calls == 4:
            self.predictor[3].weight.data[0, 0] = float("inf")

    broken.calls = 0
    monkeypatch.setattr(BYOL, "update_target", broken)
    with pytest.raises(OrlError, match=r"weights of networks.predictor.3.weight are no longer finite at step 4"):
        stage1.run(run, tiny)
    assert [path.name for path in (run.path / "stage1/checkpoints").iterdir()] == ["step=2.ckpt"]


def test_collapse_is_said_loudly(new_run, tiny, monkeypatch, capsys, finished):
    forward = BYOL.forward

    def collapsed(self, view1, view2):
        losses, projection = forward(self, view1, view2)
        return losses, torch.ones_like(projection) + 1e-3 * projection

    monkeypatch.setattr(BYOL, "forward", collapsed)
    run = new_run()
    stage1.run(run, tiny)
    warning = " ".join(capsys.readouterr().err.split())
    assert warning.count("The representation has collapsed") == 2  # once an epoch
    assert "in epoch 1 its standard deviation is" in warning
    assert float(metrics(run, "stage1")[-1]["std"]) < 0.01
    assert run.finished("stage1")  # a warning, not an end


def test_no_false_alarm(new_run, tiny, capsys):
    stage1.run(new_run(), tiny)
    assert "collapsed" not in capsys.readouterr().err
