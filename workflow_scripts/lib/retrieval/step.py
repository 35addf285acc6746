"""One optimizer step: encoding a batch in parts, its loss over all processes, and the update.

Random numbers are a function of seed, step and process, so that a run that was killed draws those of one that was not.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.processes import ALONE, Processes
from workflow_scripts.lib.retrieval.data import Batch
from workflow_scripts.lib.retrieval.distributed import gather_embeddings, shares_of
from workflow_scripts.lib.retrieval.losses import retrieval_loss
from workflow_scripts.lib.retrieval.model import GMMFormer, similarities
from workflow_scripts.lib.retrieval.optim import clip_gradients
from workflow_scripts.lib.retrieval.state import TrainingState

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
DROPOUT, NEGATIVES = 0, 1  # what is drawn; of one seed, each has its own random numbers


class BatchEncoder(nn.Module):
    """Encodes the parts of a batch one after the other.

    With `recompute`, the activations of a part are thrown away and computed again, dropout included, when its gradient
    is: memory holds those of one part at a time, while the loss is still that of all embeddings together (as in
    GradCache: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021).
    """

    def __init__(
        self, model: GMMFormer, recompute: bool = False, *, precision: str = "fp32", compiled: bool = False
    ):
        super().__init__()
        self.model, self.recompute, self.half = model, recompute, HALF.get(precision)
        self.encode_query, self.encode_video = model.encode_query, model.encode_video
        if compiled:
            self.encode_query, self.encode_video = (
                torch.compile(encode, dynamic=True) for encode in (model.encode_query, model.encode_video)
            )

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [Nq, D], clips [B, M, D] and frames [B, D] of a batch in its order, float32 in any precision."""
        with torch.autocast(batch.owner.device.type, self.half, enabled=self.half is not None):
            queries = [self._encode(self.encode_query, part) for part in batch.queries]
            videos = [self._encode(self.encode_video, part) for part in batch.videos]
        clips, frames = zip(*videos, strict=True)
        return (
            torch.cat(queries).float()[batch.query_places],
            torch.cat(clips).float()[batch.video_places],
            torch.cat(frames).float()[batch.video_places],
        )

    def _encode(self, encode: Callable, part: tuple[Tensor, ...]):
        if self.recompute:
            return checkpoint(encode, *part, use_reentrant=False)
        return encode(*part)


def train_step(
    state: TrainingState,
    encoder: nn.Module,
    batch: Batch,
    config: RetrievalConfig,
    *,
    seed: int,
    hard: bool,
    job: Processes = ALONE,
) -> dict[str, Tensor]:
    """One optimizer step on a batch, of which this process has its share, on the CPU; `encoder` is that of `state.model`.

    Returns numbers on the device, for which nothing has been waited: the losses, unweighted terms and their `total`,
    and what `TrainingState.update` says.
    """
    torch.manual_seed(random_number(seed, DROPOUT, state.step, job.rank))
    device = next(state.model.parameters()).device
    shares = shares_of(batch, job)
    embeddings = encoder.train()(batch.to(device))
    query, clips, frame = gather_embeddings(*embeddings, shares, job)
    losses = retrieval_loss(
        similarities(query, clips, frame),
        query,
        shares.owner.to(device, non_blocking=True),
        config,
        hard=hard,
        generator=torch.Generator().manual_seed(random_number(seed, NEGATIVES, state.step)),
    )
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(losses["total"] * job.world).backward()  # the processes' gradients are averaged
    state.scaler.unscale_(state.optimizer)
    norm = clip_gradients(state.model.parameters(), config.clip_norm, config.clipping)
    return {name: loss.detach() for name, loss in losses.items()} | state.update(norm)


def random_number(seed: int, *which: int) -> int:
    """A seed for torch, as good as independent of those of other numbers."""
    return int(np.random.SeedSequence((seed % 2**63, *which)).generate_state(1, np.uint64)[0])
