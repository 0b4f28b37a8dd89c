"""Devices by name, and what is said of a name that is none."""

import sys

import pytest
import qiskit_ibm_runtime
from qiskit.providers import BackendV2
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_ibm_runtime.fake_provider import FakeProviderForBackendV2

from ketformer.errors import KetformerError
from ketformer.quantum.backends.devices import _recorded_devices, find_device

pytestmark = pytest.mark.usefixtures("no_account")


def refusal(name):
    with pytest.raises(KetformerError) as caught:
        find_device(name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("aer", "automatic"),
        ("aer_simulator", "automatic"),
        ("aer_simulator_statevector", "statevector"),
        ("matrix_product_state", "matrix_product_state"),
    ],
)
def test_names_of_simulators_are_methods(name, method):
    assert find_device(name).options.method == method


def test_a_recorded_device_has_its_size_gates_and_calibration():
    device = find_device("fake_torino")
    assert isinstance(device, BackendV2)
    assert (device.name, device.num_qubits) == ("fake_torino", 133)
    assert {"rz", "sx", "x", "cz"} <= set(device.operation_names)
    assert device.properties().last_update_date.year >= 2024


@pytest.mark.filterwarnings("ignore:Properties of fake_nighthawk:UserWarning")
def test_every_recorded_device_can_be_found():
    listed = {device.name for device in FakeProviderForBackendV2().backends()}
    assert set(_recorded_devices("any")) == listed


def test_aer_from_a_device_has_its_couplings_and_errors():
    recorded, simulator = find_device("fake_manila"), find_device("aer_from:fake_manila")
    assert set(simulator.coupling_map) == set(recorded.coupling_map)
    assert {"rz", "sx", "x", "cx"} <= set(simulator.operation_names)
    assert {"cx", "measure"} <= set(simulator.options.noise_model.noise_instructions)
    assert not {"h", "ry", "cz"} & set(simulator.operation_names)


def test_aer_from_aer_has_no_calibration():
    wanted = "aer_from: takes a device with a calibration; aer_simulator has none"
    assert refusal("aer_from:aer") == wanted


def test_a_misspelt_recorded_device_is_one_clear_line():
    assert refusal("fake_trino") == (
        "no recorded device 'fake_trino' (did you mean 'fake_torino'?); "
        "qiskit_ibm_runtime.fake_provider lists them"
    )
    assert refusal("aer_from:fake_trino") == refusal("fake_trino")


def test_without_an_account_one_line_says_how_to_save_one():
    assert refusal("ibm_torino") == (
        "no device 'ibm_torino' without an IBM account (did you mean 'fake_torino'?); "
        "QiskitRuntimeService.save_account saves one"
    )
    assert "'statevector'" in refusal("statevectr")
    assert "(known: aer, automatic, statevector, " in refusal("stabilizer")
    assert refusal("aer_simulator_unitary").startswith("no Aer method 'aer_simulator_unitary'; ")


class Service:
    """Stands in for the service of an account with one device."""

    error = None

    def backend(self, name):
        if self.error is not None:
            raise self.error
        if name != "ibm_here":
            raise QiskitBackendNotFoundError("No backend matches the criteria.")
        return self.backends()[0]

    def backends(self):
        device = GenericBackendV2(2)
        device.name = "ibm_here"
        return [device]


def test_a_device_of_an_account_is_found_and_a_near_one_suggested(monkeypatch):
    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", Service)
    assert find_device("ibm_here").name == "ibm_here"
    assert refusal("ibm_her") == (
        "the saved IBM account has no device 'ibm_her' (did you mean 'ibm_here'?); it has: ibm_here"
    )


def test_a_service_that_does_not_answer_is_one_line(monkeypatch):
    def service():
        raise ConnectionError("Max retries exceeded\nwith url")

    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", service)
    assert refusal("ibm_here") == "the saved IBM account cannot be used: Max retries exceeded"
    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", Service)
    monkeypatch.setattr(Service, "error", TimeoutError("no answer"))
    assert refusal("ibm_here") == "the device ibm_here: no answer"


def test_a_missing_package_names_its_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "qiskit_ibm_runtime", None)
    needed = "needs Qiskit's IBM Runtime: pip install 'ketformer[ibm]'"
    assert refusal("fake_torino") == f"the device fake_torino {needed}"
    assert refusal("ibm_torino") == f"the device ibm_torino {needed}"
