"""``python -m glassprop`` is ``glassprop``."""

import sys

from glassprop.cli import main

sys.exit(main())
