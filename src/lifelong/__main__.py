"""``python -m lifelong`` is the command ``lifelong``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
