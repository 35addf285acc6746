"""An encoder's section as commands get it: a file, and flags that take the place of what it says of running."""

import argparse
import shlex

import pytest

from workflow_scripts.lib.config import EncoderConfig, freeze, freeze_side
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.encoders.section import add_encoder_arguments, encoder_section
from workflow_scripts.lib.running import running_flags

ENCODER = EncoderConfig(
    name="클립", kind="open_clip", model="ViT-B-32", batch_size=7, compile=True, space="shard", text_layer=2
)


def read(text, folder, *flags):
    file = folder / "encoder.yaml"
    file.write_text(text, encoding="utf-8")
    parser = argparse.ArgumentParser()
    add_encoder_arguments(parser)
    return encoder_section(parser.parse_args(["--config", str(file), *flags]))


def test_without_flags_it_is_the_file(tmp_path):
    assert read(freeze(ENCODER), tmp_path) == ENCODER


def test_what_decides_and_the_flags_together_are_the_section(tmp_path):
    flags = shlex.split(running_flags(ENCODER, ENCODER.RUNNING))
    found = read(freeze_side(ENCODER, "text"), tmp_path, *flags)
    assert found == ENCODER


def test_flags_take_the_place_of_the_file(tmp_path):
    found = read(freeze(ENCODER), tmp_path, "--batch-size", "3", "--no-compile")
    assert (found.batch_size, found.compile, found.space) == (3, False, "shard")


@pytest.mark.parametrize(
    ("flags", "words"), [(["--batch-size", "0"], "batch_size"), (["--space", "moon"], "space.*moon")]
)
def test_a_wrong_flag_is_named(tmp_path, flags, words):
    with pytest.raises(UserError, match=words):
        read(freeze(ENCODER), tmp_path, *flags)
