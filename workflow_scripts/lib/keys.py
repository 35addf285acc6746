"""Keys of videos and captions, the same in every file of the pipeline."""


def video_key(video: int) -> str:
    """`vid_{i}`: the video's index in the corpus, from 0."""
    return f"vid_{video}"


def caption_key(video: int, caption: int) -> str:
    """`vid_{i}#cap_{j}`: the j-th caption of video i."""
    return f"vid_{video}#cap_{caption}"


def frame_name(video: int, frame: int) -> str:
    """Name of a frame in a WebDataset tar: zero-padded, so that a sorted listing is in corpus order."""
    return f"vid_{video:09d}.f{frame:02d}.jpg"
