"""A merged folder says what the adapters said, in a process that knows nothing of this project."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.unit.captioner.video_run import VideoRun, call
from workflow_scripts import merge_adapter, train_captioner_stage1, train_captioner_stage2
from workflow_scripts.lib.captioner.live import LiveFeatures, Moment
from workflow_scripts.lib.captioner.trained import open_trained
from workflow_scripts.lib.errors import UserError

CPU = torch.device("cpu")
CLOSE = 1e-4  # of logits, which are some units apart: rounding in fp32


@pytest.fixture(scope="module", params=["none", pytest.param("nf4", marks=pytest.mark.slow)])
def merged(request, tmp_path_factory):
    """A run with both stages, and its folder `merged`."""
    run = VideoRun(tmp_path_factory.mktemp("merge"))
    settings = {
        "quantization": request.param,
        "precision": "fp32",
        "projector": {"pooling": "average", "tokens": 1},
    }
    for module, stage in ((train_captioner_stage1, "stage1"), (train_captioner_stage2, "stage2")):
        call(module, run.training(stage, run.folder, **settings))
    run.generation = run.config("generation")
    call(merge_adapter, _words(run, run.folder / "merged"))
    return run


def _words(run, output, *more):
    return ["merge_adapter", "--model", str(run.folder / "stage2"), "--output", str(output),
            "--generation", str(run.generation), "--threads", "1", *more]  # fmt: skip


@pytest.mark.slow
def test_the_readme_feeds_it_where_this_project_is_not(merged, tmp_path):
    """The code of README.md runs as it is, and says what the adapters say."""
    folder = merged.folder / "merged"
    [seen] = LiveFeatures(folder, CPU).see(merged.videos[:1], Moment(), 4)
    expected = open_trained(merged.folder / "stage2", CPU, generation=merged.generation).captions(
        seen, ["en"]
    )
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    torch.save(torch.from_numpy(seen.tokens).float(), folder / "visual.pt")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=folder, env=environment | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    (folder / "visual.pt").unlink()
    assert done.returncode == 0, done.stderr
    assert " ".join(done.stdout.split()) == expected["en"]


def test_logits_are_those_of_the_adapters(merged):
    trained = open_trained(merged.folder / "stage2", CPU)
    inputs = merged.inputs(trained, merged.folder / "stage2")
    plain = AutoModelForCausalLM.from_pretrained(merged.folder / "merged", trust_remote_code=True).eval()
    with torch.no_grad():
        adapted, found = trained.model(**inputs).logits, plain(**inputs).logits
        with trained.model.disable_adapter():
            unadapted = trained.model(**inputs).logits
    assert (adapted - found).abs().max() < CLOSE
    assert (adapted - unadapted).abs().max() > 100 * CLOSE  # the adapters say something


def test_the_language_model_alone_is_a_stock_one(merged):
    folder = merged.folder / "merged/language_model"
    alone = AutoModelForCausalLM.from_pretrained(folder)
    whole = AutoModelForCausalLM.from_pretrained(merged.folder / "merged", trust_remote_code=True)
    assert type(alone).__name__ == "Qwen3ForCausalLM" and not list(folder.glob("*.py"))
    theirs = whole.language_model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in alone.state_dict().items())


def test_another_dtype_keeps_the_projector_in_fp32(merged, tmp_path):
    call(merge_adapter, _words(merged, tmp_path / "half", "--dtype", "bf16"))
    half = AutoModelForCausalLM.from_pretrained(tmp_path / "half", trust_remote_code=True)
    assert {value.dtype for value in half.language_model.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in half.projector.parameters()} == {torch.float32}
    assert json.loads((tmp_path / "half/captioner.json").read_text())["dtype"] == "bfloat16"


def test_decoding_is_recorded(merged):
    plain = json.loads((merged.folder / "merged/generation_config.json").read_text())
    assert plain["max_new_tokens"] == 12 and plain["num_beams"] == 1


def test_no_other_folder_is_replaced(merged, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds other things"):
        call(merge_adapter, _words(merged, tmp_path))
