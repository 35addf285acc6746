"""Language models of other people: from a folder through both stages, 4 bits, kill and resume, merge, reload."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.unit.captioner.language_models import write_language_model
from tests.unit.captioner.video_run import VideoRun, call
from tests.workflow.planning import ROOT, until
from workflow_scripts import merge_adapter, train_captioner_stage1, train_captioner_stage2
from workflow_scripts.lib.captioner.resuming import last_checkpoint
from workflow_scripts.lib.captioner.trained import open_trained

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return VideoRun(tmp_path_factory.mktemp("real"))


def merged_and_adapted(run, folder):
    """Logits of stage 2 merged and reloaded, and of its adapters."""
    call(
        merge_adapter,
        ["merge_adapter", "--model", str(folder / "stage2"), "--output", str(folder / "merged")],
    )
    trained = open_trained(folder / "stage2", CPU)
    inputs = run.inputs(trained, folder / "stage2")
    plain = AutoModelForCausalLM.from_pretrained(folder / "merged", trust_remote_code=True).eval()
    with torch.no_grad():
        return plain(**inputs).logits.float(), trained.model(**inputs).logits.float()


def test_a_chat_model_in_4_bits_from_a_folder_to_a_folder(run, tmp_path, capsys):
    """A killed stage 2 goes on where it was: the same curve, and the same bytes, as one that was let alone."""
    more = {"quantization": "nf4", "precision": "bf16",
            "stage2": {"epochs": 8, "lr": 1e-2, "batch_size": 2, "patience": 0}}  # fmt: skip
    call(train_captioner_stage1, run.training("stage1", tmp_path, **more))
    call(train_captioner_stage2, run.training("stage2", tmp_path, **more))

    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / "stage1").symlink_to(tmp_path / "stage1")
    words = run.training("stage2", killed, **more)
    job = subprocess.Popen(
        [sys.executable, "-m", "workflow_scripts.train_captioner_stage2", *words[1:]],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until(lambda: last_checkpoint(killed / "stage2_checkpoints"), 600)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert not (killed / "stage2").exists()
    capsys.readouterr()
    call(train_captioner_stage2, words)
    assert "continuing from" in capsys.readouterr().out
    assert (killed / "stage2.csv").read_text() == (tmp_path / "stage2.csv").read_text()
    weights = "stage2/adapter_model.safetensors"
    assert (killed / weights).read_bytes() == (tmp_path / weights).read_bytes()

    merged, adapted = merged_and_adapted(run, tmp_path)
    # bf16 has 8 bits, and the merged weights are rounded to them
    assert (merged - adapted).norm() < 0.05 * adapted.norm()
    assert torch.equal(merged[0, -1].argmax(), adapted[0, -1].argmax())


@pytest.mark.parametrize(
    ("family", "tokenizer", "targets", "adapted"),
    [
        ("llama", {"chat_template": False}, "attention+mlp", {"q_proj", "o_proj", "gate_proj", "down_proj"}),
        ("gpt2", {"pad_token": False}, "attention+mlp", {"c_attn", "c_proj", "c_fc"}),
        ("gpt2", {"chat_template": False, "pad_token": False}, ["c_attn"], {"c_attn"}),
    ],
)
def test_another_architecture(run, tmp_path, family, tokenizer, targets, adapted):
    model = write_language_model(tmp_path / "lm", family, run.texts, **tokenizer)
    more = {"language_model": str(model), "lora": {"r": 4, "target_modules": targets}}
    call(train_captioner_stage1, run.training("stage1", tmp_path, **more))
    call(train_captioner_stage2, run.training("stage2", tmp_path, **more))
    names = load_file(tmp_path / "stage2/adapter_model.safetensors")
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in names if ".lora_" in name}
    assert adapted <= layers and not layers & {"lm_head", "enter", "leave"}
    merged, with_adapters = merged_and_adapted(run, tmp_path)
    torch.testing.assert_close(merged, with_adapters, atol=1e-3, rtol=1e-3)
