"""`python -m cnncli`: the same as `cnncli`."""

from __future__ import annotations

import sys

from cnncli.cli import main

if __name__ == "__main__":
    sys.exit(main())
