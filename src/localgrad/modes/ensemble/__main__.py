"""`python -m localgrad.modes.ensemble`: compile the kernels ahead of their first use; they are cached on disk."""

from localgrad.models.aligned import Mode
from localgrad.modes.ensemble.integrate import integrate_modes
from localgrad.rules.presets import BPTT, TruncatedBPTT


def main() -> None:
    """One trajectory under each specialisation that the experiments use: all lags, and up to 1, 3 and 7 of them."""
    for rule in (BPTT(), TruncatedBPTT(1), TruncatedBPTT(2), TruncatedBPTT(4)):
        integrate_modes(rule, Mode(1.0, 1.0, 0.6), Mode(1.0, 1.0, 0.8), duration=1.0)


if __name__ == "__main__":
    main()
