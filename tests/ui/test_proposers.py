"""The tab of two proposers: what to type where there are none, and both where there are."""

from __future__ import annotations

from orl_explore.runs.run import Run

PAGE = "proposals"
TAB = {"proposals tab": "Two proposers"}


def test_it_says_what_to_type(runs, visit):
    app = visit(TAB)
    assert f"orl compare-proposals {runs}/one run FILE" in [code.value for code in app.code]


def test_two_side_by_side(runs, finished, tiny, visit):
    from training.compare_proposals import compare_proposals

    run = Run(runs / "one")
    compare_proposals(run, tiny, ["run", "fast"], limit=20)
    ids = run.images().table["image_id"].tolist()
    app = visit(TAB, image=ids[0])
    assert [box.value for box in app.selectbox if box.key.startswith("proposer ")] == [
        proposer.name for proposer in sorted((run.path / "comparison/proposals").iterdir())
    ]
    table = app.dataframe[0].value
    assert table[""].tolist()[0] == "kept boxes an image"
    assert len(table) == 6
    assert table["B - A"].iloc[1] == "0.0 to 0.0 points"  # the same search
    assert "; chance" in table["A"].iloc[5]
