"""Qiskit devices by name: Aer, recorded devices of IBM, and those of a saved IBM account."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from ketformer.errors import KetformerError
from ketformer.quantum.backends._packages import require_package

#: The methods of Aer that can run any of our circuits.
AER_METHODS = ("automatic", "statevector", "density_matrix", "matrix_product_state")
_FROM = "aer_from:"
_FAKE = "fake_"


def find_device(name: str) -> Any:
    """A Qiskit device by its name.

    Args:
        name: one of

            * ``aer``, or a method of Aer such as ``matrix_product_state``, with or without the
              prefix ``aer_simulator_``: a simulator without noise;
            * ``fake_torino`` and the like: one of IBM's devices as it was recorded, in
              ``qiskit_ibm_runtime.fake_provider``, simulated with its noise;
            * ``aer_from:NAME``: Aer with the coupling map, the native gates and the noise of
              the device of that name, as last calibrated;
            * otherwise a device of the default account that
              ``QiskitRuntimeService.save_account`` has saved.

    Returns:
        The device, a ``qiskit.providers.BackendV2``.

    Raises:
        KetformerError: a package is missing, there is no such device or no account, or the
            account's service does not answer.
    """
    method = aer_method(name)
    if method is not None:
        return open_aer(method=method)
    if name.startswith("aer_simulator"):
        raise KetformerError(f"no Aer method {name!r}; known: {', '.join(AER_METHODS)}")
    if name.startswith(_FROM):
        origin = find_device(name.removeprefix(_FROM))
        return _as_calibrated(origin)
    return _recorded(name) if name.startswith(_FAKE) else _of_the_account(name)


def aer_method(name: str) -> str | None:
    """The method of Aer that a name stands for; None if it names another device."""
    if name in ("aer", "aer_simulator"):
        return "automatic"
    method = name.removeprefix("aer_simulator_")
    return method if method in AER_METHODS else None


def open_aer(**options: Any) -> Any:
    """An ``AerSimulator`` with these options.

    Raises:
        KetformerError: Aer is missing.
    """
    return require_package("qiskit_aer", "qiskit").AerSimulator(**options)


def calibration_date(device: Any) -> str | None:
    """When a ``BackendV2`` was last calibrated, ISO 8601; None if it does not say."""
    said = getattr(getattr(device, "calibrated_from", device), "properties", None)
    properties = said() if callable(said) else None
    date = getattr(properties, "last_update_date", None)
    return None if date is None else str(date.isoformat())


def native_gates(device: Any) -> list[str]:
    """The names of the gates that circuits on a ``BackendV2`` consist of; none if it runs any."""
    if device is None or is_ideal(device):
        return []
    from qiskit.circuit import Gate

    target = getattr(device, "calibrated_from", device).target
    names = target.operation_names
    return sorted(name for name in names if isinstance(target.operation_from_name(name), Gate))


def is_ideal(device: Any) -> bool:
    """Whether it is Aer without noise, which runs any gate between any qubits."""
    aer = require_package("qiskit_aer", "qiskit")
    plain = isinstance(device, aer.AerSimulator) and device.options.noise_model is None
    return plain and device.coupling_map is None


def _as_calibrated(device: Any) -> Any:
    if is_ideal(device):
        raise KetformerError(f"{_FROM} takes a device with a calibration; {device.name} has none")
    aer = require_package("qiskit_aer", "qiskit")
    simulator = aer.AerSimulator.from_backend(device)
    simulator.calibrated_from = device  # Aer does not keep the date
    return simulator


def _recorded(name: str) -> Any:
    known = _recorded_devices(name)
    if name not in known:
        raise KetformerError(
            f"no recorded device {name!r}{_near(name, known)}; "
            "qiskit_ibm_runtime.fake_provider lists them"
        )
    return known[name]()


def _recorded_devices(wanted: str) -> dict[str, Any]:
    """The class of each recorded device, by the device's name."""
    require_package("qiskit_ibm_runtime", "ibm", f"the device {wanted}")
    from qiskit_ibm_runtime import fake_provider

    classes = vars(fake_provider).values()
    named = ((getattr(cls, "backend_name", None), cls) for cls in classes if isinstance(cls, type))
    return {name: cls for name, cls in named if name}


def _of_the_account(name: str) -> Any:
    runtime = require_package("qiskit_ibm_runtime", "ibm", f"the device {name}")
    from qiskit.providers.exceptions import QiskitBackendNotFoundError
    from qiskit_ibm_runtime.accounts import AccountNotFoundError

    local = ["aer", *AER_METHODS, *_recorded_devices(name)]
    try:
        service = runtime.QiskitRuntimeService()
    except AccountNotFoundError:
        near = _near(name, local) or f" (known: {', '.join(local[:5])}, fake_torino and the like)"
        raise KetformerError(
            f"no device {name!r} without an IBM account{near}; "
            "QiskitRuntimeService.save_account saves one"
        ) from None
    except Exception as error:  # from the network, in many layers
        raise KetformerError(
            f"the saved IBM account cannot be used: {first_line(error)}"
        ) from error
    try:
        return service.backend(name)
    except QiskitBackendNotFoundError:
        offered = sorted(device.name for device in service.backends())
        near = _near(name, [*offered, *local])
        raise KetformerError(
            f"the saved IBM account has no device {name!r}{near}; "
            f"it has: {', '.join(offered) or 'none'}"
        ) from None
    except Exception as error:
        raise KetformerError(f"the device {name}: {first_line(error)}") from error


def _near(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'fake_torino'?)``, or nothing if no name is near.

    What tells devices apart, and what people remember, comes after ``ibm_`` or ``fake_``.
    """
    by_stem: dict[str, list[str]] = {}
    for one in known:
        by_stem.setdefault(_stem(one), []).append(one)
    close = difflib.get_close_matches(_stem(name), by_stem, n=1, cutoff=0.7)
    return f" (did you mean {' or '.join(map(repr, by_stem[close[0]]))}?)" if close else ""


def _stem(name: str) -> str:
    return name.removeprefix(_FAKE).removeprefix("ibm_")


def first_line(error: Exception) -> str:
    """The first line of what another library says."""
    # Qiskit's errors quote their message, line breaks and all.
    lines = str(getattr(error, "message", "") or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
