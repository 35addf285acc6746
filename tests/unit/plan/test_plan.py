"""Plans by a pilot of one shard: 10 videos, 20 captions, 40 frames, in 60 s of frames and 30 s of features."""

from dataclasses import replace

import pytest

from tests.unit.plan.made_up import FRAME_BYTES, config, planned, table, write, write_pilot
from workflow_scripts.lib.config import freeze
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.space import MEMBER
from workflow_scripts.lib.plan.estimate import PlannedJob, estimate
from workflow_scripts.lib.plan.pilot import read_pilot
from workflow_scripts.lib.plan.plan import MONTH_H, make_plan
from workflow_scripts.lib.plan.scaling import Name
from workflow_scripts.lib.plan.summary import HOUR, Prices
from workflow_scripts.lib.plan.table import as_text

JOBS = {"extract_frames/000": 60, "extract_video_features/resources/pilot/features/clip/000": 30}
HELD = {"extract_frames": {"cores": 2}, "extract_video_features": {"cores": 1, "gpus": 1}}
RETRIEVAL = {"encoder": "clip", "epochs": 2}


@pytest.fixture
def plan_of(tmp_path):
    """A plan of so many shards by the pilot; `jobs` are those that the pilot measured, beside its frames."""

    def made(shards, *rules, jobs=None, pilot=None, videos=None, wanted=None, **more):
        given = {"held": HELD} | (pilot or {})
        folder = write_pilot(tmp_path, JOBS | (jobs or {}), **given)
        wanted = config(shards, videos=videos, **(wanted or {}))
        return make_plan(
            planned(shards, *rules), wanted, tmp_path / "resources/large", [read_pilot(folder)], **more
        )

    return made


def row(plan, rule):
    return next(row for row in plan.rules if row.rule == rule)


def test_hours_of_all_shards(plan_of):
    plan = plan_of(5)
    frames, features = row(plan, "extract_frames"), row(plan, "extract_video_features")
    assert (frames.jobs, frames.amount, frames.longest_h) == (5, 50, 60 / HOUR)
    assert frames.core_h == pytest.approx(5 * 60 * 2 / HOUR) and frames.gpu_h == 0
    assert frames.cpu_h == pytest.approx(5 * 120 / HOUR)  # as the log tells, not the sample of Snakemake
    assert (features.unit, features.amount) == ("stored frames", 200)
    assert features.gpu_h == pytest.approx(5 * 30 / HOUR) == features.core_h
    assert plan.items_exact and plan.items.all_captions == 100


def test_the_last_shard_may_hold_less(plan_of):
    plan = plan_of(3, videos=24)
    assert row(plan, "extract_frames").amount == pytest.approx(24)
    assert row(plan, "extract_frames").core_h == pytest.approx(2.4 * 60 * 2 / HOUR)


def test_training_grows_with_the_epochs_of_the_configuration(plan_of):
    plan = plan_of(
        5,
        "train_retrieval",
        jobs={"train_retrieval": 36},
        pilot={"retrieval": RETRIEVAL, "held": HELD | {"train_retrieval": {}}},
        wanted={"retrieval": RETRIEVAL | {"epochs": 20, "train_shard_size": 30}},
    )
    # 9 training videos, twice, in 36 s; 30 of the 45 there are, 20 times
    assert row(plan, "train_retrieval").core_h == pytest.approx(36 / 18 * 600 / HOUR)
    assert not any("epochs" in warning for warning in plan.warnings)


def test_epochs_that_are_a_presets(plan_of):
    captioner = {"encoder": "clip", "language_model": "any"}
    plan = plan_of(
        1,
        "train_captioner_stage2",
        jobs={"train_captioner_stage2": 36},
        pilot={
            "captioner": captioner | {"stage2": {"epochs": 1}},
            "held": HELD | {"train_captioner_stage2": {}},
        },
        wanted={"captioner": captioner | {"generation": {"num_beams": 4}}},
    )
    assert row(plan, "train_captioner_stage2").core_h == pytest.approx(4 * 36 / HOUR)
    assert "captioner.generation.num_beams was 1 in the pilot pilot and is 4 here" in plan.warnings


def test_an_index_of_other_splits(tmp_path, plan_of):
    write(tmp_path / "results/pilot/retrieval/index/index.json", '{"splits": ["test"]}')
    plan = plan_of(
        1,
        "build_index",
        jobs={"build_index": 36},
        pilot={"retrieval": RETRIEVAL | {"index": ["test"]}, "held": HELD | {"build_index": {}}},
        wanted={"retrieval": RETRIEVAL | {"index": ["train", "test"]}},
    )
    assert row(plan, "build_index").core_h == pytest.approx(
        10 * 36 / HOUR
    )  # one video was indexed, and ten are to be


def test_what_was_not_measured_is_unknown_and_never_zero(plan_of):
    plan = plan_of(2, "train_retrieval", "collect_metrics", "new_rule", pilot={"retrieval": RETRIEVAL, "held": HELD},
                   wanted={"retrieval": RETRIEVAL}, cores=4, gpus=1)  # fmt: skip
    missing = row(plan, "train_retrieval")
    assert (missing.cpu_h, missing.core_h, missing.gpu_h, missing.longest_h) == (None, None, None, None)
    assert plan.unknown == ["train_retrieval", "collect_metrics", "new_rule"]
    text = as_text(plan)
    assert "? train_retrieval: not measured in the pilot" in text and "at least 2 min" in text
    assert "? new_rule: what it grows with is not known" in text


def test_a_pilot_without_such_items_tells_nothing_of_them(tmp_path):
    pilot = read_pilot(write_pilot(tmp_path, {"generate_captions/val": 5}))
    val = PlannedJob(Name("generate_captions", "val"), (), ("captions",), True)
    jobs, costs = estimate([val], config(1), pilot.items, [pilot])
    assert jobs[0].wall_s is None and costs[val.name].unknown == "the pilot has no captions of the split"


def test_wall_time_on_given_machines(plan_of):
    one_gpu = plan_of(5, cores=20, gpus=1).wall
    assert one_gpu.hours == pytest.approx((60 + 5 * 30) / HOUR)  # features wait for the GPU
    assert one_gpu.chain_h == pytest.approx(90 / HOUR)
    assert one_gpu.cores_busy == pytest.approx((5 * 60 * 2 + 5 * 30) / (20 * 210))
    assert plan_of(5, cores=20, gpus=5).wall.hours == pytest.approx(90 / HOUR)
    assert plan_of(5).wall is None
    with pytest.raises(UserError, match="extract_video_features holds 1 core and 1 GPU"):
        plan_of(5, cores=20)


def test_cost_by_prices(plan_of):
    plan = plan_of(5, cores=20, gpus=5, prices=Prices(2.0, 30.0, 4.0))
    assert plan.cost["cores"] == pytest.approx((5 * 120 + 5 * 30) / HOUR * 2)
    assert plan.cost["gpus"] == pytest.approx(5 * 30 / HOUR * 30)
    assert plan.cost["disk"] == pytest.approx(plan.disk_bytes / 1e9 * plan.wall.hours / MONTH_H * 4)
    assert plan.cost["total"] == pytest.approx(sum(plan.cost.values()) / 2)
    assert plan_of(5, prices=Prices(gpu_hour=30.0)).cost.keys() == {"gpus", "total"}
    with pytest.raises(UserError, match=r"--price-gb-month: .* give --cores"):
        plan_of(5, prices=Prices(gb_month=4.0))


def test_frames_that_stay_and_frames_that_go(plan_of):
    a_shard = 10 * 4 * (FRAME_BYTES + MEMBER)
    assert plan_of(5).frames.bytes == 5 * a_shard
    goes = {"frames": {"keep": False}}
    assert plan_of(5, wanted=goes, cores=20, gpus=5).frames.bytes == 5 * a_shard  # all at once
    # one after the other: while features of a shard are made, frames of the next one are
    assert plan_of(5, wanted=goes, cores=3, gpus=1).frames.bytes == pytest.approx(2 * a_shard)
    assert "at most" in plan_of(5, wanted=goes).frames.what
    # a step that waits for them and was not measured tells nothing of them; one that they wait for does
    measured = {"wanted": goes, "cores": 3, "gpus": 1}
    assert plan_of(5, "collect_metrics", **measured).frames.bytes == pytest.approx(2 * a_shard)


def test_jobs_that_use_frames_go_before_those_that_make_more(tmp_path):
    """As the rules have it where frames go; the other way round, all of them would be there at once."""
    pilot = read_pilot(write_pilot(tmp_path, JOBS, held=HELD))
    jobs = planned(6)
    first = [replace(job, priority=job.name.rule == "extract_video_features") for job in jobs]
    wanted = config(6, frames={"keep": False})
    peaks = [
        make_plan(some, wanted, tmp_path / "resources/large", [pilot], cores=2, gpus=1).frames.bytes
        for some in (jobs, first)
    ]
    assert peaks[1] == pytest.approx(peaks[0] / 6)


def test_disk_by_what_the_pilot_left(tmp_path, plan_of):
    root = tmp_path / "resources/pilot/features/clip"
    write(root / "FeatureData/video_shard_000.hdf5", "x" * 700)
    write(root / "TextData/text_shard_000.hdf5", "x" * 30)
    write(tmp_path / "results/pilot/retrieval/checkpoints/last.pt", "x" * 99)
    plan_of(1)  # writes the pilot's tables
    ingested = (tmp_path / "resources/pilot/ingest/videos.parquet").stat().st_size
    sizes = {entry.what: entry.bytes for entry in plan_of(3, videos=25).disk}
    assert sizes["annotations"] == pytest.approx(2.5 * ingested)
    assert sizes["features of frames, clip"] == 1750 and sizes["features of captions, clip"] == 75
    assert sizes["models, checkpoints, metrics"] == 99
    for file in root.rglob("*.hdf5"):
        file.unlink()
    plan = plan_of(3)
    assert {entry.what: entry.bytes for entry in plan.disk}["features of frames, clip"] is None
    assert "? features of frames, clip: the pilot has none" in as_text(plan)


def test_items_are_counted_where_the_annotations_are_read(tmp_path, plan_of):
    tables = tmp_path / "resources/large/ingest"
    table(tables / "videos.parquet", index=[*range(40)], split=["train"] * 30 + ["val"] * 10)
    table(tables / "captions.parquet", video=[*range(40)] * 3, split=(["train"] * 30 + ["val"] * 10) * 3)
    items = plan_of(3).items
    assert items.videos == {"train": 30, "val": 0, "test": 0}  # the fourth shard is not asked for
    assert items.all_captions == 90 and items.frames == 120 and items.annotated == 40


def test_other_settings_and_failed_jobs_are_said(plan_of):
    events = [
        {"event": "start", "id": 1, "rule": "extract_frames"},
        {"event": "fail", "id": 1},
    ]
    plan = plan_of(
        2,
        pilot={"held": {}, "events": events, "retrieval": RETRIEVAL | {"batch_size": 7}},
        wanted={"retrieval": RETRIEVAL | {"epochs": 9}},
    )
    told = "\n".join(plan.warnings)
    assert "retrieval.batch_size was 7 in the pilot pilot and is 128 here" in told
    assert "extract_frames failed 1x in the pilot pilot" in told
    assert "extract_frames: the pilot's last call of snakemake did not plan it" in told


@pytest.mark.parametrize(
    ("rule", "log", "share"),
    [
        ("extract_frames/000", "6 of 10 videos are done already\n10 of 10 videos\n", 0.4),
        ("extract_frames/000", "1 of 10 videos\n10 of 10 videos\n", 1),
    ],
)
def test_a_job_that_was_taken_up_is_measured_by_the_part_that_it_did(tmp_path, rule, log, share):
    folder = write_pilot(tmp_path, {rule: 30.0}, retrieval=RETRIEVAL)
    whole = read_pilot(folder).jobs[0].amount
    write(tmp_path / f"logs/pilot/{rule}.log", log)
    job = read_pilot(folder).jobs[0]
    assert job.amount == pytest.approx(share * whole) and job.wall_s == 30


def test_a_job_that_found_all_done_tells_nothing(tmp_path):
    folder = write_pilot(tmp_path, {"extract_frames/000": 3.0})
    write(tmp_path / "logs/pilot/extract_frames/000.log", "10 of 10 videos are done already\n")
    assert read_pilot(folder).jobs == []


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ("train_retrieval", "resuming behind epoch 3 and 20 steps (c/last.pt)"),
        ("train_captioner_stage1", "continuing from c/checkpoint-500"),
        ("train_clip", "going on from the checkpoint of epoch 2 in c"),
    ],
)
def test_a_training_that_went_on_from_a_checkpoint_does_not_count(tmp_path, rule, line):
    captioner = {"encoder": "clip", "language_model": "any"}
    folder = write_pilot(
        tmp_path, {rule: 30.0}, retrieval=RETRIEVAL, captioner=captioner, clip={"model": "ViT-B-32"}
    )
    assert [job.name.rule for job in read_pilot(folder).jobs] == [rule]
    write(tmp_path / f"logs/pilot/{rule}.log", f"a first line\n{line}\nCPU time: 3.00 s\n")
    pilot = read_pilot(folder)
    assert pilot.jobs == []
    told = make_plan(planned(1), config(1), tmp_path / "resources/large", [pilot]).warnings
    assert any(line.startswith(f"{rule} went on from a checkpoint in the pilot pilot") for line in told)


def test_what_former_settings_measured_is_of_nothing(tmp_path):
    captioner = {"encoder": "clip", "language_model": "Qwen/Qwen3-0.6B"}
    folder = write_pilot(tmp_path, {"make_demo_language_model": 30.0}, captioner=captioner)
    assert [job.amount for job in read_pilot(folder).jobs] == [0]


@pytest.mark.parametrize(("there", "here"), [("ray", "ray"), ("ray", "processes"), ("processes", "ray")])
def test_what_ray_decodes_is_not_known(plan_of, there, here):
    frames = {"executor": here}
    told = plan_of(2, pilot={"executor": there}, wanted={"frames": frames}).warnings
    assert any("`frames.executor: ray`" in line for line in told)
    assert not any("frames.executor" in line for line in plan_of(2).warnings)


def test_another_encoder_is_said(tmp_path, plan_of):
    was = config(1).features.encoders[0].model_copy(update={"model": "ViT-L-14"})
    write(tmp_path / "resources/pilot/features/clip/encoder.yaml", freeze(was))
    warnings = plan_of(2).warnings
    assert "features.encoders.clip.model was 'ViT-L-14' in the pilot pilot and is 'ViT-B-32' here" in warnings


def test_pilots_that_held_other_cores_are_said(tmp_path):
    few = write_pilot(tmp_path, JOBS, run="few", held=HELD)
    many = write_pilot(tmp_path, JOBS, run="many", held=HELD | {"extract_frames": {"cores": 8}})
    pilots = [read_pilot(folder) for folder in (few, many)]
    plan = make_plan(planned(2), config(2), tmp_path / "resources/large", pilots)
    assert [told for told in plan.warnings if "other cores" in told] == [
        "extract_frames held other cores or GPUs in one pilot than in another; its times are taken together, and count "
        "for 8 cores and 0 GPUs a job"
    ]


def test_two_pilots_tell_the_start_of_jobs(tmp_path):
    small = write_pilot(tmp_path, {"collect_metrics": 25}, shards=1, run="small", held=HELD)
    large = write_pilot(tmp_path, {"collect_metrics": 45}, shards=2, run="larger", held=HELD)
    pilots = [read_pilot(folder) for folder in (small, large)]
    plan = make_plan(planned(10, "collect_metrics"), config(10), tmp_path / "resources/large", pilots)
    metrics = row(plan, "collect_metrics")
    assert (metrics.fixed_s, metrics.per_item_s) == (pytest.approx(5), pytest.approx(1))  # 20 and 40 captions
    assert metrics.core_h == pytest.approx(205 / HOUR) and not any("one pilot" in w for w in plan.warnings)


def test_a_folder_that_is_no_pilot_is_said(tmp_path):
    with pytest.raises(UserError, match="nothing: the folder of a run's benchmark files is expected"):
        read_pilot(tmp_path / "nothing")
    folder = write_pilot(tmp_path, JOBS)
    (tmp_path / "results/pilot/run.jsonl").write_text('{"event": "run"}\n')
    with pytest.raises(UserError, match=r"run\.jsonl: cannot be read as the diary of the pilot run"):
        read_pilot(folder)
