"""The image-text score by real, tiny models: what it is is what the model itself says, read in full."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from PIL import Image

from tests.unit.features.tiny_models import model_folder
from workflow_scripts.lib.captioner.image_text import open_scorer
from workflow_scripts.lib.config import freeze_side
from workflow_scripts.lib.features.encoders.encoder import load_encoder
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.keys import video_key

CPU = torch.device("cpu")
CONTEXT = 10
SHORT = "a red square"
SENTENCES = ["a red square and a green square .", "a red square and a red square ."]


def row(video, generated):
    return {
        "video": video, "start_s": 0.0, "end_s": 1.0, "frames": [0, 2], "generated": generated, "reference": SHORT
    }  # fmt: skip


@pytest.mark.parametrize("family", ["siglip", "clip"])
def test_a_score_is_the_model_s_own_cosine(tmp_path, family):
    folder = tmp_path / "model"
    config = model_folder(folder, family).model_copy(update={"dtype": "float32"})
    (tmp_path / "encoder_text.yaml").write_text(freeze_side(config, "text"), encoding="utf-8")
    encoder = load_encoder(config, None, CPU)
    noise = np.random.default_rng(0)
    videos = [
        [Image.fromarray(noise.integers(0, 256, (24, 24, 3), np.uint8)) for _ in range(3)] for _ in range(2)
    ]
    identity = {name: part for name, part in encoder.identity.items() if name != "text"}
    with ShardWriter(tmp_path / "FeatureData/video_shard_000.hdf5", identity) as writer:
        for number, images in enumerate(videos):
            writer.write(
                video_key(number), encoder.encode_frames(encoder.preprocess(images)).embeddings.numpy()
            )

    scorer = open_scorer(tmp_path, tmp_path / "encoder_text.yaml", None, CPU)
    short, long = (
        scorer.scores([row(0, text), row(1, text)], 0, seed=0) for text in (SHORT, " ".join(SENTENCES))
    )
    assert (short["split"], long["split"], long["context"]) == (0, 2, CONTEXT)

    model = hf.AutoModel.from_pretrained(folder).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    processor = hf.AutoImageProcessor.from_pretrained(folder)

    @torch.inference_mode()
    def cosine(text):
        """As the model was trained: SigLIP sees the padding."""
        padding = "max_length" if family == "siglip" else "longest"
        ids = tokenizer([text], padding=padding, max_length=CONTEXT, return_tensors="pt")
        assert ids["input_ids"].shape[1] <= CONTEXT
        said = model.get_text_features(**ids).pooler_output
        seen = [
            model.get_image_features(**processor([images[0], images[2]], return_tensors="pt")).pooler_output
            for images in videos
        ]
        return float(np.mean([F.cosine_similarity(frames, said).mean() for frames in seen]))

    assert short["matched"] == pytest.approx(cosine(SHORT), abs=1e-4)
    assert long["matched"] == pytest.approx(np.mean(list(map(cosine, SENTENCES))), abs=1e-4)
