"""The example of the page runs, and prints what the page says."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/convert.md"


def test_the_example_prints_what_its_page_says(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python title=\"convert.py\"\n(.*?)```", text, re.DOTALL)
    (printed,) = re.findall(r"```console\n\$ python convert.py\n(.*?)```", text, re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out == printed
