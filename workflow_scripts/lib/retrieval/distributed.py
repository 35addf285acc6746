"""One batch over several processes: each encodes its share, and all of them compute the loss of the whole batch."""

from itertools import accumulate
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from workflow_scripts.lib.processes import Processes
from workflow_scripts.lib.retrieval.data import Batch


class Shares(NamedTuple):
    """What of a batch each process has, by rank; one behind the other, they are the batch in its order."""

    videos: list[int]
    queries: list[int]
    owner: Tensor
    """[Nq], the video of every caption of the whole batch, on the CPU."""


def shares_of(batch: Batch, job: Processes) -> Shares:
    """What all processes have, from what this one has. The batch is still on the CPU, so that no GPU is waited for."""
    own = len(batch.video_places), len(batch.owner)
    if job.world == 1:
        return Shares([own[0]], [own[1]], batch.owner)
    videos, queries = torch.stack(job.gather(torch.tensor(own))).T.tolist()
    owners = job.gather(F.pad(batch.owner, (0, max(queries) - own[1])))
    before = accumulate(videos, initial=0)  # one more than there are processes
    return Shares(
        videos,
        queries,
        torch.cat([owner[:n] + start for owner, n, start in zip(owners, queries, before, strict=False)]),
    )


def gather_embeddings(
    query: Tensor, clips: Tensor, frame: Tensor, shares: Shares, job: Processes
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [Nq, D], clips [B, M, D] and frames [B, D] of the whole batch, from those of this process.

    Gradients flow into its own alone. When every process computes the whole batch's loss, their gradients sum up to
    that of one process with the whole batch.
    """
    if job.world == 1:
        return query, clips, frame
    count, width = clips.shape[1:]
    own = torch.cat([query, clips.flatten(0, 1), frame])
    sizes = [
        (queries, videos * count, videos)
        for queries, videos in zip(shares.queries, shares.videos, strict=True)
    ]
    rows = list(map(sum, sizes))
    found = job.gather(F.pad(own.detach(), (0, 0, 0, max(rows) - len(own))))  # one exchange, of one size
    pieces = [piece[:some] for piece, some in zip(found, rows, strict=True)]
    pieces[job.rank] = own
    split = (piece.split(size) for piece, size in zip(pieces, sizes, strict=True))
    queries, all_clips, frames = map(torch.cat, zip(*split, strict=True))
    return queries, all_clips.view(-1, count, width), frames


def over_processes(encoder: nn.Module, job: Processes, device: torch.device) -> nn.Module:
    """The encoder whose gradients are the means over all processes; their weights are made those of the first one."""
    if job.world == 1:
        return encoder
    own = [device] if device.type == "cuda" else None
    return DistributedDataParallel(encoder, device_ids=own, gradient_as_bucket_view=True)
