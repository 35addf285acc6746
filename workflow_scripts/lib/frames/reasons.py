"""Why a video gives no frames: a fixed list, the same in every status table."""

REASONS = {
    "missing": "there is no such file, or it cannot be read",
    "is_directory": "the path is a folder",
    "empty": "the file has no bytes",
    "not_media": "the file is no audio or video of a known format (a picture, a text, a playlist)",
    "no_index": "an mp4 without its index (the moov box): cut off while it was written",
    "no_video_stream": "audio or subtitles only",
    "unsupported_codec": "the decoder does not know the codec",
    "partial": "some of the frames are damaged",
    "truncated": "the file ends before the duration that its header tells, or before the clip begins",
    "corrupt": "no frame can be decoded",
    "count_mismatch": "fewer frames came than the file is said to have",
    "seek_mismatch": "by their times, the frames that came are not those asked for",
    "timeout": "decoding took longer than frames.timeout_s, twice",
    "crash": "the decoding process died, twice",
    "out_of_memory": "decoding needed more than frames.memory_mb, twice",
}


class VideoError(Exception):
    """A video that gives no frames; `reason` is a key of REASONS, `detail` says more."""

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


# Facts about the file alone: another decoder would find the same.
CERTAIN = {"missing", "is_directory", "empty", "not_media", "no_index", "no_video_stream"}
