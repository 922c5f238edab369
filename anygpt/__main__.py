"""`python -m anygpt` is the `anygpt` command."""

import sys

from anygpt.cli import main

sys.exit(main())
