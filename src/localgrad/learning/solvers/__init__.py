"""What moves a flow through time: a stabilised solver, and the loop around any solver of diffrax's form."""
