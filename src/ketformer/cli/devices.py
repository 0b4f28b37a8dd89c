"""The options of verbs that say what circuits take on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ketformer.cli.common import Parser
from ketformer.errors import KetformerError
from ketformer.utils.declared import constant

if TYPE_CHECKING:
    from ketformer.circuits.device_costs import DeviceCosts

# Read from its source, without torch.
_LEVEL: int = constant("ketformer.quantum.backends.transpiled:LEVEL")

#: Options without a default that say nothing unless a device is named.
_OF_A_DEVICE = ("delay_us", "price_per_second", "price_per_shot")


def add_device_arguments(parser: Parser) -> None:
    """Add ``--device``, the transpiler's level, ``--delay_us`` and the prices."""
    parser.add_argument(
        "--device", type=str | None, default=None,
        help="resources, noise --within, mitigation: the device that the circuits are transpiled "
        "for, e.g. fake_torino, or a device of your saved IBM account",
    )  # fmt: skip
    parser.add_argument(
        "--optimization_level", type=int, default=_LEVEL,
        help=f"with --device: level of Qiskit's transpiler, 0 to 3 ({_LEVEL})",
    )  # fmt: skip
    parser.add_argument(
        "--delay_us", type=float | None, default=None,
        help="with --device: microseconds between two shots (the device's own)",
    )  # fmt: skip
    parser.add_argument(
        "--price_per_second", type=float | None, default=None,
        help="with --device: price of a second of device time, in any currency",
    )  # fmt: skip
    parser.add_argument(
        "--price_per_shot", type=float | None, default=None,
        help="with --device: price of a shot; adds to the price per second",
    )  # fmt: skip


def chosen_device(options: Any) -> DeviceCosts | None:
    """The device that the options name, or None.

    Raises:
        KetformerError: there is no such device, or a price without a device.
    """
    if options.device is None:
        given = [name for name in _OF_A_DEVICE if getattr(options, name) is not None]
        if given:
            raise KetformerError(f"--{given[0]} needs --device, such as fake_torino")
        return None
    from ketformer.circuits.device_costs import DeviceCosts, Prices
    from ketformer.quantum.backends.devices import find_device
    from ketformer.quantum.backends.transpiled import Transpiler

    prices = Prices(options.price_per_second, options.price_per_shot)
    transpiler = Transpiler(
        find_device(options.device),
        optimization_level=options.optimization_level,
        seed=options.seed,
    )
    return DeviceCosts(transpiler, prices, options.delay_us)
