import logging
import os
import tempfile

import pytest

# The tests are of the processor. CUDA_VISIBLE_DEVICES=0 is for those of NVDEC, in tests/unit/frames.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# Where transformers copies the code that comes with a model: two processes at a time must not share it.
_modules = tempfile.TemporaryDirectory(prefix="vidloom-modules-")
os.environ["HF_MODULES_CACHE"] = _modules.name

LEFT = (logging.StreamHandler, logging.FileHandler)


@pytest.fixture(autouse=True)
def loggers_as_they_were():
    """open_clip_train, called in this process, has every logger tell what it does, on streams that end with the test."""
    yield
    level = logging.root.level
    if level not in (logging.INFO, logging.DEBUG):
        return
    logging.root.setLevel(logging.WARNING)
    for logger in map(logging.getLogger, logging.root.manager.loggerDict):
        if logger.level == level:
            logger.setLevel(logging.NOTSET)
    for handler in [each for each in logging.root.handlers if type(each) in LEFT]:
        logging.root.removeHandler(handler)
