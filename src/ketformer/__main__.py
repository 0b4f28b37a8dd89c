"""``python -m ketformer``, which is also how ``torchrun`` starts a verb."""

import sys

from ketformer.cli import main

sys.exit(main())
