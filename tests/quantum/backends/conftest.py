"""Fixtures of the tests of backends."""

import pytest


@pytest.fixture
def no_account(tmp_path, monkeypatch):
    """No account of the person who runs the tests is ever used."""
    from qiskit_ibm_runtime.accounts import management

    monkeypatch.setattr(
        management, "_DEFAULT_ACCOUNT_CONFIG_JSON_FILE", str(tmp_path / "accounts.json")
    )
    for name in ("QISKIT_IBM_TOKEN", "QISKIT_IBM_CHANNEL"):
        monkeypatch.delenv(name, raising=False)
