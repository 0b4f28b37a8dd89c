"""Results as one self-contained HTML file."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.report.page import report_of as report_of, write_report as write_report

__getattr__, __dir__, __all__ = lazily(__name__)
