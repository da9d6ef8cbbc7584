"""Interactive documentation of the surfaces, from what their operations declare."""

from .document import Section, document
from .page import DOCUMENT, PAGE, pages

__all__ = ["DOCUMENT", "PAGE", "Section", "document", "pages"]
