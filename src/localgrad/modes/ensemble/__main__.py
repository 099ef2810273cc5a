"""`python -m localgrad.modes.ensemble`: compile the kernels ahead of their first use; they are cached on disk."""

from localgrad.models.aligned import Mode
from localgrad.models.poles import DIRECT, POLES
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.rules.presets import BPTT, TruncatedBPTT


def main() -> None:
    """One trajectory under each specialisation that the experiments use.

    All lags, and up to 1, 3 and 7 of them; all lags with each parametrisation of the poles.
    """
    cases = [(rule, DIRECT) for rule in (TruncatedBPTT(1), TruncatedBPTT(2), TruncatedBPTT(4))]
    for rule, poles in cases + [(BPTT(), poles) for poles in POLES.values()]:
        integrate_modes(rule, Mode(1.0, 1.0, 0.6), Mode(1.0, 1.0, 0.8), duration=1.0, poles=poles)


if __name__ == "__main__":
    main()
