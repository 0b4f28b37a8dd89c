"""The ``app`` verb: the page on a port of this machine."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ketformer.app.demo_models import demo_runs
from ketformer.app.opened_runs import open_subject
from ketformer.errors import KetformerError


def serve(
    runs: Sequence[str | Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    open_browser: bool = False,
    ready: Callable[[dict[str, Any]], None],
    progress: bool = True,
) -> None:
    """Serve the page until the process is stopped.

    Args:
        runs: run directories; by default demo models, which are trained on first use.
        host: address to listen on; the default is reachable only from this machine.
        port: port to listen on.
        open_browser: open the page in the browser of this machine.
        ready: called with the ``url`` and the ``runs`` when the page can be opened.
        progress: show bars on standard error while demo models are trained.

    Raises:
        KetformerError: Gradio is missing, the port is taken, or a run cannot be opened.
    """
    require_gradio()
    require_port(host, port)
    paths = [open_subject(path).run.path for path in runs or demo_runs(progress=progress)]
    with TemporaryDirectory(prefix="ketformer-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # downloads are deleted with the page
        for name in ("NO_PROXY", "no_proxy"):  # Gradio calls its own server when it starts
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), host, "localhost"]))
        from ketformer.app.page import CSS, THEME, build_page

        page = build_page(paths, Path(folder))
        try:
            _, url, _ = page.launch(
                server_name=host,
                server_port=port,
                inbrowser=open_browser,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                footer_links=[],
                ssr_mode=False,
                mcp_server=False,
                enable_monitoring=False,
                theme=THEME,
                css=CSS,
            )
        except OSError as error:
            raise KetformerError(f"cannot listen on {host}:{port}: {error}") from None
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            ready({"url": url, "runs": [str(path) for path in paths]})
            threading.Event().wait()
        except KeyboardInterrupt:
            pass  # the way to stop it
        finally:
            page.close(verbose=False)


def require_gradio() -> None:
    """Import Gradio, with its analytics turned off.

    Raises:
        KetformerError: Gradio is missing or broken.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        importlib.import_module("gradio")
    except ImportError as error:
        if error.name == "gradio":
            raise KetformerError("the app needs Gradio: pip install 'ketformer[app]'") from None
        raise KetformerError(f"Gradio is installed, but cannot be imported: {error}") from error


def require_port(host: str, port: int) -> None:
    """Check that a port is free before models are trained for minutes.

    Raises:
        KetformerError: the port is taken, invalid or not available.
    """
    if not 0 < port < 1 << 16:
        raise KetformerError(f"port must be from 1 to {(1 << 16) - 1}, got {port}")
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise KetformerError(
            f"cannot listen on {host}:{port} ({reason}); choose another --port or --host"
        ) from None
