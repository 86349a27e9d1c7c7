"""The `orl` command: a module for every group of commands, their arguments beside the functions that do the work."""

from training.cli.command import main

__all__ = ["main"]
