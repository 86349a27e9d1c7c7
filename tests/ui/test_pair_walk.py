"""The deck on the page of pairs: which pairs follow, and what the browser is given."""

from __future__ import annotations

import numpy as np
import pytest

from orl_explore.runs.reviews import KEY, Pair, read_reviews, save_verdicts
from orl_explore.ui import pair_deck, pair_queue, pair_scene, pair_walk

PAGE = "pairs"


@pytest.fixture
def ids(run):
    return run.read("images")["image_id"].tolist()


def scene_of(run, image_id):
    scene = pair_scene.load(run, image_id)
    return scene, [Pair(*row) for row in scene.pairs[KEY].itertuples(index=False, name=None)]


def walk_from(scene, pair):
    return pair_walk.begin(scene, pair, pair_scene.similarity_of(scene, pair.neighbor_id))


def test_round_the_image_and_on_to_the_next(run, ids):
    scene, pairs = scene_of(run, ids[4])
    walk = walk_from(scene, pairs[2])
    assert [step.pair for step in walk.queue] == pairs[2:] + pairs[:2]
    assert [step.number for step in walk.queue] == [*range(3, len(pairs) + 1), 1, 2]
    _, following = scene_of(run, ids[5])
    save_verdicts(run, [(pair, "accepted") for pair in [*pairs, following[0]]])
    pair_walk.extend(run, walk, read_reviews(run))
    assert [step.pair for step in walk.queue[len(pairs) :]] == following[1:]  # what has a verdict is passed over
    assert not pair_walk.ended(run, walk)


def test_the_first_image_follows_the_last_until_all_were_seen(run, ids):
    scene, pairs = scene_of(run, ids[-1])
    walk = walk_from(scene, pairs[0])
    pair_walk.extend(run, walk, read_reviews(run))
    assert walk.queue[len(pairs)].pair == scene_of(run, ids[0])[1][0]
    for _ in ids:
        pair_walk.extend(run, walk, read_reviews(run))
    assert pair_walk.ended(run, walk)
    assert len(walk.queue) == len({step.pair for step in walk.queue}) == run.count("pairs")


def test_a_pair_that_stage_2_did_not_accept(run, ids):
    scene, pairs = scene_of(run, ids[4])
    neighbor_id = pairs[0].neighbor_id
    similarity = pair_scene.similarity_of(scene, neighbor_id)
    row, column = np.unravel_index(similarity.argmin(), similarity.shape)
    chosen = Pair(ids[4], neighbor_id, scene.own(ids[4])[0] + int(row), scene.own(neighbor_id)[0] + int(column))
    walk = pair_walk.begin(scene, chosen, similarity)
    assert walk.queue[0].number is None
    assert walk.queue[0].similarity == pytest.approx(similarity.min())
    assert [step.pair for step in walk.queue[1:]] == pairs


def test_what_the_browser_gets_and_says(run, ids, visit, monkeypatch):
    decks = []
    monkeypatch.setattr(pair_deck, "show", lambda key, data, **_: decks.append(data))
    scene, pairs = scene_of(run, ids[1])
    save_verdicts(run, [(pairs[-1], "rejected")])
    visit(image=ids[1], rank=scene.rank_of(pairs[0].neighbor_id), pair=f"{pairs[0].query_region}-{pairs[0].key_region}")
    data = decks[-1]
    assert (data["mode"], data["start"], data["ended"], data["at"]) == ("page", 0, False, data["cards"][0]["pair"])
    assert data["cards"][0]["name"].startswith(f"Pair 1 of {len(pairs)}, similarity 0.")
    assert data["cards"][0]["query"].startswith("data:image/jpeg")
    assert [len(pairs) - 1, "rejected"] in data["verdicts"]
    said = {"client": "a", "verdicts": [{"number": 1, "pair": data["cards"][0]["pair"], "verdict": "accepted"}]}
    walk = walk_from(scene, pairs[0])
    names = {step.name: step.pair for step in walk.queue}

    def known(wanted):
        return {name: names[name] for name in wanted if name in names}

    for _ in range(2):  # sent twice, saved once; what is no pair of the queue is left out
        pair_queue.save(run, said, walk.memory, known, "Ann", of=walk.of)
        said["verdicts"].append({"number": 2, "pair": "1,2,3,4", "verdict": "accepted"})
    assert sorted(read_reviews(run)["verdict"]) == ["accepted", "rejected"]


@pytest.mark.slow
def test_boxes_on_nothing_are_called_unlabeled(run, ids):
    names = set()
    for image_id in ids:
        scene, pairs = scene_of(run, image_id)
        near = [scene.image_id, *scene.neighbors["neighbor_id"].tolist()]
        labels = pair_scene.categories_of(scene, near)
        for step in walk_from(scene, pairs[0]).queue:
            card = pair_walk._card(scene, step, 0, near, labels)
            names |= {card["query_name"], card["key_name"]}
    assert "(unlabeled)" in names
    assert "nan" not in names
    assert len(names) > 3


def test_cards_are_sent_once():
    memory = {"fresh": True}
    first = range(3)
    ask = {"missing": [3, 4, 9], "from": 1, "to": 10, "asks": 1}
    found = [pair_queue.places_to_send(want, memory, first, 6) for want in ({}, {}, ask, ask, ask | {"asks": 2})]
    assert found == [[0, 1, 2], [], [3, 4], [], [3, 4]]  # with the page, then what is asked for, each time it is
    memory["fresh"] = True  # the whole page again
    assert pair_queue.places_to_send(ask | {"asks": 2}, memory, first, 2) == [0, 1]


def test_only_images_of_a_selection_follow(run, ids):
    scene, pairs = scene_of(run, ids[4])
    walk, kept = walk_from(scene, pairs[0]), np.isin(np.arange(len(ids)), [9, 12])
    pair_walk.extend(run, walk, read_reviews(run), to=10**6, kept=kept)
    assert {step.pair.image_id for step in walk.queue} == {ids[4], ids[9], ids[12]}
    assert pair_walk.ended(run, walk)
