"""NVDEC, the decoding unit of NVIDIA GPUs, by torchcodec. Small clips can take longer on it than on a processor."""

import io
from pathlib import Path

import av
import torch

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.decoders.torchcodec import TorchcodecReading, VideoDecoder, torchcodec

_said = False


def _tiny_video() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        container.mux(stream.encode(av.VideoFrame(64, 64)))
        container.mux(stream.encode())
    return buffer.getvalue()


def _check() -> None:
    """UserError where no video can be decoded into the GPU's memory."""
    problem = None
    if torch.version.cuda is None:
        problem = f"torch {torch.__version__} is built without CUDA. Install the builds of torch and torchcodec with it"
    elif not torch.cuda.is_available():
        problem = "torch sees no NVIDIA GPU (nvidia-smi lists those that the driver sees)"
    else:
        try:
            # Decoders that a process keeps: 20 would fill a GPU that many processes share.
            torchcodec.decoders.set_nvdec_cache_capacity(1)
            # Before the process's memory is limited: CUDA reserves addresses without end.
            torch.zeros(1, device="cuda")
            VideoDecoder(_tiny_video(), device="cuda")
        except RuntimeError as error:
            problem = f"torchcodec cannot use the GPU ({error}). Install a build of torchcodec with CUDA"
    if problem:
        raise UserError(f"frames.decoder 'nvdec' cannot be used here: {problem}, or take another decoder")


_check()


class NvdecReading(TorchcodecReading):
    """See Reading. What the GPU cannot decode, the processor does; that is said once."""

    NAME = "nvdec"
    DEVICE = "cuda"

    def __init__(self, path: Path):
        super().__init__(path)
        global _said
        if self.decoder.cpu_fallback and not _said:
            _said = True
            print(f"nvdec: {path.name} and maybe others: {self.decoder.cpu_fallback}", flush=True)
