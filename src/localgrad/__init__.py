"""Local learning rules of recurrent networks: exact updates, mode dynamics, stability, and what they learn.

The public names stand in `__init__.pyi`, and load on first use: `localgrad --help` need not wait for JAX.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("localgrad")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
