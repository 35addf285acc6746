"""A stage's captioner as a plain Hugging Face folder, that is loaded and used with nothing but transformers."""

import copy
import os
from pathlib import Path
from string import Template
from typing import Any

from transformers import GenerationConfig

from workflow_scripts.lib.captioner.model import CaptionerForConditionalGeneration, CaptionerModelConfig
from workflow_scripts.lib.captioner.sources import SOURCES, Sources, read_sources
from workflow_scripts.lib.captioner.trained import Trained
from workflow_scripts.lib.files import whole_folder, write_json

ABOUT, LANGUAGE_MODEL, README = "captioner.json", "language_model", "README.md"


def merge(trained: Trained) -> CaptionerForConditionalGeneration:
    """The captioner with the LoRA weights added to those of its language model; `trained` is used up.

    A language model in 4 bits has to be opened dequantised: the adapters were trained on top of its rounded weights
    (Dettmers et al., "QLoRA", NeurIPS 2023), and added to the original ones they would correct errors that are not there.
    """
    captioner = trained.model.merge_and_unload(safe_merge=True)
    # that of the training may say that there are 4 bits
    captioner.config.text_config = copy.deepcopy(captioner.language_model.config)
    captioner.config.text_config._name_or_path = ""  # a folder of this machine
    return captioner


def write_merged(trained: Trained, stage: Path, output: Path) -> None:
    """Merge, and write the folder `output`, whole or not at all; `stage` is the folder that `trained` was opened from.

    In it: captioner, tokenizer and the code of the model; `language_model/`, the merged language model alone;
    captioner.json, what it takes to ask the captioner; sources.json, how its visual tokens are made; a README.
    UserError, before anything is done, when `output` holds something else.
    """
    with whole_folder(output, made_of=ABOUT) as made:
        captioner = merge(trained)
        tokenizer = trained.tokenizer
        # transformers then copies the two files of the model, and names them in config.json
        CaptionerModelConfig.register_for_auto_class()
        CaptionerForConditionalGeneration.register_for_auto_class("AutoModelForCausalLM")
        captioner.generation_config = _generation(trained)
        captioner.save_pretrained(made)
        captioner.language_model.save_pretrained(made / LANGUAGE_MODEL)
        for folder in (made, made / LANGUAGE_MODEL):
            tokenizer.save_pretrained(folder)
        about = _about(trained, captioner)
        write_json(made / ABOUT, about)
        sources = _moved(read_sources(stage), stage, output)
        write_json(made / SOURCES, sources.model_dump(mode="json"))
        (made / README).write_text(_readme(about), encoding="utf-8")


def _generation(trained: Trained) -> GenerationConfig:
    """How generate_captions decodes, as transformers' own file says it."""
    options = trained.generation
    values = options.model_dump(exclude={"batch_size", "max_new_tokens"})
    if not options.do_sample:
        for name in ("temperature", "top_p", "top_k"):
            del values[name]
    if options.num_beams == 1:
        del values["length_penalty"]
    return GenerationConfig(
        **values,
        max_new_tokens=trained.new_tokens(),
        eos_token_id=trained.tokenizer.eos_token_id,
        pad_token_id=trained.tokenizer.pad_token_id,
    )


def _about(trained: Trained, captioner: CaptionerForConditionalGeneration) -> dict[str, Any]:
    config, base = captioner.config, Path(trained.training["language_model"])
    return {
        "prompts": {name: vars(prompt) for name, prompt in trained.prompts.items()},
        "frames": config.max_frames,
        "tokens_per_frame": config.tokens_per_frame,
        "visual_width": config.visual_width,
        "language_model": base.name if base.is_dir() else str(base),  # a hub id
        "quantization": trained.settings.quantization,
        "dtype": str(captioner.language_model.dtype).removeprefix("torch."),
    }


def _moved(sources: Sources, stage: Path, output: Path) -> Sources:
    """With the folder of train_clip as it is reached from `output`."""
    if sources.trained_clip is None:
        return sources
    clip = Path(stage, sources.trained_clip).resolve()
    return sources.model_copy(update={"trained_clip": os.path.relpath(clip, Path(output).resolve())})


def _readme(about: dict[str, Any]) -> str:
    """How to feed the captioner; the code in it runs as it is."""
    values = {**about, "language": next(iter(about["prompts"])), "languages": ", ".join(about["prompts"])}
    values["weights"] = {
        "none": "its LoRA adapters are merged into it.",
        "nf4": "its LoRA adapters are merged into the weights that it computed with in training, 4-bit ones (NF4) that were"
        " dequantised, and not into the original ones: the adapters were trained on top of the rounded weights.",
    }[about["quantization"]]
    return TEXT.substitute(values)


TEXT = Template("""\
# A video captioner

Visual tokens of up to $frames frames -> projector -> language model ($language_model), in $dtype; $weights
It writes $languages. Written by Vidloom's `merge_adapter`.

```python
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = Path(".")
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
tokenizer = AutoTokenizer.from_pretrained(folder / "language_model")
prompt = json.loads((folder / "captioner.json").read_text(encoding="utf-8"))["prompts"]["$language"]

visual = torch.load("visual.pt")  # [F, $tokens_per_frame, $visual_width] of one moment, F from 1 to $frames
places = [model.config.video_token_id] * (len(visual) * model.config.places_per_frame)
ids = torch.tensor([prompt["before"] + places + prompt["after"]])
caption = model.generate(
    input_ids=ids, attention_mask=torch.ones_like(ids), visual=visual[None], frames=torch.tensor([len(visual)])
)
print(tokenizer.decode(caption[0], skip_special_tokens=True))
```

`trust_remote_code` runs `model.py` and `projector.py` of this folder: look into them.

Several captions at a time want the rows padded on the left, and an attention mask. `repetition_penalty` then leaves out
as many of a caption's first tokens as its row is padded by: give it as a logits processor.

- `captioner.json`: the token ids before and after the visual tokens, by language.
- `sources.json`: how the visual tokens were made: by what frames are chosen and stored (`frames`), and the vision encoder
  (`encoder`), whose patch tokens are pooled to its `token_grid` and rounded to its `dtype`. In a checkout of Vidloom:

  ```python
  from workflow_scripts.lib.captioner.live import LiveFeatures, Moment

  seen = LiveFeatures("THIS FOLDER", torch.device("cpu")).see(["x.mp4"], Moment(3.0, 8.0), $frames)[0]
  visual = torch.from_numpy(seen.tokens).float()
  ```
- `language_model/`: the merged language model alone, for tools that load a stock one. It has not seen a video.
""")
