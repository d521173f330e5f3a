"""Patterns, tags and devices: rules that fit nothing are warned of, and what errors advise works when it is pasted."""
import ast
import re
import warnings

import pytest

torch = pytest.importorskip("torch")
transload = pytest.importorskip("transload")


@pytest.fixture
def file(tmp_path):
    def save(value):
        torch.save(value, tmp_path / "m.pt")
        return tmp_path / "m.pt"

    return save


def named(*names):
    return {name: torch.full((2,), float(i)) for i, name in enumerate(names)}


def advised(error, option):
    """The value of a keyword argument in an error."""
    found = re.search(option + r"=(\{[^{}]*\}|\[[^]]*\]|\"(?:[^\"\\]|\\.)*\")", str(error))
    assert found, str(error)
    return ast.literal_eval(found[1])


@pytest.mark.parametrize(
    "saved",
    [
        ["module.a", "module.b.0.c"],
        ["a", "b.0._orig_mod.c"],
        ["_orig_mod.a", "b.0._orig_mod.c"],
        ['mo"d\\.a', 'mo"d\\.b.0.c'],
    ],
)
def test_the_rename_that_an_error_advises_works(file, saved):
    path, live = file(named(*saved)), named("b.0.c", "a")
    with pytest.raises(transload.MismatchError) as raised:
        transload.load_into(live, path)
    transload.load_into(live, path, rename=advised(raised.value, "rename"))
    assert live["a"][0] == 0 and live["b.0.c"][0] == 1


def test_the_drop_that_an_error_advises_works(file):
    path = file({"body": torch.ones(2), "fc.w": torch.ones(9), "fc.b": torch.ones(9)})
    live = {"body": torch.zeros(2), "fc.w": torch.zeros(3), "fc.b": torch.zeros(3)}
    with pytest.raises(transload.MismatchError, match="strict=False") as raised:
        transload.load_into(live, path)
    drop = advised(raised.value, "drop")
    assert drop == "fc.*"
    assert transload.load_into(live, path, strict=False, drop=drop).missing_keys == ["fc.w", "fc.b"]
    assert live["body"][0] == 1 and live["fc.w"][0] == 0


def test_the_part_that_an_error_advises_works(file):
    path, live = file({"runs": [{"model": named("a")}]}), named("x", "a")
    del live["x"]
    with pytest.raises(transload.MismatchError) as raised:
        transload.load_into(live, path)
    assert advised(raised.value, "at") == "runs/0/model"
    transload.load_into(live, path, at="runs/0/model")


def test_several_stars_are_each_replaced(file):
    path = file(named("h.0.attn.c.w", "h.11.attn.d.w"))
    state = transload.load(path, rename={"h.*.attn.*.*": "layers.*.*.attention.*"})
    assert list(state) == ["layers.0.c.attention.w", "layers.11.d.attention.w"]


def test_options_of_the_wrong_type_are_type_errors(file):
    path = file(named("a"))
    for rename in ({"module.*", "*"}, "module.*", [("a",)], {"a": 1}, 5):
        for call in (transload.load, lambda p, **more: transload.load_into(named("a"), p, **more)):
            with pytest.raises(TypeError, match="rename: expected a mapping"):
                call(path, rename=rename)
    for wrong in (5, b"a", {"a": "b"}, ["a", 5]):
        for option in ("keep", "drop"):
            with pytest.raises(TypeError, match=f"{option}: expected a text or a list of texts"):
                transload.load(path, **{option: wrong})


def warned(call, *args, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*args, **options)
    assert all(w.category is UserWarning and w.filename == __file__ for w in caught)
    return [str(w.message) for w in caught]


def test_rules_that_fit_nothing_are_warned_of_where_the_caller_is(file):
    path = file({"part": named("encoder.w", "head.w"), "step": 5})
    opened = transload.open(path)
    vain = ['map_location "encodr.*" fits no tensor; did you mean "encoder.*"?']
    rules = {"encodr.*": "cpu", "head.*": "cpu", "cuda:0": "cpu"}
    assert warned(transload.load, path, rules, at="part") == vain
    assert warned(opened["part"].load, rules) == vain
    assert warned(opened.plan, rules, at="part") == vain
    drop = ['drop "heads.*" fits no tensor; did you mean "head.*"?']
    assert warned(transload.load, path, at="part", drop=["heads.*", "encoder.*"]) == drop
    live = named("encoder.w", "head.w")
    assert warned(transload.load_into, live, path, at="part", drop="heads.*") == drop


def test_rules_that_fit_are_not_warned_of(file):
    path = file({"encoder.w": torch.ones(1), "head.w": torch.ones(1), "list": [torch.ones(1)]})
    for options in ({"map_location": {"encoder.*": "cpu"}}, {"map_location": {"cuda:0": "cpu", "npu:3": "cpu", "mps": "cpu"}},
                    {"keys": ["head.w"]}, {"keep": "list/0"}, {"drop": ["head.w"], "map_location": {"head.*": "cpu"}},
                    {"rename": {"head.*": "top.*"}, "map_location": {"top.*": "cpu"}}):
        assert warned(transload.load, path, **options) == [], options


def test_a_key_that_is_a_tag_of_the_file_is_a_tag(file, monkeypatch):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "CPU")
    path = file(named("w"))
    with pytest.raises(transload.PlacementError) as raised:
        transload.load(path)
    assert advised(raised.value, "map_location") == "cpu"
    assert 'map_location={"CPU": "cpu"}' in str(raised.value)
    assert warned(transload.load, path, {"CPU": "cpu"}) == []
    assert warned(transload.load, path, "cpu") == []


def test_a_key_that_is_a_tensors_name_is_a_pattern(file):
    path = file({"encoder": torch.ones(1), "w": torch.ones(1)})
    state = transload.load(path, {"encoder": "meta"})
    assert state["encoder"].device.type == "meta" and state["w"].device.type == "cpu"


@pytest.mark.parametrize("device", ["mps", "xpu", "xpu:0", "hpu"])
def test_a_device_that_is_not_supported_is_named_with_those_that_are_here(file, device):
    path = file(named("w"))
    for rule in (device, {"cpu": device}, {"w": device}, f"w:{device}", lambda storage, tag: device):
        with pytest.raises(transload.PlacementError, match=f'"{device}" is not a supported device; the devices here are cpu, meta.*"cpu" works everywhere'):
            transload.load(path, rule)


def test_a_device_with_a_typing_error_gets_the_nearest(file):
    path = file(named("w"))
    for rule in ("cudda", {"cpu": "cudda"}):
        with pytest.raises(transload.PlacementError, match='did you mean "cuda"'):
            transload.load(path, rule)
    with pytest.raises(transload.PlacementError, match='(?s)cuda:99, which is not here.*map_location="cpu" loads'):
        transload.load(path, "cuda:99")


def test_names_and_parts_go_through_lists_tuples_and_int_keys(file):
    t = torch.ones(2)
    path = file({"l": [t, (t, {"w": t})], "ints": {-1: t, 10: t}, "a/b": {"c": t}})
    assert torch.equal(transload.load(path, at="l/1/1")["w"], t)
    assert torch.equal(transload.load(path, at="ints")[-1], t)
    state = transload.load(path, keys=["l/1/0", "ints/-1", "a/b/c"])
    assert state["l"][0] is None and state["l"][1][1] == {} and torch.equal(state["l"][1][0], t)
    assert list(state["ints"]) == [-1] and torch.equal(state["a/b"]["c"], t)
    assert list(transload.load(path, drop="ints/1?")["ints"]) == [-1]
    for at in ("l/-1", "l/2", "l/01", "ints/0", "a/b/c/0"):
        with pytest.raises(transload.MismatchError, match=f'nothing at "{at}"'):
            transload.load(path, at=at)
        with pytest.raises(KeyError, match=f"no tensor '{at}'"):
            transload.load(path, keys=[at])
