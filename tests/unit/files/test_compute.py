"""Threads of a command."""

import pytest
import torch

from workflow_scripts.lib.compute import set_up_compute


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
