"""The one exception whose text is written for the person at the keyboard."""

import shlex


def typed(*words: object) -> str:
    """A command of `orl` as it is typed, for advice: paths with blanks or quotes in them stand in quotes."""
    return shlex.join(["orl", *map(str, words)])


class OrlError(Exception):
    """What is wrong and what to type next, in one or two lines; shown without a traceback."""

    def __str__(self) -> str:
        text = super().__str__()
        if text.startswith("Caught OrlError in DataLoader worker"):  # torch puts a traceback around it
            return text.rpartition("orl_explore.errors.OrlError: ")[2].strip()
        return text
