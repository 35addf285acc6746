"""Threads of a command, and GPUs that cannot do what is asked of them."""

import pytest
import torch

from workflow_scripts.lib.compute import require_bf16, set_up_compute
from workflow_scripts.lib.errors import UserError


@pytest.mark.parametrize(("here", "expected"), [(None, 6), ("2", 3), ("8", 1)])
def test_the_processes_of_a_machine_share_its_threads(monkeypatch, here, expected):
    """Whatever runs on other machines."""
    monkeypatch.setenv("WORLD_SIZE", "16")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if here:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
    before = torch.get_num_threads()
    try:
        set_up_compute(6)
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def gpu(monkeypatch):
    """Of a machine with one."""
    answers = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "set_device": lambda number: None,
        "get_device_name": lambda device: "a GPU",
        "get_arch_list": lambda: ["sm_75", "sm_90a", "compute_120"],
        "get_device_capability": lambda device: (7, 5),
        "is_bf16_supported": lambda including_emulation=True: including_emulation,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.delenv("LOCAL_RANK", raising=False)


def test_a_gpu_that_torch_was_not_built_for_is_told_at_once(gpu, monkeypatch):
    assert set_up_compute(torch.get_num_threads()) == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    with pytest.raises(
        UserError, match=r"a GPU has compute capability 7\.0, .*7\.5 and above.*CUDA_VISIBLE_DEVICES="
    ):
        set_up_compute(torch.get_num_threads())


def test_a_process_without_a_gpu_of_its_own(gpu, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UserError, match="process 2 on a machine with 1 GPUs"):
        set_up_compute(torch.get_num_threads())


def test_bf16_that_would_be_emulated_is_refused(gpu):
    require_bf16(torch.device("cpu"), "clip.precision", "amp")
    with pytest.raises(UserError, match=r"clip\.precision: a GPU has no bf16; set it to amp \(or fp32\)"):
        require_bf16(torch.device("cuda", 0), "clip.precision", "amp")
