"""Which encoder captions are scored with against frames, and that nothing waits for it where they are not."""

import re

import pytest

from tests.workflow.planning import Scratch, demo_config

OTHER = {"name": "siglip", "kind": "transformers", "model": "google/siglip2-base-patch16-224"}


def with_evaluation(encoders=(), **evaluation) -> dict:
    config = demo_config()
    config["features"]["encoders"] += encoders
    config["captioner"]["evaluation"] = {**config["captioner"].get("evaluation", {}), **evaluation}
    return config


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return Scratch(tmp_path_factory.mktemp("image_text"), demo_config())


@pytest.mark.parametrize(
    ("config", "flags"),
    [
        (
            with_evaluation(),
            {
                "features": "results/demo/features/clip",
                "encoder": "results/demo/features/clip/encoder_text.yaml",
                "trained-clip": "results/demo/clip/trained",
            },
        ),
        (
            with_evaluation([OTHER], image_text_encoder="siglip"),
            {
                "features": "resources/demo/features/siglip",
                "encoder": "resources/demo/features/siglip/encoder_text.yaml",
                "trained-clip": "",
            },
        ),
        (with_evaluation(image_text=False), {"features": "", "encoder": "", "trained-clip": ""}),
    ],
    ids=["the captioner's", "another", "none"],
)
def test_captions_are_scored_by_the_encoder_that_was_chosen(scratch, config, flags):
    scratch.configure(config)
    said = scratch.snakemake("--dry-run", "--printshellcmds", "--until", "evaluate_captions")
    [command] = re.findall(r"python -m workflow_scripts\.evaluate_captions.*", said)
    assert {name: re.search(rf"--{name} ([^- ]\S*)?", command)[1] or "" for name in flags} == flags


def test_an_encoder_without_captions_scores_none(scratch):
    config = with_evaluation([{**OTHER, "text": "none", "token_grid": [2, 2]}])
    config["captioner"]["encoder"] = "siglip"
    scratch.configure(config)
    said = scratch.snakemake("--dry-run", "--printshellcmds", "--until", "evaluate_captions")
    [command] = re.findall(r"python -m workflow_scripts\.evaluate_captions.*", said)
    assert "--features  --encoder" in command
