import pytest
import torch

from tests.unit.captioner.tiny import Tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Tiny:
    torch.set_num_threads(1)
    return Tiny(tmp_path_factory.mktemp("tiny_captioner"))
