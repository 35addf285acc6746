"""Errors whose message is meant for the user: a sentence, not a traceback."""


class UserError(Exception):
    """Bad input. The message names the file and key, what was found, and what to do."""
