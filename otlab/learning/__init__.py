"""How anything is trained: loop, optimiser, networks, checkpoints; the objective is yours.

What a batch meets on its way from the call to the update, each place once, downwards only:

1. `fit.fit` (or `fit.fit_many`, or `checkpointing.train`): checks the source and the settings.
2. `loop.advance`: the one driver, a compiled loop over steps.
3. `loop.Run.draw`: draws the rows of a step.
4. `loop.step`: one step.
5. `loop.gradient`: differentiates in the weights of the model.
6. your objective: (key, model, *rows) -> a number.
7. `loop.descend`: the state one step later, and the average of the weights.
8. `optimiser.AdamW.update`: the change of each tensor.

Where the cores of a CPU share blocks of images, `cores.advance` deals the same pieces out. A
source, an objective or an optimiser that has a parameter named `step` is given
`loop.Step(count, total)`.
"""

from otlab._rooms import offer

__getattr__, __dir__ = offer(__name__, __path__)
