"""What is to be learned: teachers, from files, connectomes and random draws, and linear tasks of any kind.

This room is also the public module `localgrad.tasks`; its names stand in `__init__.pyi`, and load on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
