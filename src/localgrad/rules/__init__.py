"""What a rule is: feedback, propagator and lags; their terms, the named rules, the form in which they are compiled."""
