import logging

import pytest

LEFT = (logging.StreamHandler, logging.FileHandler)


@pytest.fixture(autouse=True)
def loggers_as_they_were():
    """open_clip_train, called in this process, has every logger tell what it does, on streams that end with the test."""
    yield
    if logging.root.level != logging.INFO:
        return
    loggers = [logging.root, *map(logging.getLogger, logging.root.manager.loggerDict)]
    for logger in loggers:
        if logger.level == logging.INFO:
            logger.setLevel(logging.WARNING)
    for handler in [each for each in logging.root.handlers if type(each) in LEFT]:
        logging.root.removeHandler(handler)
