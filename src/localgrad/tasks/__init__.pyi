from .builders import coloured_teacher as coloured_teacher
from .builders import delay_line as delay_line
from .builders import integrator as integrator
from .builders import oscillator as oscillator
from .builders import white_noise_teacher as white_noise_teacher
from .plants import closed_loop as closed_loop
from .plants import point_mass as point_mass
from .task_files import load_task as load_task
