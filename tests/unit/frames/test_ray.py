"""Frames made on a Ray cluster of two nodes are those that processes make. Slow: a cluster takes its time to start."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.frames.test_stage import CONFIG, LIMITS, corpus, files_in, is_running, statuses, straight  # noqa: F401
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.pool import Failure, Limits
from workflow_scripts.lib.frames.stage import Executor, extract_shard

pytestmark = pytest.mark.slow
HOSTILE = "tests.unit.frames.hostile"


@pytest.fixture(scope="module")
def address():
    """Of a cluster with two nodes of one CPU each, as different machines would be."""
    import ray._private.services
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    with pytest.MonkeyPatch.context() as patch:  # Ray itself gives a node 30 s to come up
        patch.setenv("RAY_gcs_server_port_wait_time_s", "200")
        get_node = ray._private.services.get_node
        patch.setattr(ray._private.services, "get_node", lambda *of: patiently(lambda: get_node(*of), 200))
        cluster = Cluster(initialize_head=True, head_node_args=node)
        cluster.add_node(**node)
    yield cluster.address
    cluster.shutdown()


def patiently(ask, seconds):
    """Its answer, which may take a while to be there."""
    end = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except RuntimeError:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def run(address, function, tasks, limits=LIMITS):
    with Executor(ray_address=address, function=f"{HOSTILE}:{function}").pool(limits) as pool:
        answers = [(item, answer) for item, answer, _ in pool.run(tasks)]
    assert len(dict(answers)) == len(answers)
    return dict(answers)


def test_the_same_bytes_as_by_processes_and_all_nodes_work(address, corpus, straight, tmp_path):  # noqa: F811
    videos = shutil.copytree(corpus, tmp_path / "말뭉치")
    executor = Executor(ray_address=address, function=f"{HOSTILE}:slow_with_node")
    extract_shard(CONFIG, LIMITS, files_in(videos, tmp_path), executor)
    assert (tmp_path / "frames_000.tar").read_bytes() == (straight / "frames_000.tar").read_bytes()
    assert statuses(tmp_path) == statuses(straight)
    assert len({file.name.split(".")[-2] for file in videos.glob("*.node")}) == 2


def test_what_misbehaves_fails_and_the_rest_goes_on(address, tmp_path):
    what = [("fine 1", "crash", "hang", "eat"), ("crash once",), *((f"fine {n}",) for n in range(2, 8))]
    tasks = [(items, str(tmp_path)) for items in what]
    answers = run(address, "misbehave", tasks, Limits(5, 1024))
    assert answers.pop("crash") == Failure("crash", "ended by SIGSEGV")
    assert answers.pop("hang") == Failure("timeout", "no answer after 5 s")
    assert answers.pop("eat") == Failure("out_of_memory", "more than 1024 MiB")
    assert answers == {w: w for w in ("crash once", *(f"fine {n}" for n in range(1, 8)))}


def test_a_task_whose_machine_is_lost_is_done_once_more(address, tmp_path):
    tasks = [((w,), str(tmp_path)) for w in ("kill parent", "fine 1", "fine 2")]
    answers = run(address, "misbehave", tasks)
    assert answers.pop("kill parent").reason == "crash"
    assert answers == {"fine 1": "fine 1", "fine 2": "fine 2"}
    assert len(list(tmp_path.glob("kill parent.*"))) == 2


def test_what_no_video_is_to_blame_for_ends_all(address):
    with pytest.raises(UserError, match="on a node of the Ray cluster: no decoder here"):
        run(address, "refuse", [((1,),)])
    with pytest.raises(UserError, match="on a node of the Ray cluster: a decoding process did not start"):
        run(address, "no_such_function", [((1,),)])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left(address, tmp_path, how):
    code = (
        "import sys; from tests.unit.frames.test_ray import run;"
        "run(sys.argv[1], 'misbehave', [(('hang',), sys.argv[2])] * 2)"
    )
    command = [sys.executable, "-c", code, address, str(tmp_path)]
    deadline = time.monotonic() + 240
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL) as process:
        while len(list(tmp_path.iterdir())) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, how)
    pids = [int(text) for file in tmp_path.iterdir() if (text := file.read_text())]
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_cluster_is_told():
    with pytest.raises(UserError, match=r"no Ray cluster at '127\.0\.0\.1:1'.*frames\.executor"):
        run("127.0.0.1:1", "double", [((1,),)])
