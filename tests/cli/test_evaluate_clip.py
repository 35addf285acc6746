"""make_demo_clip_model and evaluate_clip on a small corpus."""

import json
import tarfile

import open_clip_train.main as program
import pytest
import torch
from safetensors.torch import load_file

from tests.unit.clip import pipeline
from tests.unit.clip.colours import class_folders, picture
from tests.unit.clip.fake_corpus import write_configs
from tests.unit.features.tiny_models import open_clip_folder
from workflow_scripts.lib.clip.embed import Clip, initial_model, trained_model
from workflow_scripts.lib.config import EncoderConfig, freeze, load_section
from workflow_scripts.lib.config_clip import ClipConfig, ClipEvaluation
from workflow_scripts.lib.features.encoders.encoder import load_encoder
from workflow_scripts.lib.frames.shard import add_member


def test_the_demo_model_is_made_whole_and_tells_its_longest_caption(capsys):
    pipeline.make_model(pipeline.packed())
    assert "training captions; the longest takes" in capsys.readouterr().out
    assert (pipeline.packed() / "demo_model" / "open_clip_config.json").is_file()


def evaluate(folder, metrics="metrics.json", **changes):
    flags = {
        "config": folder / "clip.yaml", "evaluation": folder / "clip_evaluation.yaml",
        "demo_model": folder / "demo_model", "model": folder / "trained", "corpus": folder / "corpus",
        "frames": folder / "frames", "shards": pipeline.SHARDS, "metrics": folder / metrics, "threads": 1, "seed": 1,
    }  # fmt: skip
    pipeline.run("evaluate_clip", **flags | changes)
    return json.loads((folder / metrics).read_text())


def test_metrics_by_language_in_percent_before_and_after():
    metrics = evaluate(pipeline.trained())
    for found in (metrics["test"], metrics["before"]):
        assert set(found) == {"en", "ko"}
        for scores in found.values():
            assert (scores["pairs"], scores["unique_texts"], scores["unique_images"]) == (4, 2, 4)
            assert scores["chance_r1"] == pytest.approx(50)
            assert scores["t2i_r5"] == scores["i2t_r10"] == 100
    assert "zero_shot" not in metrics
    assert metrics["provenance"]["seed"] == 1


def test_own_pairs_and_classes_instead_of_the_corpus(tmp_path):
    classes = class_folders(tmp_path / "classes", classes=("red", "green", "blue"))
    table = tmp_path / "test.tsv"
    table.write_text(
        "filepath\ttitle\n"
        + "".join(f"{classes / name / '0.png'}\ta {name} square\n" for name in ("red", "blue"))
    )
    evaluation = ClipEvaluation(
        data={"dataset_type": "csv", "test": {"files": [str(table)]}},
        zeroshot={"classes": ["red", "green", "blue"], "images": str(classes)},
    )
    (tmp_path / "evaluation.yaml").write_text(freeze(evaluation))
    metrics = evaluate(
        pipeline.trained(), "own.json", evaluation=tmp_path / "evaluation.yaml", corpus=None, frames=None
    )
    assert metrics["test"]["all"]["pairs"] == metrics["before"]["all"]["pairs"] == 2
    assert metrics["zero_shot"]["after"]["pictures"] == metrics["zero_shot"]["before"]["pictures"] == 6


def test_own_tars(tmp_path):
    with tarfile.open(tmp_path / "own_0.tar", "w") as tar:
        for k, name in enumerate(("red", "blue", "green")):
            for ending, data in (("png", picture(name)), ("txt", f"a {name} square".encode())):
                add_member(tar, f"{k:03d}.{ending}", data)
    evaluation = ClipEvaluation(data={"test": {"files": [str(tmp_path / "own_{0..0}.tar")]}})
    (tmp_path / "evaluation.yaml").write_text(freeze(evaluation))
    metrics = evaluate(pipeline.trained(), "tars.json", evaluation=tmp_path / "evaluation.yaml", frames=None)
    assert metrics["test"]["all"]["unique_images"] == 3


def test_nothing_to_evaluate_on_is_told(capsys):
    folder = pipeline.trained()
    metrics = evaluate(folder, "nothing.json", corpus=None, frames=None)
    assert metrics["test"] == metrics["before"] == {}
    assert "no recall: clip.data.test names no pairs" in capsys.readouterr().out


def test_own_training_takes_nothing_of_the_corpus_unasked(tmp_path, capsys):
    evaluation = ClipEvaluation(data={"train": {"files": ["mine.tar"]}})
    (tmp_path / "evaluation.yaml").write_text(freeze(evaluation))
    metrics = evaluate(pipeline.trained(), "unasked.json", evaluation=tmp_path / "evaluation.yaml")
    assert metrics["test"] == {} and "no recall" in capsys.readouterr().out
    evaluation = ClipEvaluation(data={"train": {"files": ["mine.tar"]}, "test": "corpus"})
    (tmp_path / "evaluation.yaml").write_text(freeze(evaluation))
    metrics = evaluate(pipeline.trained(), "asked.json", evaluation=tmp_path / "evaluation.yaml")
    assert set(metrics["test"]) == {"en", "ko"}


@pytest.mark.parametrize("siglip", [False, True])
def test_before_is_the_model_that_training_starts_from(monkeypatch, siglip):
    """What open_clip_train has at its first step, to the bit."""
    folder, seen = pipeline.packed(), {}

    def stopped(model, *rest, **more):
        seen.update({name: values.clone() for name, values in model.state_dict().items()})
        raise KeyboardInterrupt

    config = load_section(ClipConfig, write_configs(folder, siglip=siglip))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(program, "train_one_epoch", stopped)
        pipeline.train(folder, name="stopped", checkpoints=f"stopped-{siglip}")
    write_configs(folder)
    after = Clip(None, None, None, torch.device("cpu"))
    before = initial_model(config, folder / "demo_model", seed=1, trained=after).model.state_dict()
    assert before.keys() == seen.keys()
    assert all(torch.equal(before[name], seen[name]) for name in seen)
    other = initial_model(config, folder / "demo_model", seed=2, trained=after).model.state_dict()
    assert not all(torch.equal(other[name], seen[name]) for name in seen)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["vit", "coca", "siglip", "xlm_roberta"])
def test_models_of_every_kind_from_training_to_features(tmp_path, family):
    """Fine-tuned from a folder with weights: before it is the folder's model, and after it an encoder."""
    open_clip_folder(tmp_path / "source", family)
    folder = pipeline.packed()
    write_configs(
        folder, model=f"local-dir:{tmp_path / 'source'}", demo_model=None, epochs=1, siglip=family == "siglip"
    )
    (folder / "clip.yaml").rename(tmp_path / "clip.yaml")
    write_configs(folder)
    common = {"config": tmp_path / "clip.yaml", "demo_model": None, "model": tmp_path / "trained"}
    pipeline.train(folder, checkpoints=tmp_path / "checkpoints", curve=tmp_path / "curve.csv", **common)
    metrics = evaluate(folder, f"{family}.json", **common)
    assert metrics["before"]["ko"]["pairs"] == metrics["test"]["ko"]["pairs"] == 4
    config = load_section(ClipConfig, tmp_path / "clip.yaml")
    after = trained_model(tmp_path / "trained", torch.device("cpu"))
    before = initial_model(config, None, seed=1, trained=after).model.state_dict()
    source = load_file(tmp_path / "source/open_clip_model.safetensors")
    assert all(torch.equal(before[name], values) for name, values in source.items())
    trained = load_file(tmp_path / "trained/open_clip_model.safetensors")
    assert any(not torch.equal(trained[name], values) for name, values in source.items())
    encoder = load_encoder(
        EncoderConfig(name="x", kind="trained_clip"), tmp_path / "trained", torch.device("cpu")
    )
    texts = ["빨간 사각형이 있다", "a green square"]
    found = encoder.encode_captions(encoder.tokenize(texts)).sentences.float()
    assert torch.allclose(torch.nn.functional.normalize(found, dim=1), after.texts(texts), atol=1e-5)
