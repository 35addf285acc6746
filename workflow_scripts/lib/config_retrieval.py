"""The `retrieval` section of the configuration."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from workflow_scripts.lib.config_types import (
    Count,
    Float,
    Fraction,
    Languages,
    Name,
    NotNegative,
    Positive,
    Rate,
    Section,
    Share,
    Text,
    number,
)


class RetrievalConfig(Section):
    """GMMFormer (Wang et al., AAAI 2024): partially relevant video retrieval."""

    enabled: bool = True
    """Train and evaluate text-to-video retrieval."""
    encoder: Name | None = None
    """Name of the encoder whose features are used."""
    text_encoder: Name | None = None
    """Name of the encoder whose features of captions are used; default: `encoder`."""
    visual: Literal["embeddings", "tokens"] = "embeddings"
    """What GMMFormer sees of a frame: its embedding, or its visual tokens side by side (of an encoder with a
    `token_grid`), which keep where in the frame things are."""
    languages: Languages | None = None
    """Caption languages to train and evaluate on; default: all of the corpus."""

    # the model
    hidden_size: Positive = 384
    """Width of the model; a multiple of n_heads."""
    n_heads: Positive = 4
    """Attention heads."""
    map_size: Positive = 32
    """Segments of the clip branch."""
    max_ctx_l: Positive = 128
    """Frames of the frame branch; longer videos are averaged down to so many."""
    max_desc_l: Positive = 30
    """Caption tokens; longer captions are cut."""
    input_drop: Share = 0.2
    """Dropout before the input projections."""
    drop: Share = 0.2
    """Dropout inside the model."""
    initializer_range: Rate = 0.02
    """Standard deviation of the initial weights."""
    window_length: Positive | Literal["batch"] | None = None
    """Frames that the Gaussian windows span: a number (default: max_ctx_l), or `batch` for the padded length of the
    batch, as the original code has it; then a batch is encoded in one part by one process."""

    # what is learned from, in which order
    batch_size: Positive = 128
    """Videos an optimizer step, over all processes; each comes with all its captions, and all are each other's
    negatives."""
    accumulation: Positive = 1
    """Parts that a process encodes its share of a batch in, one after the other, keeping the activations of one at a
    time: less memory, one more forward pass, and the loss and the gradients of the whole batch."""
    length_buckets: Positive = 4
    """Parts of a batch, of videos (and captions) of similar length, each padded to its own longest."""
    train_shard_size: Positive | None = None
    """Videos an epoch, neighbours in the corpus; the next epoch takes others, until all were seen once: a
    super-epoch. Default: all of them."""
    steps_per_epoch: Annotated[int, Field(ge=-1), BeforeValidator(number)] = -1
    """Optimizer steps an epoch at most; -1: as many as its videos give."""
    epochs: Positive = 100
    """Epochs at most; each ends with a validation."""
    patience: Positive = 10
    """Stop when the validation SumR has not improved for more epochs than this."""

    # optimisation
    optimizer: Literal["adamw", "bert_adam"] = "adamw"
    """`bert_adam`: the original's, without bias correction."""
    lr: Rate = 3e-4
    """Peak learning rate."""
    schedule: Literal["linear", "cosine"] = "linear"
    """How it falls to zero after the warm-up, over all optimizer steps."""
    warmup: Share = 0.01
    """Share of all optimizer steps that warms up, linearly."""
    weight_decay: NotNegative = 0.01
    """Weight decay; none for biases and LayerNorms."""
    clip_norm: Rate = 1.0
    """Gradients are clipped to this norm."""
    clipping: Literal["global", "per_tensor"] = "global"
    """Whether the norm is that of all gradients together, or of each tensor, as the original has it."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the encoders in training; `fp16` scales the loss. Losses and evaluation are fp32."""
    compile: bool = False
    """Compile the encoders with torch.compile."""

    # losses
    margin: Rate = 0.1
    """Margin of the triplet losses."""
    hard_negative_start_epoch: Count = 30
    """From this epoch on (the first is 0), triplets use hard negatives."""
    hard_pool_size: Positive = 20
    """Hardest videos that a query's negative is drawn from."""
    loss_factor: Annotated[list[Float], Field(min_length=3, max_length=3)] = [0.05, 0.04, 0.001]
    """Weights of clip NCE, frame NCE and query diverse loss."""
    neg_factor: Annotated[list[Float], Field(min_length=2, max_length=2)] = [0.15, 32]
    """Delta and alpha of the query diverse loss."""

    # evaluation and search
    clip_weight: Fraction = 0.7
    """Share of the clip score in the final score; the frame score has the rest."""
    bootstrap: Count = 1000
    """Samples of the queries that confidence intervals are made of; 0: no intervals."""
    index: list[Literal["train", "val", "test"]] = ["train", "val", "test"]
    """Splits whose videos the search index holds, (map_size * hidden_size * 2) bytes each; none: `[]`."""

    # how it runs: nothing of this changes a result, or makes one anew
    workers: Count = 2
    """Processes that read batches ahead; 0: none."""
    prefetch: Positive = 4
    """Batches that each of them is ahead."""
    checkpoint_steps: Positive = 1000
    """Optimizer steps between two checkpoints within an epoch; each epoch ends with one."""
    keep_epochs: Count = 0
    """Every so many epochs the checkpoint is kept beside the last and the best; 0: none."""
    log_steps: Positive = 50
    """Optimizer steps between two lines of the training log."""
    wandb: Text | None = None
    """Project of Weights & Biases to log to (`WANDB_MODE=offline` works); Tensorboard files are always written."""

    RUNNING: ClassVar = ("workers", "prefetch", "checkpoint_steps", "keep_epochs", "log_steps", "wandb")
    NOT_FROZEN: ClassVar = frozenset({*RUNNING, "index"})

    @model_validator(mode="after")
    def _fits_together(self):
        if self.hidden_size % self.n_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of n_heads {self.n_heads}")
        if self.map_size > self.max_ctx_l:
            raise ValueError(f"map_size {self.map_size} is larger than max_ctx_l {self.max_ctx_l}")
        if self.steps_per_epoch == 0:
            raise ValueError("steps_per_epoch is -1 (all) or at least 1")
        if len(set(self.index)) < len(self.index):
            raise ValueError("index: each split may be there only once")
        if self.window_length == "batch" and self.accumulation > 1:
            raise ValueError(
                "window_length 'batch' depends on the padding of the whole batch, which accumulation takes apart; set"
                " accumulation to 1, or window_length to a number"
            )
        return self

    @property
    def parts(self) -> int:
        """Parts that a process encodes its share of a batch in."""
        return 1 if self.window_length == "batch" else max(self.accumulation, self.length_buckets)
