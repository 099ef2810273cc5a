"""Cells in local form: units that hear one another through weights, and move by themselves.

This room is also the public module `localgrad.cells`; its names stand in `__init__.pyi`, and load on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
