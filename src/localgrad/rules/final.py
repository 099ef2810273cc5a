"""What rules and their parts have in common: they are data, and nobody inherits from them."""

from __future__ import annotations

from typing import Any


class Final:
    """No subclass, which consumers would take for the class itself; the error says what to write instead."""

    def __init_subclass__(cls, final: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not final:
            base = next(b.__name__ for b in cls.__mro__ if b.__dict__.get("_is_final"))
            raise TypeError(
                f"{base} is final; for a feedback or propagator of your own write a localgrad.Term with __call__ and "
                f"on_mode, and give it to Rule(feedback=..., propagator=...), alone or in a sum"
            )
