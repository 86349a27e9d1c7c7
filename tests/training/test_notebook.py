"""Training from a notebook: what a cell shows while a stage runs, and what it leaves."""

from __future__ import annotations

import base64
import os
import types
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

from training import notebook
from training.notebook import LossPlot

FIGURE = "application/vnd.plotly.v1+json"


def test_the_plot_is_not_drawn_more_often_than_every_few_seconds(tmp_path, clock, shown):
    file = tmp_path / "metrics.csv"
    plot = LossPlot(file, "stage 1: loss")
    plot.update()  # nothing written yet
    file.write_text("step,loss,loss_image\n")
    plot.update()  # no step yet
    assert shown == []
    for step in range(70):  # ten steps a second
        clock.time += 0.1
        with file.open("a") as out:
            out.write(f"{step},4,{4 - step / 100}\n")
        plot.update()
    assert len(shown) == 3  # at 0.1, 3.1 and 6.1 s
    plot.update(now=True)
    assert len(shown) == 4


def test_a_torn_row_is_not_drawn(tmp_path, clock, shown, monkeypatch):
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
    drawn = []
    monkeypatch.setattr("orl_explore.figures.curves.loss", lambda metrics: drawn.append(metrics) or FakeFigure())
    file = tmp_path / "metrics.csv"
    file.write_text("step,epoch,loss,loss_image\n0,0,4,4\n1,0,3,3\n2,0")
    LossPlot(file, "loss").update()
    assert drawn[0]["loss"].tolist() == [4, 3]


class FakeFigure:
    def update_layout(self, **layout: object) -> FakeFigure:
        return self

    def _repr_mimebundle_(self) -> dict[str, str]:
        return {"text/plain": "figure"}


@pytest.mark.parametrize(
    ("jupyter", "gpus", "devices", "expected"),
    [
        (True, 0, "auto", 1),
        (True, 1, "auto", 1),
        (True, 4, "auto", 4),
        (True, 4, 2, 2),
        (True, 0, 2, 2),
        (False, 4, "auto", 1),  # Lightning, torchrun or Slurm start the others
    ],
)
def test_processes(jupyter, gpus, devices, expected, changed, monkeypatch):
    monkeypatch.setattr(notebook, "console", types.SimpleNamespace(is_jupyter=jupyter))
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert notebook.processes(changed(devices=devices)) == expected


def test_what_a_command_says(clock, shown, capsys):
    relay = notebook._Relay("stage 1")
    relay.show("W1124 13:00 torch says\nstage 1: 6 steps\nstage 1: epoch 1/2, lo")
    clock.time += 1
    relay.show("ss 4.0, 3 s left\norl: no \nE1124 13:01 torch says\n")
    assert capsys.readouterr().err == "stage 1: 6 steps\n"
    assert [bundle["text/plain"] for bundle in shown] == ["stage 1", "stage 1: epoch 1/2, loss 4.0, 3 s left"]
    assert "value='0.5000'" in shown[-1]["text/html"]
    assert relay.reason() == "no "
    assert notebook._Relay("stage 1").reason() == ""


BEGIN = """
from pathlib import Path
from training import pipeline, stage1, stage2, stage3
def begin(name, *overrides):
    return pipeline.prepare(Path(name), config={config!r}, overrides=overrides, images=[Path({images!r})])
"""


@pytest.mark.slow
def test_cells_of_a_notebook(annotations, tiny_yaml, tmp_path, finished, monkeypatch):
    """One process, then two: each leaves one figure of all six steps and a few lines."""
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    cells = [
        BEGIN.format(config=str(tiny_yaml), images=str(annotations)),
        "stage1.run(*begin('one'))",
        "stage1.run(*begin('two', '--devices=2'))",
    ]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(made, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    for cell in made.cells[1:]:
        figures = [output.data[FIGURE] for output in cell.outputs if FIGURE in output.get("data", {})]
        texts = [output.data["text/plain"] for output in cell.outputs if "data" in output and FIGURE not in output.data]
        assert len(figures) == 1
        (trace,) = figures[0]["data"]
        assert np.frombuffer(base64.b64decode(trace["x"]["bdata"]), trace["x"]["dtype"]).tolist() == list(range(6))
        assert len(texts) <= 6  # images read and used, processes, what is done, one line of progress, the run
        assert texts[-1].startswith("Run(")
    assert (tmp_path / "one/stage1/metrics.csv").read_bytes() == (finished.path / "stage1/metrics.csv").read_bytes()
    assert pd.read_csv(tmp_path / "two/stage1/metrics.csv")["step"].tolist() == list(range(6))
