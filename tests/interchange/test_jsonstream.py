"""JSON larger than memory: what the standard library reads, item by item, and nothing that is no JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orl_explore.errors import OrlError
from orl_explore.interchange import jsonstream
from orl_explore.interchange.jsonstream import stream_json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@settings(max_examples=25)
@given(
    items=st.lists(json_values),
    value=json_values,
    chunk=st.sampled_from([1, 2, 5, 1000]),
    indent=st.sampled_from([None, 1]),
)
def test_streaming_reads_what_json_reads(tmp_path_factory, items, value, chunk, indent):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps({"list": items, "deep": {"list": items}, "value": value}, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonstream, "CHUNK", chunk)
        found = list(stream_json(path, ("", "list", "deep", "deep.list")))
    expected = [("list", index, item) for index, item in enumerate(items)]
    expected += [("deep.list", index, item) for index, item in enumerate(items)]
    assert found == [*expected, ("value", None, value)]


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_file_cut_off_anywhere_is_refused(tmp_path, cut):
    text = '{"bbox": [[1, 2], [3]], "b": 12}'
    path = tmp_path / "a.json"
    path.write_text(text[:-cut])
    with pytest.raises(OrlError, match=r"ends too early|is no JSON"):
        list(stream_json(path, ("", "bbox")))


def test_only_one_item_at_a_time_is_in_memory(tmp_path, monkeypatch):
    # 2,000 items of 1,000 characters, read 4,096 at a time: the text held never exceeds a few items.
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"bbox": [[7] * 333] * 2000}))
    monkeypatch.setattr(jsonstream, "CHUNK", 4096)
    held = []
    more = jsonstream._Reader._more

    def watched(reader):
        more(reader)
        held.append(len(reader.text))

    monkeypatch.setattr(jsonstream._Reader, "_more", watched)
    assert sum(1 for _ in stream_json(path, ("", "bbox"))) == 2000
    assert max(held) < 3 * 4096
