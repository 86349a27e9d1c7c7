"""`python -m training.cli`: the `orl` command where there is no script of that name, as under torchrun."""

import sys

from training.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
