"""A run as the stages leave it, made of a few grey frames, so that the report has something to draw."""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.files import read_json, write_json
from workflow_scripts.lib.frames.extract import Settings
from workflow_scripts.lib.frames.shard import STATUS, write_status, write_tar
from workflow_scripts.lib.keys import caption_key, video_key
from workflow_scripts.lib.report.media import FrameSource, Media
from workflow_scripts.lib.report.metrics import collect

RANKS = pa.schema(
    [
        ("split", pa.string()),
        ("key", pa.string()),
        ("video", pa.int64()),
        ("language", pa.string()),
        ("rank", pa.int32()),
        ("zero_shot_rank", pa.int32()),
        ("max_frame_rank", pa.int32()),
        ("moment_ratio", pa.float64()),
        ("top_videos", pa.list_(pa.int64())),
        ("top_scores", pa.list_(pa.float32())),
    ]
)
TRAINING_LOG = """\
step,epoch,loss,clip_nce,clip_triplet,frame_nce,frame_triplet,query_diverse,lr,grad_norm,videos_per_s,data_wait,padding,skipped
1,1,3.0,8.0,0.1,9.0,0.2,5.0,1e-3,2.0,100,0.5,0.04,0
2,2,2.0,6.0,0.05,7.0,0.1,4.0,5e-4,1.0,410,0.01,0.06,0
3,3,2.0,6.0,0.05,7.0,0.1,4.0,0,1.0,420,0.03,0.08,0
"""
HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time"


@dataclass
class FakeRun:
    """Writes itself below `root`. Every fourth video is in the test split; video 1 gives no frames.

    Curves only where asked for: drawing them is most of the time that a page takes. `imported`: the corpus is of
    imported features, and has no frames.
    """

    root: Path
    videos: int = 12
    shards: int = 2
    texts: dict[str, str] = field(
        default_factory=lambda: {"en": "a red circle moves left", "ko": "빨간 원이 왼쪽으로 움직인다"}
    )
    moment: tuple[float | None, float | None] = (1.0, 2.5)
    stages: tuple[str, ...] = ("clip", "retrieval", "captioner")
    test_every: int = 4
    frames: int = 8
    size: tuple[int, int] = (32, 24)
    curves: bool = False
    imported: bool = False
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.corpus, self.frame_folder = self.root / "corpus", self.root / "frames"
        self.results, self.benchmarks = self.root / "results" / "fake", self.root / "benchmarks"
        self.problems = self.root / "problems.jsonl"
        self.metas: list[Path] = []  # of features, for those tests that write some
        self.test = [i for i in range(self.videos) if self.split(i) == "test" and i != 1]
        self._write_tables()
        self.problems.write_text("", encoding="utf-8")
        for stage in self.stages:
            getattr(self, f"_write_{stage}")()

    def split(self, video: int) -> str:
        return "test" if self.test_every and video % self.test_every == 0 else "train"

    def collect(self) -> dict:
        """metrics.json, written and returned."""
        metrics = collect(
            stages={stage: self.results / stage / "metrics.json" for stage in self.stages},
            corpus=self.corpus,
            frames=None if self.imported else self.frame_folder,
            problems=self.problems,
            features=self.metas,
            benchmarks=self.benchmarks,
            shards=self.shards,
            seed=3,
        )
        write_json(self.results / "metrics.json", {"run": "fake", **metrics})
        return read_json(self.results / "metrics.json")

    def media(self) -> Media:
        frames = FrameSource(self.frame_folder, self.root / "videos", Settings())
        return Media(self.corpus, self.shards, None if self.imported else frames)

    def benchmark(self, name: str, *rows: str) -> None:
        file = self.benchmarks / f"{name}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")

    def _write_tables(self) -> None:
        for folder in (self.corpus, self.frame_folder):
            folder.mkdir(parents=True)
        a_shard = -(-self.videos // self.shards)
        for shard in range(self.shards):
            some = range(shard * a_shard, min((shard + 1) * a_shard, self.videos))
            self._write_parquet("videos", shard, [self._video(i) for i in some], VIDEOS)
            self._write_parquet("captions", shard, [row for i in some for row in self._captions(i)], CAPTIONS)
            if self.imported:
                continue
            write_status(self.frame_folder / f"status_{shard:03d}.parquet", [self._status(i) for i in some])
            good = (i for i in some if i != 1)
            write_tar(self.frame_folder / f"frames_{shard:03d}.tar", ((i, self._jpegs(i)) for i in good))

    def _write_parquet(self, table: str, shard: int, rows: list[dict], schema: pa.Schema) -> None:
        pq.write_table(pa.Table.from_pylist(rows, schema), self.corpus / f"{table}_{shard:03d}.parquet")

    def _video(self, i: int) -> dict:
        path = f"영상/video <{i}>.mp4"
        return {
            "index": i,
            "id": str(i),
            "path": path,
            "source": path,
            "start_s": None,
            "end_s": None,
            "split": self.split(i),
        }

    def _captions(self, i: int) -> list[dict]:
        return [
            {
                "video": i,
                "caption": j,
                "key": caption_key(i, j),
                "split": self.split(i),
                "language": language,
                "text": text,
                "start_s": self.moment[0],
                "end_s": self.moment[1],
                "attributes": list(self.attributes.get(language, {}).items()),
            }
            for j, (language, text) in enumerate(self.texts.items())
        ]

    def _status(self, i: int) -> dict:
        failed = {
            "outcome": "failed",
            "reason": "truncated",
            "detail": "ends at <1 s>",
            "frames": 0,
            "timestamps": [],
        }
        good = {
            "outcome": "ok",
            "decoder": "pyav",
            "frames": self.frames,
            "timestamps": [4.0 * (k + 0.5) / self.frames for k in range(self.frames)],
            "duration_s": 4.0,
        }
        empty = dict.fromkeys(STATUS.names)
        row = {"index": i, "key": video_key(i), "split": self.split(i), "bytes": 0, "seconds": 0.5}
        return {**empty, **row, **(failed if i == 1 else good)}

    def _jpegs(self, i: int) -> list[bytes]:
        found = []
        for k in range(self.frames):
            data = io.BytesIO()
            Image.new("RGB", self.size, (20 * (i % 12), 30 * (k % 8), 120)).save(data, "JPEG")
            found.append(data.getvalue())
        return found

    def _write_clip(self) -> None:
        about = {"pairs": 6, "unique_texts": 3, "unique_images": 3, "chance_r1": 33.3, "i2t_chance_r1": 33.4}
        before = {"t2i_r1": 2.0, "t2i_r5": 5.0, "t2i_r10": 7.0, "i2t_r1": 3.0, "i2t_r5": 6.0, "i2t_r10": 8.0}
        after = {name: 10 * value for name, value in before.items()}
        classes = {"pictures": 60, "classes": 6, "chance_top1": 16.7}
        scores = {"top1": 20.0, "top5": 85.0, "mean_class": 19.0}
        self._metrics(
            "clip",
            {
                "before": dict.fromkeys(self.texts, before | about) if self.test else {},
                "test": dict.fromkeys(self.texts, after | about) if self.test else {},
                "zero_shot": {"before": scores | classes, "after": scores | classes | {"top1": 71.0}},
            },
        )
        self._curve(
            "clip/curve.csv",
            "step,epoch,train_loss,lr,logit_scale,val_loss\n1,0.5,3.0,1e-3,14.3,\n2,1,2.0,5e-4,14.5,2.5\n",
        )

    def _write_retrieval(self) -> None:
        rows = [
            {
                "split": "test",
                "key": caption_key(video, j),
                "video": video,
                "language": language,
                "rank": (rank := (j + place) % len(self.test) + 1),
                "zero_shot_rank": len(self.test),
                "max_frame_rank": len(self.test),
                "moment_ratio": self._moment_ratio(),
                "top_videos": self._order(video, rank)[:5],
                "top_scores": [0.9, 0.8, 0.7, 0.6, 0.5][: len(self.test)],
            }
            for place, video in enumerate(self.test)
            for j, language in enumerate(self.texts)
        ]
        self._metrics("retrieval", self._retrieval_metrics(len(rows)))
        pq.write_table(pa.Table.from_pylist(rows, RANKS), self.results / "retrieval" / "ranks.parquet")
        self._curve(
            "retrieval/curve.csv", "step,epoch,train_loss,val_sumr,val_r1,lr\n1,1,3.0,,,1e-3\n2,2,2.0,9,1,0\n"
        )
        self._curve("retrieval/log/training.csv", TRAINING_LOG)

    def _retrieval_metrics(self, queries: int) -> dict:
        if not queries:
            return {"val": None, "test": None, "baselines": None}
        ours, mean_pooled, max_frame = (self._retrieved(queries, r1) for r1 in (60.0, 20.0, 25.0))
        return {
            "val": None,
            "test": ours | {"captions_cut": 2},
            "baselines": {"mean_pooled": mean_pooled, "max_frame": max_frame},
        }

    def _retrieved(self, queries: int, r1: float) -> dict:
        plain = {"r1": r1, "r5": 90.0, "r10": 95.0, "r100": 100.0, "sumr": r1 + 285, "median_rank": 1.0}
        plain |= {"map": r1 + 10}
        gallery = {"queries": queries, "videos": len(self.test), "chance_r1": 100 / len(self.test)}
        back = {"queries": len(self.test), "captions": queries, "chance_r1": gallery["chance_r1"]}
        ratio = self._moment_ratio()
        low = 0 if ratio is None else int(ratio * 5) / 5
        bucket = {"from": low, "to": low + 0.2, "queries": queries, **plain}
        confidence = {name: [0.9 * value, 1.05 * value] for name, value in plain.items()}
        return {
            **plain,
            **gallery,
            "confidence": confidence | {"r100": [100.0, 100.0]},
            "by_language": dict.fromkeys(self.texts, plain | gallery),
            "video_to_text": plain | back,
            "moment_ratio": None if ratio is None else [bucket],
        }

    def _moment_ratio(self) -> float | None:
        """Of videos of 4 s."""
        start, end = self.moment
        return None if start is None or end is None else min(end, 4.0) / 4 - min(start, 4.0) / 4

    def _order(self, right: int, rank: int) -> list[int]:
        others = [video for video in self.test if video != right]
        return [*others[: rank - 1], right, *others[rank - 1 :]]

    def _write_captioner(self) -> None:
        rows = [
            {
                "key": caption["key"],
                "video": video,
                "language": caption["language"],
                "start_s": caption["start_s"],
                "end_s": caption["end_s"],
                "reference": caption["text"],
                "frames": [2, 3, 4],
                "generated": caption["text"] if place % 2 else caption["text"].replace("red", "blue"),
                "cut": False,
                "attributes": dict(caption["attributes"]),
            }
            for place, video in enumerate(self.test)
            for caption in self._captions(video)
        ]
        test = {language: self._captioned(language) for language in self.texts} if rows else {}
        training = {
            "captions": {"train": 16},
            "captions_cut": {"train": 2},
            "provenance": {"device": "H100", "seed": 3, "commit": "c" * 40, "config_sha256": "d" * 64},
        }
        found = {"test": test, "diversity_warning": False, "diversity_warning_languages": []}
        self._metrics("captioner", found | {"training": training})
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (self.results / "captioner" / "captions_test.jsonl").write_text(lines, encoding="utf-8")
        for stage in (1, 2):
            self._curve(
                f"captioner/stage{stage}_curve.csv",
                "step,epoch,train_loss,val_loss,lr,grad_norm,val_cider,val_chrf,val_diversity\n"
                "1,1,2.0,,1e-3,2,,,\n2,2,1.0,1.5,5e-4,1,210.5,60,90\n",
            )

    def _captioned(self, language: str) -> dict:
        """As evaluate_captions writes them."""
        scores = {
            "exact_match": 50.0,
            "cider": 310.0,
            "chrf": 80.0,
            "bleu": 70.0,
            "bleu_3": 72.0,
            "bleu_2": 74.0,
        }
        scores |= {"bleu_1": 78.0, "meteor_without_synonyms": 66.0, "rouge_l": 77.0}
        attributes = self.attributes.get(language, {})
        confidence = {name: [0.9 * value, 1.1 * value] for name, value in scores.items()}
        if attributes:
            scores |= {
                "attribute_accuracy": 75.0,
                "attribute_accuracy_by_kind": dict.fromkeys(attributes, 75.0),
            }
            names = ["attribute_accuracy", *(f"attribute_accuracy.{kind}" for kind in attributes)]
            confidence |= {name: [60.0, 90.0] for name in names}
        variety = {"diversity": 50.0, "distinct_1": 40.0, "distinct_2": 45.0, "near_duplicates": 60.0}
        variety |= {"most_frequent_share": 12.5, "mean_length": 21.0}
        cosines = {"matched": 0.31, "references": 0.33, "shuffled": 0.21, "difference": 0.1}
        fits = {"confidence": {name: [value - 0.02, value + 0.02] for name, value in cosines.items()}}
        fits["confidence"]["beats_shuffled"] = [88.0, 96.0]
        fits |= {"split": 1, "references_split": 3, "context": 64, "encoder": "<siglip>"}
        return {
            "captions": len(self.test),
            "moments": len(self.test),
            **scores,
            "confidence": confidence,
            "tokens": "morphemes" if language == "ko" else "words",
            "bleu_tokenizer": "char" if language == "ko" else "13a",
            **variety,
            **{f"reference_{name}": 1.1 * value for name, value in variety.items()},
            "most_frequent": "x",
            "empty": 0,
            "cut": 1,
            "image_text": {**cosines, "beats_shuffled": 92.0, **fits},
        }

    def _metrics(self, stage: str, found: dict) -> None:
        provenance = {"commit": "a" * 40, "config_sha256": "b" * 64, "seed": 3, "device": f"cpu of {stage}"}
        write_json(self.results / stage / "metrics.json", {**found, "provenance": provenance})

    def _curve(self, name: str, text: str) -> None:
        if self.curves:
            file = self.results / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
