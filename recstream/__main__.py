"""The command line as a module: ``python -m recstream``, as the supervisor starts the roles.

Without ``-P`` Python puts the working directory first on the import path. It is removed, unless
recstream itself is imported from there: a stray ``secrets.py`` must not run.
"""

import sys
from pathlib import Path

if not sys.flags.safe_path and not Path(__file__).is_relative_to(Path(sys.path[0]).resolve()):
    del sys.path[0]

from recstream.cli import main

if __name__ == "__main__":
    main()
