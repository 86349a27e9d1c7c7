"""Where embeddings of any encoder are, in which order they are named, and when they are refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from orl_explore.errors import OrlError
from orl_explore.runs import region_embeddings as stored
from orl_explore.runs.files import write_array, write_json
from orl_explore.runs.region_embeddings import RegionEmbeddings, folder_of, read_region_embeddings, sample
from orl_explore.runs.run import Run


@pytest.fixture
def copy(finished, tmp_path):
    return Run(shutil.copytree(finished.path, tmp_path / "copy"))


def write(run, encoder, ids=(0, 2, 5), **facts):
    folder = folder_of(run, encoder)
    write_array(folder / stored.VECTORS, np.eye(len(ids), 4, dtype=np.float16))
    write_array(folder / stored.IDS, np.asarray(ids, np.int64))
    known = {"encoder": encoder, "hash": "x", "regions": stored.regions_fingerprint(run)}
    write_json(folder / stored.MANIFEST, known | facts)


def test_the_command_for_all_regions(copy):
    command = stored.command_for_all(Run(copy.path), ["random", "untrained", "a b"])
    names = f"--encoder untrained 'a b' --limit {copy.count('regions')}"
    assert command == f"orl embed-regions {copy.path} {names}"


def test_a_sample_is_seeded_and_a_smaller_one_is_part_of_it():
    np.testing.assert_array_equal(sample(5, limit=5, seed=0), np.arange(5))
    chosen = sample(1000, limit=10, seed=3)
    assert len(set(chosen.tolist())) == 10
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, sample(1000, limit=10, seed=3))
    assert chosen.tolist() != sample(1000, limit=10, seed=4).tolist()
    assert set(chosen) < set(sample(1000, limit=50, seed=3))


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("stage1", "stage1"),
        ("stage3@20", "stage3@20"),
        ("random", "untrained"),
        ("timm:resnet18.a1_in1k", "timm_resnet18.a1_in1k-"),
        ("runs/other:stage1", "runs_other_stage1-"),
        ("runs\\other:stage1", "runs_other_stage1-"),
        ("..", "-"),
        ("x" * 300, "x" * 80 + "-"),
    ],
)
def test_every_name_has_a_folder_of_its_own(name, folder, tmp_path):
    found = folder_of(Run(tmp_path), name)
    assert found.parent == tmp_path / "objects"
    assert found.name == folder if not folder.endswith("-") else found.name[:-8] == folder


def test_names_that_look_alike_in_letters_have_two_folders(tmp_path):
    assert folder_of(Run(tmp_path), "a/b") != folder_of(Run(tmp_path), "a:b")


def test_encoders_stand_in_the_order_of_training(copy):
    for name in ("embedded", "stage3", "stage1", "stage1@20", "stage1@3", "untrained"):
        write(copy, name)
    assert stored.embedded_encoders(copy) == ["untrained", "stage1@3", "stage1@20", "stage1", "stage3", "embedded"]


def test_rows_of_regions():
    found = RegionEmbeddings("x", np.array([2, 5, 9]), np.zeros((3, 4), np.float16), {})
    assert found.rows_of(np.array([9, 3, 2, 100])).tolist() == [2, -1, 0, -1]


def test_regions_that_all_have():
    of = [RegionEmbeddings("x", np.array(ids), np.zeros((0, 4), np.float16), {}) for ids in ([1, 2, 3], [2, 3, 4], [2])]
    assert stored.shared_regions(*of[:2]).tolist() == [2, 3]
    assert stored.shared_regions(*of).tolist() == [2]


def test_what_is_there_is_read(copy):
    write(copy, "embedded")
    found = read_region_embeddings(copy, "embedded")
    assert found.region_ids.tolist() == [0, 2, 5]
    np.testing.assert_array_equal(found.vectors, np.eye(3, 4))


def test_what_stage_2_mined_with(copy):
    found = read_region_embeddings(copy, "mined")
    np.testing.assert_array_equal(found.vectors, copy.read_array("region_embeddings"))
    assert found.region_ids.tolist() == list(range(len(found.vectors)))


def test_what_is_missing_or_stale_is_named(copy):
    with pytest.raises(OrlError, match=r"not embedded by embedded yet: run `orl embed-regions \S+ --encoder embedded`"):
        read_region_embeddings(copy, "embedded")
    write(copy, "embedded", regions="others")
    with pytest.raises(OrlError, match="made from other regions than"):
        read_region_embeddings(copy, "embedded")
    write(copy, "stage3")
    with pytest.raises(OrlError, match=r"stage3 of .* is another one than"):
        read_region_embeddings(copy, "stage3")
    write(copy, "timm:x")
    (folder_of(copy, "timm:x") / stored.VECTORS).write_bytes(b"")
    with pytest.raises(OrlError, match="cannot be read"):
        read_region_embeddings(copy, "timm:x")
    (folder_of(copy, "timm:x") / stored.MANIFEST).write_text("{")
    with pytest.raises(OrlError, match="is damaged"):
        read_region_embeddings(copy, "timm:x")
    assert json.loads((folder_of(copy, "stage3") / stored.MANIFEST).read_text())["hash"] == "x"
