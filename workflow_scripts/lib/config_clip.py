"""The `clip` section of the configuration. Options of `open_clip_train` have its names, with `_` for `-`."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from workflow_scripts.lib.config_clip_checks import fits_together, pairs_fit_together, sensible_augmentation
from workflow_scripts.lib.config_types import (
    Count,
    Float,
    Fraction,
    Languages,
    NotNegative,
    Positive,
    Rate,
    Section,
    Share,
    Text,
    number,
)


class DemoClipModel(Section):
    """A CLIP small enough to train from scratch on a CPU, with a BPE made from the corpus's captions."""

    image_size: Annotated[int, Field(ge=32, multiple_of=32), BeforeValidator(number)] = 64
    """Edge of the images that the model sees, in pixels: frames are resized to it."""
    vision_width: Positive = 8
    """Channels of the vision tower's stem (a ResNet of four blocks); its visual tokens have 32 times as many."""
    width: Positive = 64
    """Width of the text tower and of the embedding."""
    text_layers: Positive = 1
    """Transformer layers of the text tower."""
    context_length: Positive = 24
    """Text tokens, start and end included."""
    merges: Positive = 320
    """BPE merges learned from the training captions; the vocabulary has 512 + merges + 2 tokens."""


DatasetType = Literal["webdataset", "csv", "synthetic"]


class PairFiles(Section):
    """Pairs that are there already."""

    files: Annotated[list[Text], Field(min_length=1)]
    """WebDataset tars (`{000..099}` in a name is a range), or one CSV."""
    samples: Positive | None = None
    """Pairs in the tars; counted when not given, which reads them once. Needed for files that are not on this machine:
    addresses with `://`, commands with `pipe:`."""
    upsampling: Annotated[list[Rate], Field(min_length=1)] | None = None
    """How often each of `files` is drawn from, relative to the others; needs `dataset_resampled`. Training only."""


class PairsConfig(Section):
    """Which frame-caption pairs of the corpus are trained on, or whose own pairs."""

    dataset_type: DatasetType = "webdataset"
    """Form of the pairs: WebDataset tars, a CSV of JPEG files and captions, or noise that the package makes (to measure
    speed, without a corpus's pairs)."""
    frames_per_caption: Positive = 2
    """Frames of a caption's moment that are paired with it."""
    frames: Literal["even", "middle", "random"] = "even"
    """Which of them: spread evenly, those nearest to the middle, or drawn by the run's seed."""
    captions_per_video: Positive | None = None
    """Captions of a video at most, drawn by the run's seed; default: all."""
    languages: Languages | None = None
    """Languages of the captions; default: all of the corpus."""
    pairs_per_tar: Positive = 10_000
    """Pairs of a tar; those of a shard of the corpus are shuffled over its tars."""
    samples: Positive = 10_000
    """Pairs of an epoch of synthetic ones."""
    train: PairFiles | None = None
    """Own pairs to train on; default: the corpus's."""
    val: PairFiles | Literal["corpus"] | None = None
    """Own pairs to validate on while it trains, 10,000 at most, or `corpus` for the corpus's; default: the corpus's, but
    none where own pairs are trained on."""
    test: PairFiles | Literal["corpus"] | None = None
    """Own pairs to evaluate on, or `corpus`; default: as of `val`."""
    csv_separator: Text = "\t"
    """Between the columns of CSVs: one character."""
    csv_img_key: Text = "filepath"
    """Column with the paths of pictures; relative ones start at the folder that Snakemake runs in."""
    csv_caption_key: Text = "title"
    """Column with the captions."""
    dataset_resampled: bool = False
    """Draw tars with replacement, as the package recommends for large runs of many GPUs; an epoch is then as many
    pairs, but not each of them once."""

    # what pack_pairs does not read
    NOT_FROZEN: ClassVar = frozenset(
        {
            "samples",
            "train",
            "val",
            "test",
            "csv_separator",
            "csv_img_key",
            "csv_caption_key",
            "dataset_resampled",
        }
    )

    @field_validator("csv_separator")
    @classmethod
    def _one_character(cls, value: str) -> str:
        value = value.replace(r"\t", "\t")
        if len(value) != 1:
            raise ValueError("one character is needed, as `,` or `\\t`")
        return value

    @model_validator(mode="after")
    def _fits_together(self):
        pairs_fit_together(self)
        return self

    def own(self, split: str) -> PairFiles | None:
        """The own pairs of a split, if it has any."""
        given = getattr(self, split)
        return given if isinstance(given, PairFiles) else None

    def of_corpus(self, split: str) -> bool:
        """Whether the pairs of a split are the corpus's: where it says so, and where nothing else is trained on."""
        noise = self.dataset_type == "synthetic" and split != "test"
        given = getattr(self, split)
        return given == "corpus" or (given is None and self.train is None and not noise)


class Augmentation(Section):
    """How training changes pictures; what is not given stays as the package has it: crops of 90 to 100 % of the area."""

    scale: Annotated[list[Rate], Field(min_length=2, max_length=2)] | None = None
    """Smallest and largest share of a picture's area that is cut out."""
    ratio: Annotated[list[Rate], Field(min_length=2, max_length=2)] | None = None
    """Smallest and largest ratio of its sides; needs use_timm."""
    color_jitter: NotNegative | Annotated[list[NotNegative], Field(min_length=3, max_length=4)] | None = None
    """Strength of changes in brightness, contrast, saturation and hue: four numbers, with color_jitter_prob; with
    use_timm one, three or four."""
    color_jitter_prob: Fraction | None = None
    """Share of the pictures that colours are changed of."""
    gray_scale_prob: Fraction | None = None
    """Share of the pictures that lose their colours."""
    re_prob: Fraction | None = None
    """Share of the pictures of which a rectangle is erased (Zhong et al., AAAI 2020); needs use_timm."""
    re_count: Positive | None = None
    """Rectangles at most; needs re_prob."""
    use_timm: bool = False
    """Timm's transforms; without mirroring, as all others."""

    @model_validator(mode="after")
    def _is_sensible(self):
        sensible_augmentation(self)
        return self


class ZeroShotConfig(Section):
    """Zero-shot classification of pictures of one's own, before and after training."""

    classes: Annotated[list[Text], Field(min_length=2)] | Text
    """Names of the classes, or a text file with one a line; `FOLDER<TAB>name` where the folder of pictures has another
    name."""
    images: Text
    """Folder with a folder of pictures a class, named as the class is; as ImageNet's."""
    templates: Annotated[list[Text], Field(min_length=1)] | Literal["openai", "simple"] = "simple"
    """Sentences with `{}` for the class, whose embeddings are averaged; or sets that open_clip has."""

    @model_validator(mode="after")
    def _templates_have_a_place(self):
        for template in self.templates if isinstance(self.templates, list) else []:
            if template.count("{}") != 1 or re.search("[{}]", template.replace("{}", "")):
                raise ValueError(f"templates: each needs `{{}}` once, for the class; found {template!r}")
        return self


class ClipEvaluation(Section):
    """What evaluate_clip measures."""

    data: PairsConfig = PairsConfig()
    """Whose test pairs."""
    zeroshot: ZeroShotConfig | None = None
    """Also classify pictures."""


class ClipConfig(Section):
    """Training or fine-tuning an OpenCLIP model on frame-caption pairs, by `open_clip_train`."""

    enabled: bool = True
    """Without this stage, features come from pretrained encoders."""

    # the model
    model: Text | None = None
    """A model name that open_clip knows, a JSON file of a custom one, or `local-dir:FOLDER` / `hf-hub:ORG/NAME`."""
    demo_model: DemoClipModel | None = None
    """Instead of `model`: a tiny one made by the rule make_demo_clip_model."""
    pretrained: Text | None = None
    """Pretrained tag or checkpoint file to start from; none: from scratch."""
    pretrained_image: bool = False
    """Start the image tower from timm's ImageNet weights."""
    cache_dir: Text | None = None
    """Folder for downloaded models and tokenizers."""
    force_image_size: Annotated[list[Positive], Field(min_length=1, max_length=2)] | None = None
    """Another image size than the model's; positions are interpolated."""
    force_context_length: Positive | None = None
    """Another number of text tokens than the model's."""
    force_quick_gelu: bool = False
    """QuickGELU, with which OpenAI's weights were trained, in a model whose config has none."""
    force_custom_text: bool = False
    """The text tower as a module of its own."""
    force_patch_dropout: Share | None = None
    """Share of the image patches left out in training (Li et al., FLIP, CVPR 2023); of ViTs."""
    image_mean: Annotated[list[Float], Field(min_length=3, max_length=3)] | None = None
    """Mean that images are normalised by, a channel; default: the model's."""
    image_std: Annotated[list[Rate], Field(min_length=3, max_length=3)] | None = None
    """Standard deviation that images are normalised by, a channel; default: the model's."""
    image_interpolation: Literal["bicubic", "bilinear", "random"] | None = None
    """How images are resized; default: the model's way."""
    image_resize_mode: Literal["shortest", "longest", "squash"] | None = None
    """What of an image is fitted to the model's size outside of training; default: the model's way."""

    # the pairs
    data: PairsConfig = PairsConfig()
    aug_cfg: Augmentation = Augmentation()
    """Augmentation of the training pictures."""

    # optimization
    batch_size: Positive = 128
    """Global batch size: of one forward pass, over all processes."""
    accum_freq: Positive = 1
    """Forward passes of an optimizer step: it sees accum_freq * batch_size pairs, as each other's negatives."""
    epochs: Positive = 5
    """Passes over the pairs."""
    opt: Text = "adamw"
    """`adamw`, or `timm/NAME` for an optimizer of timm."""
    lr: Rate = 5e-4
    """Peak learning rate."""
    beta1: Share | None = None
    """AdamW's; default: 0.9, as the two below of table 18 of the CLIP paper (Radford et al., 2021). Of an optimizer of
    timm: its own, if it has one."""
    beta2: Share | None = None
    """Default: 0.98."""
    eps: Rate | None = None
    """Default: 1e-6, of every optimizer."""
    momentum: Annotated[float, Field(gt=0, lt=1), BeforeValidator(number)] | None = None
    """Of optimizers of timm that have one; default: theirs."""
    wd: NotNegative = 0.2
    """Weight decay; not of biases, norms and the logit scale."""
    grad_clip_norm: Rate | None = None
    """Largest norm of the gradient; none: as it is."""
    warmup: Count = 1000
    """Optimizer steps in which the learning rate rises linearly."""
    lr_scheduler: Literal["cosine", "const", "const-cooldown"] = "cosine"
    """Learning rate after the warm-up."""
    epochs_cooldown: Positive | None = None
    """Last epochs in which `const-cooldown` falls."""
    lr_cooldown_end: NotNegative = 0.0
    """Learning rate at the end of the cool-down."""
    lr_cooldown_power: Rate = 1.0
    """Power of the polynomial by which it falls; 1: linear."""
    skip_scheduler: bool = False
    """The learning rate stays as it is, without warm-up."""
    precision: Literal[
        "amp", "amp_bf16", "amp_bfloat16", "bf16", "fp16", "pure_bf16", "pure_fp16", "fp32"
    ] = "amp_bf16"
    """Arithmetic; fp32 on a CPU. GPUs before Ampere, such as the T4, have no bf16: `amp` there."""

    # which parameters are trained
    lock_image: bool = False
    """The image tower stays as it is (LiT: Zhai et al., CVPR 2022)."""
    lock_image_unlocked_groups: Count = 0
    """Last groups of layers of the image tower that are trained all the same; not of open_clip's ResNets."""
    lock_image_freeze_bn_stats: bool = False
    """Batch norms of the locked tower keep their statistics."""
    lock_text: bool = False
    """The text tower stays as it is; needs lock_text_freeze_layer_norm."""
    lock_text_unlocked_layers: Count = 0
    """Last layers of the text tower that are trained all the same."""
    lock_text_freeze_layer_norm: bool = False
    """Layer norms of the locked tower stay, too."""

    # the loss
    siglip: bool = False
    """Sigmoid loss (Zhai et al., ICCV 2023)."""
    loss_dist_impl: Literal["bidir", "shift", "reduce", "gather"] | None = None
    """How SigLIP's loss is exchanged between processes; default: the package's."""
    local_loss: bool = False
    """Each process computes the rows of its own pairs only: memory linear in the number of processes."""
    gather_with_grad: bool = False
    """Gradients flow through the embeddings of other processes; with local_loss, always wanted."""
    coca_caption_loss_weight: NotNegative = 2.0
    """Of CoCa models (Yu et al., TMLR 2022)."""
    coca_contrastive_loss_weight: NotNegative = 1.0
    """Of CoCa models."""
    distill_model: Text | None = None
    """Teacher; its embedding is as wide as the model's."""
    distill_pretrained: Text | None = None
    """Weights of the teacher: tag or file."""

    # speed and memory
    grad_checkpointing: bool = False
    """Activations are computed again in the backward pass."""
    torchcompile: bool = False
    """Compile the model (torch.compile)."""
    use_bn_sync: bool = False
    """Batch norms over all processes."""
    ddp_static_graph: bool = False
    """DistributedDataParallel(static_graph=True)."""
    use_bnb_linear: Literal["SwitchBackLinearGlobal", "SwitchBackLinearGlobalMemEfficient"] | None = None
    """Linear layers in 8 bits, by bitsandbytes; on a GPU."""

    # evaluation
    zeroshot: ZeroShotConfig | None = None
    """Also classify pictures, before and after training."""
    val_frequency: Positive = 1
    """Epochs between two validations."""

    # how it runs: nothing of this changes the model
    workers: Count = 1
    """Processes that read and decode pairs, for each process that trains."""
    save_frequency: Count = 0
    """Every so many epochs the checkpoint is kept beside the last one; 0: none."""
    delete_previous_checkpoint: bool = False
    """Of those, keep the newest only."""
    log_every_n_steps: Positive = 10
    """Optimizer steps between two values of the curves."""
    report_to: list[Literal["tensorboard", "wandb"]] = ["tensorboard"]
    """Where curves go besides the report."""
    wandb_project_name: Text = "open-clip"
    """Project of Weights & Biases (`WANDB_MODE=offline` works)."""
    wandb_notes: Text = ""
    """Notes of the run there."""
    remote_sync: Text | None = None
    """Folder or address that checkpoints and logs are copied to while it trains."""
    remote_sync_frequency: Positive = 300
    """Seconds between two copies."""
    remote_sync_protocol: Literal["s3", "fsspec"] = "fsspec"
    """`s3` calls the program `aws`; `fsspec` takes folders, and `gs://` and the like with their packages (`gcsfs`)."""
    extra_args: list[Text] = []
    """Further arguments of open_clip_train, as on its command line, for options that are not here."""

    RUNNING: ClassVar = (
        "workers", "save_frequency", "delete_previous_checkpoint", "log_every_n_steps", "report_to",
        "wandb_project_name", "wandb_notes", "remote_sync", "remote_sync_frequency", "remote_sync_protocol",
    )  # fmt: skip
    # as pydantic's `exclude` has it: what train_clip gets as flags, and what evaluate_clip alone reads
    NOT_FROZEN: ClassVar = {**dict.fromkeys(RUNNING, True), "zeroshot": True, "data": {"test": True}}

    @model_validator(mode="after")
    def _fits_together(self):
        if self.enabled and (self.model is None) == (self.demo_model is None):
            raise ValueError("give exactly one of `model` and `demo_model`")
        fits_together(self)
        return self

    def evaluation(self) -> ClipEvaluation:
        """What of the section evaluate_clip reads beside the model."""
        return ClipEvaluation(data=self.data, zeroshot=self.zeroshot)
