import math
import sys
from collections.abc import Iterator

import pytest
import torch

from benchmarks import gmmformer_parity
from benchmarks.gmmformer_parity import PARTS, gap, measure, read_fixture
from benchmarks.gmmformer_reproduction import Reproduction
from tests.unit.retrieval.breakages import BREAKAGES, attention, break_it, everywhere, means, windows
from tests.unit.retrieval.golden.make import GOLDEN
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.retrieval import metrics, model, pooling


def run(monkeypatch, capsys, path) -> tuple[int, list[str], str]:
    """Exit code, lines and what went to stderr."""
    monkeypatch.setattr(sys, "argv", ["gmmformer_parity", str(path)])
    with pytest.raises(SystemExit) as ended:
        gmmformer_parity.main()
    out, err = capsys.readouterr()
    return ended.value.code, out.splitlines(), err


@pytest.fixture(scope="module")
def golden():
    """The golden numbers, to be left as they are."""
    return read_fixture(GOLDEN)


@pytest.fixture
def given():
    """The golden numbers, to be changed."""
    return read_fixture(GOLDEN)


def failing(given, sections=None) -> Iterator[str]:
    """Names of the parts that do not hold, one after the other: of these sections, or of all."""
    ours = Reproduction(given)
    for part in PARTS:
        if sections is None or part.section in sections:
            found = measure(part, given, ours)
            if found.size > part.tolerance:
                yield part.name


def test_every_part_holds_on_the_golden_numbers(monkeypatch, capsys):
    code, lines, err = run(monkeypatch, capsys, GOLDEN)
    assert [line for line in lines[:-1] if not line.endswith("  ok")] == []
    assert (code, err) == (0, "")
    assert len(lines) == len(PARTS) + 1
    assert lines[-1] == f"all {len(PARTS)} parts hold"


@pytest.mark.parametrize("name", BREAKAGES)
def test_what_is_broken_is_found(monkeypatch, golden, name):
    break_it(monkeypatch, name)
    assert list(failing(golden, {BREAKAGES[name][0]}))


def test_what_is_broken_ends_with_exit_code_1(monkeypatch, capsys):
    break_it(monkeypatch, "bias-corrected Adam")
    code, lines, _ = run(monkeypatch, capsys, GOLDEN)
    assert code == 1
    failed = [line.split("  ")[0] for line in lines[:-1] if "FAILED" in line]
    assert {"optimizer: weights by step", "optimizer: given gradients"} <= set(failed)
    assert all(name.startswith("optimizer: ") for name in failed)
    assert lines[-1] == f"{len(failed)} of {len(PARTS)} parts FAILED"


def test_the_breakages_break_nothing_else(monkeypatch, golden):
    """What they write anew is right where it is not meant to be wrong."""
    everywhere(monkeypatch, model.gaussian_windows, windows())
    everywhere(monkeypatch, pooling.segment_means, means(round, lambda count: count - 1))
    everywhere(monkeypatch, model.HeadAttention.forward, attention())
    assert list(failing(golden, {"gauss", "pool", "eval_forward", "evaluation"})) == []


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda given: given["train_soft"]["grads"]["clip_encoder.attn2.self.key.weight"].add_(1e-3),
         ["random negatives: gradients"]),
        (lambda given: given["train_hard"]["total"].add_(1e-3), ["hard negatives: loss terms"]),
        (lambda given: given["train_soft"]["draws"]["frame"]["t2v"].fill_(1), ["random negatives: draws"]),
        (lambda given: given["eval_forward"]["intermediates"]["frame_encoder_1.attn3"][0, 0, 0].add_(1e-4),
         ["intermediate activations"]),
        (lambda given: given["padding_dependence"]["t3"].update(cosine=1.0), ["dependence on padding"]),
        (lambda given: given["init_stats"].update({"clip_encoder.attn0.self.key.weight": (0.0, 0.05)}),
         ["initial weights, in standard errors"]),
        (lambda given: given["init_stats"].update({"clip_encoder.attn0.self.key.bias": (0.1, 0.0)}),
         ["initial weights, in standard errors"]),
        (lambda given: given["pool_index"].update({(9, 4): [0, 2, 5, 7, 8]}), ["segment bounds"]),
        (lambda given: given["optim"]["n_params_clipped_per_step"].__setitem__(1, 999),
         ["optimizer: clipped gradients by step"]),
        (lambda given: given["optim"]["watched"][3]["modular_vector_mapping.weight"].fill_(math.nan),
         ["optimizer: weights by step"]),
        (lambda given: given["evaluation"]["score_sum"].add_(1e-4), ["evaluation: scores"]),
        (lambda given: given["metrics"]["ranks"][5:6].add_(1), ["metrics: one right video"]),
        (lambda given: given["metrics"].update(SumR_multi=100.0), ["metrics: several right videos"]),
        (lambda given: given["train_batch_video_ids"].reverse(),
         ["training batch: order of videos", "training batch: features and masks"]),
    ],
)  # fmt: skip
def test_a_number_that_differs_fails_its_own_part(given, change, parts):
    change(given)
    assert list(failing(given, {part.section for part in PARTS if part.name in parts})) == parts


def test_a_part_that_the_library_cannot_compute_fails_with_the_reason_and_the_others_go_on(
    monkeypatch, capsys
):
    def broken(*_):
        raise RuntimeError("no such thing\nand more")

    everywhere(monkeypatch, metrics.best_ranks, broken)
    code, lines, _ = run(monkeypatch, capsys, GOLDEN)
    assert code == 1
    assert sum("FAILED" in line for line in lines[:-1]) < 10
    assert any(line.endswith("FAILED RuntimeError: no such thing") for line in lines)


@pytest.mark.parametrize(
    ("made", "original", "size"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]), 0.2),
        (torch.tensor([0.1]), torch.tensor([0.2]), 0.1),
        (torch.tensor([1.0]), torch.tensor(1.0), math.inf),
        (torch.tensor([math.nan]), torch.tensor([1.0]), math.inf),
        (torch.tensor([1.0]), torch.tensor([math.nan]), math.inf),
        (torch.tensor([math.inf]), torch.tensor([math.inf]), math.inf),
        ({"a": 1.0}, {"a": 1.0, "b": 1.0}, math.inf),
        ({"a": 1.0, "b": 1.0}, {"a": 1.0}, math.inf),
        ([1, 2], [1, 2, 3], math.inf),
        (["a", "b"], ["a", "c"], math.inf),
        ({"a": [1, {"b": "한"}]}, {"a": (1, {"b": "한"})}, 0.0),
        (torch.zeros(0, 3), torch.zeros(0, 3), 0.0),
        ([], [], 0.0),
        ({}, {"a": 1}, math.inf),
    ],
)
def test_the_largest_difference_of_nested_values(made, original, size):
    assert gap(made, original).size == pytest.approx(size, rel=1e-6)


def test_a_file_that_is_no_fixture_ends_with_a_sentence_and_exit_code_2(monkeypatch, capsys, tmp_path):
    whole = GOLDEN.read_bytes()
    for name, content in {"빈.pt": b"", "text.pt": b"hello", "cut.pt": whole[: len(whole) // 2]}.items():
        (tmp_path / name).write_bytes(content)
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.pt")
    for name in ("none.pt", "빈.pt", "text.pt", "cut.pt", "list.pt", "other.pt", "."):
        code, lines, err = run(monkeypatch, capsys, tmp_path / name)
        assert (code, lines) == (2, [])
        assert err.startswith(f"error: {tmp_path / name}: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("pool", None),
        ("metrics", "gt_multi"),
        ("train_hard", "grads"),
        ("optim", "t_total"),
        ("raw_text", None),
    ],
)
def test_a_fixture_that_lacks_something_is_told_what(tmp_path, section, key):
    given = dict(read_fixture(GOLDEN))
    if key:
        given[section] = {name: value for name, value in given[section].items() if name != key}
    else:
        del given[section]
    torch.save(given, tmp_path / "less.pt")
    with pytest.raises(UserError, match=f"no `{key or section}`"):
        read_fixture(tmp_path / "less.pt")
