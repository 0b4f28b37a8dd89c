"""`pam` and `qsa_cp` against the reference files where no float32 table limits the agreement."""

from importlib import import_module

import pytest
import torch

from ketformer.attention import pam, qsa_cp


def differences(name, case):
    with torch.no_grad():
        found = import_module(f"reference.{name}").outputs(case)
    assert found.keys() >= case.outputs.keys()
    return {key: float((found[key] - case.outputs[key]).abs().max()) for key in case.outputs}


def stored_turns(case, monkeypatch):
    """Turn by the case's own tables, whose factors are float32."""
    if "rope" in case.parameters:
        plain, table = pam.turned, case.parameters["rope"]

        def turned(parts, angles):
            if angles.shape[-2:] != table.shape:  # a phase of what is read
                return plain(parts, angles)
            product = torch.complex(*parts) * table
            return torch.stack([product.real, product.imag])

        monkeypatch.setattr(pam, "turned", turned)
    elif "cos" in case.parameters:
        cos, sin = case.parameters["cos"], case.parameters["sin"]

        def rotate(vectors, *_):
            one, two = vectors.chunk(2, -1)
            return torch.cat([one * cos - two * sin, two * cos + one * sin], -1)

        monkeypatch.setattr(qsa_cp.rotary, "rotate", rotate)


@pytest.mark.parametrize("name", ["pam", "qsa_cp"])
def test_every_case_agrees_to_ten_digits(name, monkeypatch, reference_cases):
    for case in reference_cases(name).values():
        with monkeypatch.context() as patched:
            stored_turns(case, patched)
            assert max(differences(name, case).values()) < 1e-10, case.name
