"""The frames that a sampler keeps of a clip in an open file: pays for the signal that the sampler needs, and no other."""

from importlib import import_module
from types import ModuleType

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.decoders.reading import Reading, Unsure
from workflow_scripts.lib.frames.sampling import (
    Sampler,
    at_keyframes,
    at_rate,
    at_scene_changes,
    by_motion,
    signal_positions,
    uniform,
)

THRESHOLD = 0.35
SIGNAL_FPS = 8.0
FLOW = "dis"
# Height and width of what signals are computed from. Larger pictures order real cuts and real motion no better.
COLOUR_SIZE = (48, 48)
MOTION_SIZE = (64, 64)


def choose(reading: Reading, sampler: Sampler, start: float, end: float, count: int) -> list[int]:
    """Ascending positions of `reading.times`, of frames of the clip `start` to `end` (seconds, `end` may be infinite).

    As many as the functions of `sampling` say; none when the file shows nothing of the clip. Raises Unsure when the
    sampler needs keyframes and the reading does not know them, UserError when it needs OpenCV and that is missing,
    and what reading thumbnails raises.
    """
    clip = (reading.times, reading.end_s, start, end)
    if sampler.kind == "fps":
        return at_rate(*clip, count, sampler.fps)
    if sampler.kind == "keyframes":
        if reading.keyframes is None:
            raise Unsure("this way of reading the file does not tell which frames are keyframes")
        return at_keyframes(*clip, count, reading.keyframes)
    even = uniform(*clip, count)
    if sampler.kind == "uniform" or len(even) < count:
        return even  # with fewer frames than `count` every sampler gives them all
    positions = signal_positions(*clip, sampler.signal_fps or SIGNAL_FPS)
    if sampler.kind == "scene_change":
        distances = load_signals().histogram_distances(reading.thumbnails(positions.tolist(), COLOUR_SIZE))
        threshold = THRESHOLD if sampler.threshold is None else sampler.threshold
        return at_scene_changes(*clip, count, positions, distances, threshold)
    if sampler.kind == "optical_flow":
        moved = load_signals().motion(
            reading.thumbnails(positions.tolist(), MOTION_SIZE), sampler.flow or FLOW
        )
        return by_motion(*clip, count, positions, moved)
    raise ValueError(f"no sampler is called '{sampler.kind}'")


def load_signals() -> ModuleType:
    """The module `signals`, and OpenCV with it, for the samplers that need it. UserError when it is not installed."""
    try:
        return import_module("workflow_scripts.lib.frames.signals")
    except ImportError as error:
        raise UserError(
            f"frames.sampler: scene_change and optical_flow need OpenCV, which cannot be imported ({error}); "
            "install opencv-python-headless, or choose uniform, fps or keyframes"
        ) from error
