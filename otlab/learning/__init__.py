"""How anything is trained: loop, optimiser, networks, checkpoints; the objective is yours."""
