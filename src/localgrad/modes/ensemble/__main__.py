"""`python -m localgrad.modes.ensemble`: compile the kernels ahead of their first use; they are cached on disk."""

from localgrad.models.aligned import Mode
from localgrad.models.poles import DIRECT, POLES
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.rules.presets import BPTT, TruncatedBPTT


def main() -> None:
    """One trajectory under each specialisation that the experiments and the explorer use.

    All lags, and up to 1, 3 and 7 of them; all lags with each parametrisation of the poles, and with late errors; and
    with states kept on the way, as the explorer's paths have them, all lags and one.
    """
    cases = [(rule, DIRECT) for rule in (TruncatedBPTT(1), TruncatedBPTT(2), TruncatedBPTT(4))]
    start, teacher = Mode(1.0, 1.0, 0.6), Mode(1.0, 1.0, 0.8)
    for rule, poles in cases + [(BPTT(), poles) for poles in POLES.values()]:
        integrate_modes(rule, start, teacher, duration=1.0, poles=poles)
    integrate_modes(BPTT().with_delay(1), start, teacher, duration=1.0)
    for rule in (BPTT(), TruncatedBPTT(1)):
        integrate_modes(rule, start, teacher, duration=1.0, save_at=[0.5])


if __name__ == "__main__":
    main()
