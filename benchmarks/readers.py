"""The ways of getting a clip's frames that are compared. Each is `reader(path, count, size) -> JPEGs`.

All do the same work: the frames at the centres of `count` equal segments, brought to `size` (height, width) with
antialiasing, as JPEG of quality 90; one thread each, since processes share the cores. Each is written as its
library's documentation would have it, and imports its library when it is first called: this module also runs in the
environments of other tools, where this project's packages are not.
"""

import contextlib
import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

COUNT, SIZE, JPEG_QUALITY = 16, (160, 256), 90

Reader = Callable[[Path, int, tuple[int, int]], list[bytes]]


def ours(path: Path, count: int, size: tuple[int, int], quality: str = "exact") -> list[bytes]:
    """`extract_file`, what the pipeline's decoding processes call."""
    from workflow_scripts.lib.frames.extract import Clip, Settings, extract_file

    settings = Settings(quality=quality, count=count, size=size, fit="stretch", jpeg_quality=JPEG_QUALITY)
    [extracted] = extract_file((Clip(0, str(path)),), settings)
    if extracted.reason:
        raise ValueError(f"{extracted.reason}: {extracted.detail}")
    return extracted.jpegs


def ours_fast(path: Path, count: int, size: tuple[int, int]) -> list[bytes]:
    """`decode_quality: fast`."""
    return ours(path, count, size, "fast")


def ours_keyframes(path: Path, count: int, size: tuple[int, int]) -> list[bytes]:
    """`decode_quality: keyframes`."""
    return ours(path, count, size, "keyframes")


def bare_pyav(path: Path, count: int, size: tuple[int, int]) -> list[bytes]:
    """The bare loop of our decoder: index by demuxing, seek to keyframes, decode to the wanted frames; no checks."""
    import av
    from PIL import Image

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        packets = sorted((p.pts, p.is_keyframe) for p in container.demux(stream) if p.size)
        stamps = [pts for pts, _ in packets]
        keys = [pts for pts, is_key in packets if is_key]
        wanted = [stamps[position] for position in centres(len(stamps), count)]
        jpegs, decoded_to, frames = [], None, iter(())
        for pts in wanted:
            key = max(key for key in keys if key <= pts)
            if decoded_to is None or key > decoded_to:
                container.seek(key, stream=stream)
                frames = container.decode(stream)
            frame = next(frame for frame in frames if frame.pts == pts)
            decoded_to = pts
            picture = frame.reformat(format="rgb24", threads=1).to_ndarray()
            jpegs.append(jpeg(shrunk(Image.fromarray(picture), size)))
    return jpegs


def opencv_read(path: Path, count: int, size: tuple[int, int]) -> list[bytes]:
    """Plain OpenCV reading: `read()` from the beginning, keeping the wanted frames."""
    import cv2

    video = _opencv(path)
    wanted = centres(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), count)
    jpegs = []
    for position in range(wanted[-1] + 1):
        _, frame = video.read()
        if position == wanted[len(jpegs)]:
            jpegs.append(_opencv_shrunk(frame, size))
    return jpegs


def opencv_grab(path: Path, count: int, size: tuple[int, int]) -> list[bytes]:
    """OpenCV reading that converts only the wanted frames: `grab()`, then `retrieve()`."""
    import cv2

    video = _opencv(path)
    wanted = centres(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), count)
    jpegs = []
    for position in range(wanted[-1] + 1):
        video.grab()
        if position == wanted[len(jpegs)]:
            jpegs.append(_opencv_shrunk(video.retrieve()[1], size))
    return jpegs


def opencv_seek(path: Path, count: int, size: tuple[int, int]) -> list[bytes]:
    """OpenCV seeking to each wanted frame by its number."""
    import cv2

    video = _opencv(path)
    jpegs = []
    for position in centres(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), count):
        video.set(cv2.CAP_PROP_POS_FRAMES, position)
        jpegs.append(_opencv_shrunk(video.read()[1], size))
    return jpegs


def decord(path: Path, count: int, size: tuple[int, int]) -> list[bytes]:
    """decord's `get_batch`."""
    from decord import VideoReader, cpu
    from PIL import Image

    video = VideoReader(str(path), ctx=cpu(0), num_threads=1)
    frames = video.get_batch(centres(len(video), count)).asnumpy()
    return [jpeg(shrunk(Image.fromarray(frame), size)) for frame in frames]


def torchcodec(path: Path, count: int, size: tuple[int, int]) -> list[bytes]:
    """torchcodec's `get_frames_at`, exact seeking."""
    from PIL import Image
    from torchcodec.decoders import VideoDecoder

    video = VideoDecoder(str(path), num_ffmpeg_threads=1, dimension_order="NHWC", seek_mode="exact")
    frames = video.get_frames_at(centres(len(video), count)).data.numpy()
    return [jpeg(shrunk(Image.fromarray(frame), size)) for frame in frames]


def video2dataset(path: Path, count: int, size: tuple[int, int]) -> list[bytes]:
    """video2dataset's own worker: resolution, then frame rate, each an ffmpeg run; one mp4 of `count` frames."""
    import cv2
    from video2dataset.data_writer import WebDatasetSampleWriter
    from video2dataset.workers import SubsetWorker

    video = cv2.VideoCapture(str(path))
    rate = count * video.get(cv2.CAP_PROP_FPS) / video.get(cv2.CAP_PROP_FRAME_COUNT)
    config = {
        "subsampling": {
            "ResolutionSubsampler": {"args": {"height": size[0], "resize_mode": ["scale"]}},
            "FrameSubsampler": {"args": {"frame_rate": rate}},
        },
        "storage": {"oom_shard_count": 5, "captions_are_subtitles": False, "number_sample_per_shard": 1},
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        shard, out = Path(folder, "00000.tar"), Path(folder, "out")
        out.mkdir()
        meta = json.dumps({"key": "0", "status": "success", "error_message": None}).encode()
        _write_tar(shard, {"0.mp4": path.read_bytes(), "0.json": meta, "0.txt": b"a caption"})
        worker = SubsetWorker(WebDatasetSampleWriter, str(out), {"video": "mp4"}, config)
        worker.process_shard(str(shard), 0)
        with tarfile.open(out / "00000.tar") as written:
            return [written.extractfile(name).read() for name in written.getnames() if name.endswith(".mp4")]


def clip_video_encode(path: Path, count: int, size: tuple[int, int]) -> list[bytes]:
    """The part of clip-video-encode that reads: video2numpy's FrameReader, every nth frame, square; no CLIP, no JPEG."""
    import cv2
    from clip_video_encode.clip_video_encode import FrameReader

    nth = int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT)) // count
    with contextlib.redirect_stdout(sys.stderr):
        reader = FrameReader([str(path)], None, take_every_nth=nth, resize_size=max(size), memory_size=0.1)
        reader.start_reading()
        return [frame.tobytes() for frames, _ in reader for frame in frames]


READERS: dict[str, Reader] = {
    "ours, exact": ours,
    "bare PyAV loop": bare_pyav,
    "OpenCV read": opencv_read,
    "OpenCV grab": opencv_grab,
    "OpenCV seek": opencv_seek,
    "decord": decord,
    "torchcodec": torchcodec,
    "ours, fast": ours_fast,
    "ours, keyframes": ours_keyframes,
    "video2dataset": video2dataset,
    "clip-video-encode": clip_video_encode,
}


def centres(frames: int, count: int) -> list[int]:
    """Positions of the frames at the centres of `count` equal segments of a video of constant rate."""
    return [int((2 * segment + 1) * frames / (2 * count)) for segment in range(count)]


def _write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def shrunk(image, size: tuple[int, int]):
    """A Pillow image at `size` (height, width)."""
    from PIL import Image

    return image.resize((size[1], size[0]), Image.Resampling.BICUBIC, reducing_gap=3.0)


def jpeg(image) -> bytes:
    """A Pillow image as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _opencv(path: Path):
    import cv2

    cv2.setNumThreads(1)
    return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


def _opencv_shrunk(frame, size: tuple[int, int]) -> bytes:
    import cv2

    small = cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
