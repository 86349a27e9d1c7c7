"""The one exception whose text is written for the person at the keyboard."""


class OrlError(Exception):
    """What is wrong and what to type next, in one or two lines; shown without a traceback."""
