"""What is said of molecules that cannot be loaded."""

import pytest

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.reading import load_molecules
from ketformer.utils.files import cache_folder


def complaint(path, **arguments):
    """The message for molecules that cannot be loaded: one line, and nothing in the cache."""
    before = set(cache_folder().rglob("*"))
    with pytest.raises(KetformerError) as caught:
        load_molecules(path, **arguments)
    assert "\n" not in str(caught.value)
    assert set(cache_folder().rglob("*")) == before
    return str(caught.value)
