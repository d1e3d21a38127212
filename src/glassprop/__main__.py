"""``python -m glassprop`` is ``glassprop``."""

import sys

try:
    from glassprop.cli import main

    code = main()
except KeyboardInterrupt:
    print("glassprop: error: interrupted", file=sys.stderr)
    code = 130
sys.exit(code)
