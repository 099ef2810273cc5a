from . import analysis as analysis
from .expected import expected_loss as expected_loss
from .expected import expected_update as expected_update
from .modes import align_rule as align_rule
from .modes import mode_jacobian as mode_jacobian
from .modes import mode_loss as mode_loss
from .modes import mode_update as mode_update
from .modes import project_modes as project_modes
from .network import Frames as Frames
from .network import LinearRNN as LinearRNN
from .network import Mode as Mode
from .network import aligned_network as aligned_network
from .network import markov_parameters as markov_parameters
from .network import random_frames as random_frames
from .network import random_network as random_network
from .network import spectral_radius as spectral_radius
from .rules import BPTT as BPTT
from .rules import RFLO as RFLO
from .rules import EProp as EProp
from .rules import Feedback as Feedback
from .rules import FeedbackAlignment as FeedbackAlignment
from .rules import Propagator as Propagator
from .rules import Rule as Rule
from .rules import ThreeFactor as ThreeFactor
from .rules import TruncatedBPTT as TruncatedBPTT
from .rules import make_rule as make_rule

__version__: str
