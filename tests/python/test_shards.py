"""Models in several files, by their index or their folder."""
import json
import shutil

import pytest
import torch
from equal import same
from safetensors.torch import load_file, save_file

import transload


@pytest.fixture(params=["sharded_safetensors", "sharded_bin"])
def sharded(request, data):
    folder = data / "torch-2.13" / request.param
    state = {}
    for shard in sorted(folder.glob("*-of-*")):
        state.update(load_file(shard) if shard.suffix == ".safetensors" else torch.load(shard, weights_only=True))
    return folder, state


def test_the_folder_and_the_index_are_the_whole_model(sharded):
    folder, state = sharded
    for path in folder, next(folder.glob("*.index.json")):
        loaded = transload.load(path)
        same({k: state[k] for k in sorted(state)}, {k: loaded[k] for k in sorted(loaded)})
        assert transload.open(path)["net1.weight"].shape == (10, 10)


def test_live_tensors_are_filled_from_all_shards(sharded):
    folder, state = sharded
    live = {k: torch.zeros_like(v) for k, v in state.items()}
    addresses = {k: v.data_ptr() for k, v in live.items()}
    assert tuple(map(list, transload.load_into(live, folder))) == ([], [])
    same(state, live)
    assert addresses == {k: v.data_ptr() for k, v in live.items()}


def test_a_folder_without_an_index(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "1.safetensors")
    assert sorted(transload.load(tmp_path)) == ["a"]
    save_file({"b": torch.zeros(3)}, tmp_path / "2.safetensors")
    with pytest.raises(transload.FormatError, match='several models: "1.safetensors", "2.safetensors"; name the one'):
        transload.load(tmp_path)


def test_numbered_files_without_an_index(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(transload.FormatError, match='1 of 2 shards are missing: "model-00002-of-00002.safetensors"'):
        transload.load(tmp_path)
    save_file({"b": torch.zeros(3)}, tmp_path / "model-00002-of-00002.safetensors")
    assert sorted(transload.load(tmp_path)) == ["a", "b"]
    save_file({"a": torch.zeros(2)}, tmp_path / "model-00002-of-00002.safetensors")
    with pytest.raises(transload.FormatError, match='"a" is in "model-00001-of-00002.safetensors" and in "model-00002'):
        transload.load(tmp_path)


def test_only_the_shards_with_what_is_meant_must_be_there(tmp_path):
    save_file({"a.w": torch.ones(2)}, tmp_path / "1.safetensors")
    weight_map = {"a.w": "1.safetensors", "b.w": "2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    for chosen in {"keep": "a.*"}, {"keys": ["a.w"]}, {"drop": "b.*"}:
        assert list(transload.load(tmp_path, **chosen)) == ["a.w"]
    live = {"a.w": torch.zeros(2)}
    transload.load_into(live, tmp_path, keep="a.*")
    assert live["a.w"].tolist() == [1, 1]
    for chosen in {}, {"keys": ["b.w"]}, {"keep": "*.w"}:
        with pytest.raises(transload.FormatError, match='1 of 2 shards are missing: "2.safetensors"'):
            transload.load(tmp_path, **chosen)


def test_the_map_decides_where_a_tensor_is_in_two_files(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "1.safetensors")
    save_file({"a": torch.zeros(2), "b": torch.zeros(3)}, tmp_path / "2.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}))
    assert transload.load(index)["a"].sum() == 2


@pytest.mark.parametrize("weight_map, words", [
    ({"a": "gone.safetensors"}, 'its only shard is missing: "gone.safetensors"'),
    ({"a": "../1.safetensors"}, "not a file beside the index"),
    ({"a": "/etc/passwd"}, "not a file beside the index"),
    ({"a": 5}, "expected a file name"),
    ({"z": "1.safetensors"}, '"z" should be in "1.safetensors", but is not there'),
    ({}, "the weight_map is empty"),
    ([], "not an index of shards"),
])
def test_an_index_that_is_wrong(tmp_path, weight_map, words):
    save_file({"a": torch.ones(2)}, tmp_path / "1.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(transload.FormatError, match=words):
        transload.open(index)


def test_folders_that_are_none(tmp_path, data):
    with pytest.raises(transload.FormatError, match="holds no model"):
        transload.open(tmp_path)
    with pytest.raises(transload.FormatError, match="torch.distributed.checkpoint"):
        transload.open(data / "torch-2.13/dcp_hf_2ranks")
    (tmp_path / "1.json").write_text("{nonsense")
    with pytest.raises(transload.FormatError, match="not valid JSON"):
        transload.open(tmp_path / "1.json")
    shutil.rmtree(tmp_path)
