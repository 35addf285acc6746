import errno
import os
import tempfile

import numpy as np
import pytest
import torch

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.retrieval import gallery
from workflow_scripts.lib.retrieval.gallery import room_for, stored

CPU = torch.device("cpu")


def test_vectors_that_do_not_fit_into_memory_lie_in_a_file_that_goes_with_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(gallery, "IN_MEMORY", 4 * 5 * 2 * 3 - 1)
    blocks = [(np.array([3, 1]), torch.randn(2, 2, 3)), (np.array([0, 4, 2]), torch.randn(3, 2, 3))]
    found = stored(blocks, 5, CPU)
    assert str(tmp_path) in capsys.readouterr().out
    assert found.order.tolist() == [3, 1, 0, 4, 2]
    whole = slice(0, 5)
    torch.testing.assert_close(found.vectors(whole), torch.cat([block for _, block in blocks]))
    assert list(tmp_path.iterdir()) == []  # a killed process leaves nothing


def test_in_memory_there_is_no_file(capsys):
    assert room_for((3, 4), CPU).shape == (3, 4)
    assert capsys.readouterr().out == ""


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(gallery, "IN_MEMORY", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=rf"{tmp_path}: no room for .*TMPDIR"):
        room_for((3, 4), CPU)


def test_blocks_hold_so_many_vectors_and_at_least_a_video(monkeypatch):
    monkeypatch.setitem(gallery.VECTORS, "cpu", 5)
    assert [
        rows.stop - rows.start for rows in stored([(np.arange(5), torch.zeros(5, 2, 3))], 5, CPU).blocks
    ] == [
        2,
        2,
        1,
    ]
    assert len(stored([(np.arange(3), torch.zeros(3, 9, 3))], 3, CPU).blocks) == 3
