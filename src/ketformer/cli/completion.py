"""``ketformer completion``.

The script is static: pressing TAB starts no Python. Making it imports every verb, which takes
seconds, so it is cached until a version, a file of Ketformer or a plugin changes; a shell can ask
for it whenever it starts.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import ketformer.cli
from ketformer.cli.common import Parser, print_json
from ketformer.errors import KetformerError
from ketformer.utils.files import cache_folder

EXAMPLE = """  eval "$(ketformer completion bash)"    # in ~/.bashrc; zsh likewise, after compinit
  ketformer completion fish > ~/.config/fish/completions/ketformer.fish"""

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument("shell", type=str, help=", ".join(SHELLS))


def run(options: Any) -> int:
    """Print the script."""
    if options.shell not in SHELLS:
        raise KetformerError(f"unknown shell {options.shell!r}; known: {', '.join(SHELLS)}")
    script = _kept(options.shell)
    if options.json:
        print_json({"shell": options.shell, "script": script})
    else:
        print(script)
    return 0


def _kept(shell: str) -> str:
    """The cached script, or a new one."""
    file = cache_folder() / f"completion-{_state()}.{shell}"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    from ketformer.cli.completion_script import completion_script
    from ketformer.utils.files import write_text

    script = completion_script(shell)
    try:
        for old in file.parent.glob(f"completion-*.{shell}"):
            old.unlink()
        write_text(file, script)
    except OSError:  # a home that cannot be written to: made again each time
        pass
    return script


def _state() -> str:
    """A hash that changes when the options may: on an upgrade, an edit or a plugin."""
    packages = ("ketformer", "transformers", "jsonargparse", "shtab")
    versions = [version(package) for package in packages]
    groups = [f"ketformer.{kind}" for kind in ("attention", "backends", "metrics")]
    offered = sorted(point.name for group in groups for point in entry_points(group=group))
    files = Path(ketformer.cli.__file__).parents[1].rglob("*.py")
    edited = sorted((str(file), file.stat().st_mtime_ns) for file in files)
    return hashlib.sha256(repr((versions, offered, edited)).encode()).hexdigest()[:16]
