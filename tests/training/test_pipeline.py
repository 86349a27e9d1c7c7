"""From a command's arguments to a run, and what judging leaves."""

from __future__ import annotations

import dataclasses
import json

import pytest
from PIL import Image

from orl_explore.errors import OrlError
from orl_explore.figures.summary_picture import summary_picture
from orl_explore.runs.files import write_json
from orl_explore.runs.run import Run
from painted_runs import make_run
from training import evaluate, pipeline


@pytest.mark.parametrize("mined", [True, False])
def test_judging_a_run_leaves_the_picture(tmp_path, tiny, monkeypatch, capsys, mined):
    run = make_run(tmp_path)
    if not mined:
        run.note("stage2", state="running")
    monkeypatch.setattr(evaluate, "run", lambda run, config: {"seed": 0})
    assert pipeline.judge(run, tiny) == {"seed": 0}
    file = run.path / "summary.png"
    assert file.exists() == mined
    assert ("summary.png" in capsys.readouterr().err) == mined
    if mined:
        with Image.open(file) as picture:
            assert picture.tobytes() == summary_picture(run).tobytes()


def test_a_run_made_anew_and_stopped_goes_on_behind_what_it_has_made(tmp_path, tiny, monkeypatch):
    """The stages are not run: what is asked of each is looked at."""
    mined = make_run(tmp_path / "run")
    few = {name: dataclasses.replace(getattr(tiny, name), batch_size=2) for name in ("stage1", "stage3")}
    tiny = dataclasses.replace(tiny, **few)
    asked: list[tuple[str, bool]] = []
    stop_at = "stage3"

    def run_stage(name, run, config, *, overwrite):
        if name == stop_at:
            raise KeyboardInterrupt
        asked.append((name, overwrite))
        run.note(name, config=json.loads(json.dumps(config.stage_dict(name))))

    monkeypatch.setattr(pipeline, "run_stage", run_stage)
    monkeypatch.setattr(pipeline, "judge", lambda run, config: {})
    monkeypatch.setattr(pipeline, "show_objects", lambda run, config: None)
    monkeypatch.setattr(Run, "finished", lambda run, name: True)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run_all(mined, tiny, overwrite=True)
    assert asked == [("stage1", True), ("stage2", True)]
    assert mined.manifest()["remade"] == ["stage1", "stage2"]
    other = dataclasses.replace(tiny, stage2=dataclasses.replace(tiny.stage2, neighbors=1))
    for config, again in ((other, [False, True, True]), (tiny, [False, False, True])):
        for name in ("stage1", "stage2"):
            mined.note(name, config=json.loads(json.dumps(tiny.stage_dict(name))))
        write_json(mined.path / "run.json", mined.manifest() | {"remade": ["stage1", "stage2"]})
        asked, stop_at = [], ""
        pipeline.run_all(mined, config, overwrite=True)
        assert [overwrite for _, overwrite in asked] == again
        assert "remade" not in mined.manifest()


@pytest.mark.parametrize(
    ("done", "encoder", "overwrite", "options"),
    [
        ([], None, False, "--stage1.batch_size 12 --stage3.batch_size 12$"),
        (["stage1"], None, False, "--stage3.batch_size 12$"),
        (["stage1"], None, True, "--stage1.batch_size 12 --stage3.batch_size 12$"),
        ([], "embedded", False, "example --stage3.batch_size 12$"),
        (["stage1", "stage2", "stage3"], None, False, None),
    ],
)
def test_batches_of_all_stages_to_come_are_looked_at_before_any_is_trained(
    new_run, changed, monkeypatch, done, encoder, overwrite, options
):
    config = changed("stage2", encoder=encoder)
    large = {name: dataclasses.replace(getattr(config, name), batch_size=32) for name in ("stage1", "stage3")}
    asked: list[str] = []
    monkeypatch.setattr(pipeline, "run_stage", lambda name, *args, **options: asked.append(name))
    monkeypatch.setattr(pipeline, "judge", lambda run, config: {})
    monkeypatch.setattr(pipeline, "show_objects", lambda run, config: None)
    monkeypatch.setattr(Run, "finished", lambda run, name: name in done)
    if options:
        with pytest.raises(OrlError, match=f"24 images do not fill a batch of 32: .* {options}"):
            pipeline.run_all(new_run(), dataclasses.replace(config, **large), overwrite=overwrite)
        assert not asked
    else:
        pipeline.run_all(new_run(), dataclasses.replace(config, **large), overwrite=overwrite)
        assert asked == done


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_batches_that_devices_cannot_share_are_refused_before_anything_is_trained_or_recorded(stage, new_run, changed):
    config, run = dataclasses.replace(changed(stage, accumulate=4), devices=2), new_run()
    with pytest.raises(OrlError, match=rf"{stage}.batch_size is 8: 2 processes with 4 passes .* --devices 1 "):
        pipeline.run_all(run, config)
    assert not run.manifest()["stages"]


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_a_stage_refuses_a_batch_that_devices_cannot_share(stage, unfinished, changed):
    run = unfinished(stage)
    with pytest.raises(OrlError, match=rf"{stage}.batch_size is 8: 3 processes cannot .* --devices 2 .*_size 6$"):
        pipeline.STAGES[stage](run, changed(devices=3))
    assert not run.stage(stage)
