import base64

import pandas as pd
import pytest

from tests.unit.report.fake_run import FakeRun
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.report.curves import draw_curves, read_curve, thin


def test_a_panel_holds_what_shares_a_scale(tmp_path):
    run = FakeRun(tmp_path, curves=True)
    figures = draw_curves(run.results, ["clip", "retrieval"])
    assert {figure.title: figure.main for figure in figures} == {
        "CLIP: loss": True,
        "CLIP: learning rate": False,
        "CLIP: logit scale": False,
        "GMMFormer: training loss": True,
        "GMMFormer: parts of the loss": True,
        "GMMFormer: validation SumR": True,
        "GMMFormer: validation R@1": True,
        "GMMFormer: learning rate": False,
        "GMMFormer: gradient norm": False,
    }
    assert "training loss from 3 to 2; validation loss from 2.5 to 2.5" in figures[0].description
    assert figures == draw_curves(run.results, ["clip", "retrieval"])
    svg = base64.b64decode(figures[0].image.removeprefix("data:image/svg+xml;base64,"))
    assert b"<svg" in svg and b"<text" not in svg


def test_scores_of_captions_have_a_panel_each(tmp_path):
    run = FakeRun(tmp_path, stages=("captioner",), curves=True)
    titles = [figure.title for figure in draw_curves(run.results, ["captioner"]) if figure.main]
    assert titles[:4] == [
        "Captioner, stage 1: loss",
        "Captioner, stage 1: validation CIDEr",
        "Captioner, stage 1: validation chrF++",
        "Captioner, stage 1: validation diversity",
    ]


def test_stages_that_are_off_are_not_drawn(tmp_path):
    assert draw_curves(FakeRun(tmp_path, curves=True).results, []) == []


def test_a_column_without_a_measurement_is_left_out(tmp_path):
    file = tmp_path / "retrieval" / "curve.csv"
    file.parent.mkdir()
    file.write_text("step,epoch,train_loss,val_r1\n1,1,0.5,\n", encoding="utf-8")
    assert [figure.title for figure in draw_curves(tmp_path, ["retrieval"])] == ["GMMFormer: training loss"]


@pytest.mark.parametrize("text", ["", "epoch,loss\n1,2\n"])
def test_a_file_that_is_no_curve_is_named(tmp_path, text):
    file = tmp_path / "curve.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"curve\.csv"):
        read_curve(file)


def test_of_the_curve_and_the_training_log_the_finer_is_drawn(tmp_path):
    for name, steps in (("curve.csv", 2), ("log/training.csv", 5)):
        file = tmp_path / "retrieval" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        column = "train_loss" if name == "curve.csv" else "loss"
        rows = "".join(f"{step},{10 * steps + step}\n" for step in range(steps))
        file.write_text(f"step,{column}\n{rows}", encoding="utf-8")
    (figure,) = draw_curves(tmp_path, ["retrieval"])
    assert figure.description == "GMMFormer: training loss: training loss from 50 to 54"


def test_lines_of_different_heights_are_all_to_be_seen(tmp_path):
    file = tmp_path / "retrieval" / "log" / "training.csv"
    file.parent.mkdir(parents=True)
    file.write_text("step,clip_nce,clip_triplet,query_diverse\n1,900,0.2,0\n2,800,0,0\n", encoding="utf-8")
    (figure,) = draw_curves(tmp_path, ["retrieval"])
    svg = base64.b64decode(figure.image.removeprefix("data:image/svg+xml;base64,")).decode()
    assert "<!-- $\\mathdefault{10^{2}}$ -->" in svg


def test_thinning_keeps_the_mean_and_the_order():
    line = pd.Series(range(10_000), index=range(1, 10_001), dtype=float)
    thinned = thin(line, 100)
    assert len(thinned) == 100
    assert thinned.mean() == pytest.approx(line.mean())
    assert thinned.index.is_monotonic_increasing
    assert thin(line[:100], 100) is not None and len(thin(line[:100], 100)) == 100
