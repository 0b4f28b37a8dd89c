"""Entry point of ``python -m ketformer``, which ``torchrun`` uses as well."""

import sys

from ketformer.cli import main

sys.exit(main())
