"""What a rule does as a dynamical system: fixed points, stability, single trajectories; what full networks learn.

The public names stand in `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
