"""``ketformer`` with models that write slowly, so that there is time to stop them."""

import sys
import time

from ketformer.app import texts
from ketformer.cli import main

_stream_text = texts.stream_text


def slowly(*args):
    for text in _stream_text(*args):
        time.sleep(0.03)
        yield text


if __name__ == "__main__":
    texts.stream_text = slowly
    sys.exit(main())
